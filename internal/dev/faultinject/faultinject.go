// Package faultinject lets the calls of a running Slipway fail, hang, run twice or die where a test says so. It is built in
// with the tag faultinject alone. A test and the processes under it share a folder: the test writes rules (Plan), the
// processes obey them (Injector) and write down every injection before they act on it.
package faultinject

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Variable names the shared folder in a process's environment. A process without it injects nothing.
const Variable = "SLIPWAY_FAULTS"

// Mode is what happens to a call.
type Mode string

// Modes. The effect is what the call really does.
const (
	FailBefore   Mode = "fail before"   // a fault instead of the effect
	FailAfter    Mode = "fail after"    // the effect, and a fault as its answer
	Timeout      Mode = "timeout"       // no effect: blocks until its context ends and answers the context's error
	TimeoutAfter Mode = "timeout after" // the same behind the effect
	Hang         Mode = "hang"          // no effect and no answer, whatever its context says, until Release
	KillBefore   Mode = "kill before"   // the process ends itself with SIGKILL instead of the effect
	KillAfter    Mode = "kill after"    // the same behind the effect
	Twice        Mode = "twice"         // the effect two times, and the second one's answer
	HoldBefore   Mode = "hold before"   // waits for Release, or for its context's end (and answers its error); then the effect
	HoldAfter    Mode = "hold after"    // the effect, and its answer after Release; the context's error if that ends first
)

// Modes lists all of them.
func Modes() []Mode {
	return []Mode{FailBefore, FailAfter, Timeout, TimeoutAfter, Hang, KillBefore, KillAfter, Twice, HoldBefore, HoldAfter}
}

// Rule chooses calls and says what happens to them. What is empty chooses every call. The first rule that takes a call
// decides.
type Rule struct {
	// ID names the rule in what was injected, in Held and in Release. It is for one use: what was counted under it stays
	// counted. Plan.Set gives one where it is empty.
	ID     string `json:"id"`
	Step   string `json:"step,omitempty"`   // an activity, or a method of the hypervisor: "hypervisor.Define"
	Host   string `json:"host,omitempty"`   // the hypervisor whose process makes the call; a worker has the name ""
	Server string `json:"server,omitempty"` // the server's id
	Index  *int   `json:"index,omitempty"`  // of the NIC
	Mode   Mode   `json:"mode"`
	// Kind of the fault where a call fails; Internal when empty.
	Kind fault.Kind `json:"kind,omitempty"`
	// Times bounds how many calls it takes, over all processes and their deaths; 0 is no limit.
	Times int `json:"times,omitempty"`
	// Chance takes a call with this probability, from 0 to 1; 0 takes every one. Seed decides which: the n-th call that a
	// rule meets on a host has the same fate in every run.
	Chance float64 `json:"chance,omitempty"`
	Seed   uint64  `json:"seed,omitempty"`
}

func (r Rule) check() error {
	known := false
	for _, m := range Modes() {
		known = known || m == r.Mode
	}
	switch {
	case !known:
		return fmt.Errorf("rule %q: there is no mode %q", r.ID, r.Mode)
	case r.ID != filepath.Base(r.ID) || r.ID == "." || r.ID == "":
		return fmt.Errorf("rule id %q: it becomes the name of a folder", r.ID)
	case r.Chance < 0 || r.Chance > 1:
		return fmt.Errorf("rule %q: chance %v is no probability", r.ID, r.Chance)
	}
	return nil
}

// Injection is one call that a rule took.
type Injection struct {
	Rule    string    `json:"rule"`
	Step    string    `json:"step"`
	Mode    Mode      `json:"mode"`
	Host    string    `json:"host,omitempty"`
	Server  string    `json:"server,omitempty"`
	Attempt int32     `json:"attempt,omitempty"` // of the activity
	PID     int       `json:"pid"`
	Time    time.Time `json:"time"`
}

// folder is what the test and the processes share.
type folder string

func (f folder) path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}
func (f folder) plan() string                { return f.path("plan.json") }
func (f folder) log() string                 { return f.path("injected.jsonl") }
func (f folder) slots(rule string) string    { return f.path("rules", rule, "slots") }
func (f folder) draws(rule string) string    { return f.path("rules", rule, "draws") }
func (f folder) held(rule string) string     { return f.path("rules", rule, "held") }
func (f folder) released(rule string) string { return f.path("rules", rule, "released") }

// rules are the plan's; none where there is no plan yet.
func (f folder) rules() ([]Rule, error) {
	text, err := os.ReadFile(f.plan())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rules []Rule
	if err := json.Unmarshal(text, &rules); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.plan(), err)
	}
	return rules, nil
}

// takeSlot takes one of a rule's times; false when all are used. A slot is a file, so it survives the process that took it.
func (f folder) takeSlot(rule string, times int) (bool, error) {
	if err := os.MkdirAll(f.slots(rule), 0o755); err != nil {
		return false, err
	}
	for n := range times {
		slot, err := os.OpenFile(filepath.Join(f.slots(rule), strconv.Itoa(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			return true, slot.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return false, err
		}
	}
	return false, nil
}

// appendTo appends to a file in one write, so that processes do not mix, and answers where its end was then.
func appendTo(path string, text []byte) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return 0, err
	}
	return file.Seek(0, 1) // behind this very write: O_APPEND moves the offset with it
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
