package faultinject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Plan is the test's side of a folder. It is safe for concurrent use.
type Plan struct {
	dir folder

	mu    sync.Mutex
	given int // ids that Set made up
}

// New makes a plan without rules in a folder, which it makes where it is missing.
func New(dir string) (*Plan, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of faults: %w", err)
	}
	return &Plan{dir: folder(dir)}, nil
}

// Dir is the folder, for the processes' environment.
func (p *Plan) Dir() string { return string(p.dir) }

// Set makes these the rules, instead of those before, from the next call on. It answers their ids.
func (p *Plan) Set(rules ...Rule) (ids []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rules = slices.Clone(rules)
	for i := range rules {
		if rules[i].ID == "" {
			p.given++
			rules[i].ID = fmt.Sprintf("rule-%d", p.given)
		}
		if err := rules[i].check(); err != nil {
			return nil, err
		}
		if slices.Contains(ids, rules[i].ID) {
			return nil, fmt.Errorf("two rules have the id %q", rules[i].ID)
		}
		ids = append(ids, rules[i].ID)
	}
	text, err := json.MarshalIndent(rules, "", "\t")
	if err != nil {
		return nil, err
	}
	return ids, writeWhole(p.dir.plan(), append(text, '\n'))
}

// Clear takes all rules away and lets go what they hold. What was injected stays known.
func (p *Plan) Clear() error {
	rules, err := p.dir.rules()
	if err != nil {
		return err
	}
	_, err = p.Set()
	for _, r := range rules {
		err = errors.Join(err, p.Release(r.ID))
	}
	return err
}

// Injected is what has happened, in order: of these rules, or of all when none is named.
func (p *Plan) Injected(rules ...string) ([]Injection, error) {
	text, err := os.ReadFile(p.dir.log())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Injection
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var i Injection
		if err := json.Unmarshal(line, &i); err != nil {
			return nil, fmt.Errorf("reading %s: %w", p.dir.log(), err)
		}
		if len(rules) == 0 || slices.Contains(rules, i.Rule) {
			all = append(all, i)
		}
	}
	return all, nil
}

// Held are the calls that a rule holds now, or hangs. Those of processes that have died are not among them.
func (p *Plan) Held(rule string) ([]Injection, error) {
	files, err := os.ReadDir(p.dir.held(rule))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var held []Injection
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue // it is being written
		}
		text, err := os.ReadFile(filepath.Join(p.dir.held(rule), f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // let go meanwhile
		}
		if err != nil {
			return nil, err
		}
		var i Injection
		if err := json.Unmarshal(text, &i); err != nil {
			return nil, fmt.Errorf("reading what rule %s holds: %w", rule, err)
		}
		if !errors.Is(syscall.Kill(i.PID, 0), syscall.ESRCH) {
			held = append(held, i)
		}
	}
	return held, nil
}

// Release lets go what a rule holds or hangs, and what it would hold later.
func (p *Plan) Release(rule string) error {
	if err := os.MkdirAll(filepath.Dir(p.dir.released(rule)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.dir.released(rule), nil, 0o644)
}
