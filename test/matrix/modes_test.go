package matrix

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

// mode is a kind of failure.
type mode struct {
	name                  string
	hostOnly, controlOnly bool
	slow                  bool
	below                 bool // makes a difference below the activity too, at the hypervisor's port
	run                   func(*trial)
}

// end is how the server of a case ended before it was deleted.
type end string

const (
	recovered end = "recovered" // ACTIVE
	failed    end = "failed"    // ERROR
	refused   end = "refused"   // the submission was answered with the failure
	removed   end = "removed"   // deleted, as somebody asked
)

var ends = []end{recovered, failed, refused, removed}

// buildModes hit the do of each row.
var buildModes = []mode{
	{name: "fails before its effect", below: true, run: failing(faultinject.FailBefore)},
	{name: "fails after its effect", below: true, run: failing(faultinject.FailAfter)},
	{name: "times out", below: true, slow: true, run: timingOut},
	{name: "has its process killed before", below: true, slow: true, run: killing(faultinject.KillBefore)},
	{name: "has its process killed after", below: true, slow: true, run: killing(faultinject.KillAfter)},
	{name: "hangs", hostOnly: true, slow: true, run: hanging},
	{name: "loses its host", hostOnly: true, slow: true, run: losingHost},
	{name: "has its host frozen", hostOnly: true, slow: true, run: freezingHost},
	{name: "is cancelled before its effect", run: cancelling(faultinject.HoldBefore)},
	{name: "is cancelled after its effect", run: cancelling(faultinject.HoldAfter)},
	{name: "is deleted before its effect", run: deleting(faultinject.HoldBefore)},
	{name: "is deleted after its effect", run: deleting(faultinject.HoldAfter)},
	{name: "is done twice", below: true, run: twice},
}

// undoModes hit each undo of a build that its last step fails.
var undoModes = []mode{
	{name: "is done twice", below: true, run: undoing(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
	{name: "fails three times before its effect", below: true, run: undoing(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3})},
	{name: "fails three times after its effect", below: true, run: undoing(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3})},
	{name: "has its process killed before", slow: true, run: undoing(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1})},
	{name: "has its process killed after", slow: true, run: undoing(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1})},
	{name: "is cancelled", run: undoingHeld((*trial).cancel)},
	{name: "is deleted", run: undoingDeleted},
}

// skipModes hit each undo with a failure that does not end, until an operator gives it up.
var skipModes = []mode{
	{name: "is given up, found and repaired", slow: true, run: skipped},
}

// cleanUpModes hit each undo that a build or a delete leaves to a clean-up.
var cleanUpModes = []mode{
	{name: "fails three times before its effect", run: cleaningUpWith(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3})},
	{name: "fails three times after its effect", run: cleaningUpWith(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3})},
	{name: "has its process killed before", slow: true, run: cleaningUpWith(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1})},
	{name: "has its process killed after", slow: true, run: cleaningUpWith(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1})},
	{name: "loses the worker", hostOnly: true, slow: true, run: cleaningUpHeld((*trial).loseWorker)},
	{name: "loses its host", hostOnly: true, slow: true, run: cleaningUpHeld((*trial).loseHostForLong)},
	{name: "is cancelled", slow: true, run: cleaningUpHeld((*trial).cancelCleanUp)},
	{name: "is deleted", slow: true, run: cleaningUpDeleted},
	{name: "is tried again at once", hostOnly: true, slow: true, run: cleaningUpRetried},
	{name: "is done twice", run: cleaningUpWith(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
}

// deleteModes hit each activity of a server's delete.
var deleteModes = []mode{
	{name: "fails three times before its effect", below: true, run: deletingWith(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3})},
	{name: "fails three times after its effect", below: true, run: deletingWith(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3})},
	{name: "times out", below: true, slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.Timeout, Times: 1})},
	{name: "has its process killed before", below: true, slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1})},
	{name: "has its process killed after", below: true, slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1})},
	{name: "loses its host", hostOnly: true, slow: true, run: deletingOnALostHost},
	{name: "is cancelled", run: deletingHeld((*trial).cancel)},
	{name: "is deleted again", run: deletingHeld((*trial).deleteAgain)},
	{name: "is done twice", below: true, run: deletingWith(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
}

// portModes are those that make a difference at the hypervisor's port.
func portModes(all []mode) []mode {
	return slices.DeleteFunc(slices.Clone(all), func(m mode) bool { return !m.below })
}

// stepTimeouts shorten every step's deadline, so that a case of one that times out is short too.
func stepTimeouts() string {
	var all []string
	for _, row := range boot.Table() {
		limit := "2s"
		if row.Scope == boot.OnHost {
			limit = "7s" // longer than it takes a host to hear that a step is cancelled
		}
		all = append(all, row.Name+"="+limit)
	}
	return strings.Join(all, ",")
}

// trial is a case that runs.
type trial struct {
	*lane
	t      *testing.T
	target target
	random *rand.Rand
	kind   fault.Kind // of the faults, where the mode has some
	index  *int       // of the NIC, where the target repeats

	began    time.Time
	before   world
	rule     string // that hits the target
	id       string // of the server
	answered chan answer
	ended    end
}

// start remembers the world.
func (tr *trial) start() {
	tr.began, tr.before = time.Now(), tr.world(tr.t)
}

// either picks one of two.
func (tr *trial) either(a, b faultinject.Mode) faultinject.Mode {
	return []faultinject.Mode{a, b}[tr.random.IntN(2)]
}

// aim sets the rule that hits the target, with others before it.
func (tr *trial) aim(r faultinject.Rule, others ...faultinject.Rule) {
	tr.t.Helper()
	r.ID, r.Step, r.Index = uuid.NewString(), tr.target.name, tr.index
	if r.Kind == "" {
		r.Kind = tr.kind
	}
	tr.rule = r.ID
	for i := range others {
		others[i].ID = uuid.NewString()
	}
	_, err := tr.Faults.Set(append(others, r)...)
	require.NoError(tr.t, err)
	tr.t.Cleanup(func() { require.NoError(tr.t, tr.Faults.Clear()) })
}

// build submits a server whose build runs the target's row.
func (tr *trial) build() {
	tr.t.Helper()
	v, runs := tr.steps[tr.target.row.Name]
	if tr.target.row.Name != "" && !runs {
		tr.t.Fatalf("no variant of the request makes the step %s run: add one to variants", tr.target.row.Name)
	}
	answers := tr.submit(v)
	tr.answered = make(chan answer, 1)
	go func() {
		a := <-answers
		tr.answered <- a
		close(tr.answered)
	}()
}

// hit waits for the first injection of the rule and learns the server's id from it.
func (tr *trial) hit() faultinject.Injection {
	tr.t.Helper()
	var first faultinject.Injection
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		all, err := tr.Faults.Injected(tr.rule)
		if err != nil {
			return false, err.Error()
		}
		if len(all) > 0 {
			first = all[0]
		}
		return len(all) > 0, fmt.Sprintf("%s was never hit: %s", tr.target.name, tr.explain(tr.id))
	})
	require.Equal(tr.t, tr.target.name, first.Step)
	require.NotEmpty(tr.t, first.Server, "an activity without a server's id")
	if tr.id != "" {
		require.Equal(tr.t, tr.id, first.Server, "the injection hit another server")
	}
	tr.id = first.Server
	return first
}

// held waits until the rule holds a call.
func (tr *trial) held() faultinject.Injection {
	tr.t.Helper()
	tr.hit()
	var first faultinject.Injection
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		all, err := tr.Faults.Held(tr.rule)
		if err != nil {
			return false, err.Error()
		}
		if len(all) > 0 {
			first = all[0]
		}
		return len(all) > 0, tr.target.name + " is not held"
	})
	return first
}

// process that runs the target where the injection was.
func process(i faultinject.Injection) string {
	if i.Host == "" {
		return "worker"
	}
	return i.Host
}

// again starts the process that has killed itself at once, rather than with the supervisor's growing pauses.
func (tr *trial) again(i faultinject.Injection) {
	tr.t.Helper()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		return syscall.Kill(i.PID, 0) != nil, process(i) + " did not kill itself"
	})
	tr.Stop(process(i))
	tr.Restart(process(i))
}

func (tr *trial) release() {
	tr.t.Helper()
	require.NoError(tr.t, tr.Faults.Release(tr.rule))
}

// cancel asks the engine to cancel the server's workflow, as an operator may.
func (tr *trial) cancel() {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	require.NoError(tr.t, tr.Cancel(ctx, ids.ServerWorkflow(tr.id)))
}

// injected holds that the rule took as many calls as it should, all of them of the target.
func (tr *trial) injected(times int) []faultinject.Injection {
	tr.t.Helper()
	all, err := tr.Faults.Injected(tr.rule)
	require.NoError(tr.t, err)
	require.Len(tr.t, all, times, "injections")
	for _, i := range all {
		require.Equal(tr.t, tr.target.name, i.Step)
		require.Equal(tr.t, tr.id, i.Server)
	}
	return all
}

// lines of a build's progress, or of a server's action as its owner sees it, that failed.
type line struct{ step, host, details string }

// failures are what went wrong in the eyes of the build: of the server's action where it has one, which must say the same
// as the progress.
func (tr *trial) failures() []line {
	tr.t.Helper()
	steps, err := tr.progress(tr.id)
	require.NoError(tr.t, err)
	var of []line
	for _, p := range steps {
		if p.Error != "" {
			of = append(of, line{p.Step, p.Host, p.Error})
		}
	}
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	actions, err := tr.Store.Actions(ctx, tr.id)
	require.NoError(tr.t, err)
	for _, a := range actions {
		if a.Action != "create" {
			continue
		}
		whole, err := tr.Store.Action(ctx, tr.id, a.RequestID)
		require.NoError(tr.t, err)
		events := []line{}
		for _, e := range whole.Events {
			if e.Result != nil && *e.Result == "Error" {
				events = append(events, line{e.Event, value(e.Host), value(e.Details)})
			}
		}
		require.ElementsMatch(tr.t, of, events, "the action's events do not say what the progress says")
	}
	return of
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

const (
	madeToFail = "was made to fail by a test"
	cancelled  = "cancelled"
)

// failedOnlyAt holds that the build says that the target failed, at the host of the injection, and nothing else, except for
// what was cancelled because of it.
func (tr *trial) failedOnlyAt(i faultinject.Injection, why string) {
	tr.t.Helper()
	all := tr.failures()
	require.True(tr.t, slices.ContainsFunc(all, func(l line) bool {
		return l.step == tr.target.shown && l.host == i.Host && strings.Contains(l.details, why)
	}), "the build does not say that %s failed on %q: %v", tr.target.name, i.Host, all)
	for _, l := range all {
		require.True(tr.t, l.step == tr.target.shown && strings.Contains(l.details, why) || strings.Contains(l.details, cancelled), "another step failed: %v", l)
	}
}

// settle waits for the end of the build, which must be one of these, and clears up behind it: whatever its end, the world
// must be what it was, first but for the server's own rows, and then wholly.
func (tr *trial) settle(check func(*models.Server), allowed ...end) {
	tr.t.Helper()
	s := tr.settled(tr.t, tr.id, tr.answered)
	switch {
	case s == nil:
		tr.ended = refused
	case s.VMState == lifecycle.Active:
		tr.ended = recovered
	case s.VMState == lifecycle.Error:
		tr.ended = failed
	default:
		tr.t.Fatalf("server %s is %s", tr.id, s.VMState)
	}
	if tr.ended == failed && tr.isAdmission() {
		tr.ended = refused // its row remembers why
	}
	require.Contains(tr.t, allowed, tr.ended, "server %s: %s", tr.id, tr.explain(tr.id))
	if check != nil {
		check(s)
	}
	require.NoError(tr.t, tr.Faults.Clear())
	switch tr.ended {
	case recovered:
		tr.whole(s)
	case failed, refused:
		tr.restored(tr.t, tr.before, tr.id)
	}
	tr.cleared(s)
}

// whole waits until a server that is ACTIVE has what it should have, once: a domain that runs on its host and nowhere else,
// a claim, room on that host alone, and its ports.
func (tr *trial) whole(s *models.Server) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	host, err := tr.Store.Host(ctx, value(s.HostID))
	require.NoError(tr.t, err)
	system.Eventually(tr.t, quietPatience, func() (bool, string) {
		now := tr.world(tr.t)
		held := map[string]int{}
		for _, table := range []string{"claims", "placements", "ports"} {
			for _, row := range now.tables[table] {
				if strings.Contains(row, tr.id) {
					held[table]++
				}
			}
		}
		for hostname, files := range now.files {
			for _, file := range files {
				if strings.HasPrefix(file, filepath.Join("fake", tr.id)) {
					held["domain on "+hostname]++
				}
				if strings.HasPrefix(file, filepath.Join("ports", tr.id)) {
					held["ports plugged on "+hostname]++
				}
				if file == filepath.Join("instances", tr.id) {
					held["folder on "+hostname]++
				}
			}
		}
		should := map[string]int{"claims": 1, "placements": 1, "ports": nics, "domain on " + host.Hostname: 1, "ports plugged on " + host.Hostname: nics, "folder on " + host.Hostname: 1}
		return maps.Equal(should, held), fmt.Sprintf("server %s on %s holds %v", tr.id, host.Hostname, held)
	})
	require.True(tr.t, tr.holdsRoom(host.ID))
	domain, err := os.ReadFile(filepath.Join(tr.HostState(host.Hostname), "fake", tr.id+".json"))
	require.NoError(tr.t, err)
	require.Regexp(tr.t, `"state": *"`+string(hypervisor.Running)+`"`, string(domain))
}

// cleared deletes the server, if there is one, and holds that the world is what it was.
func (tr *trial) cleared(s *models.Server) {
	tr.t.Helper()
	if s != nil {
		tr.delete(tr.t, tr.id)
		tr.gone(tr.t, tr.id)
	}
	tr.restored(tr.t, tr.before, "")
}

// isAdmission says whether the submission waits for the target.
func (tr *trial) isAdmission() bool {
	for _, row := range boot.Table() {
		if row.Name == tr.target.name {
			return true
		}
		if row.Name == contract.RecordServer {
			return false
		}
	}
	return false
}

// whenItFails is the end of a build whose target fails for good.
func (tr *trial) whenItFails() end {
	if tr.isAdmission() {
		return refused
	}
	return failed
}

// failing is a step that answers one fault. What follows is the kind's business: the same step again, the next host, or
// the end of the build.
func failing(m faultinject.Mode) func(*trial) {
	return func(tr *trial) {
		tr.aim(faultinject.Rule{Mode: m, Times: 1})
		tr.build()
		i := tr.hit()
		elsewhere := tr.kind == fault.HostUnfit && tr.target.onHost
		want := tr.whenItFails()
		if tr.kind == fault.Unavailable || elsewhere {
			want = recovered
		}
		tr.settle(func(s *models.Server) {
			tr.injected(1)
			switch {
			case tr.kind == fault.Unavailable:
				require.Empty(tr.t, tr.failures())
				return
			case want == failed:
				require.NotNil(tr.t, s.Fault)
				require.Equal(tr.t, tr.target.name+" "+madeToFail, s.Fault.Message)
			}
			tr.failedOnlyAt(i, madeToFail)
		}, want)
	}
}

// timingOut is a step that takes longer than it may. A host's goes to the next host, a control step is tried again.
func timingOut(tr *trial) {
	tr.aim(faultinject.Rule{Mode: tr.either(faultinject.Timeout, faultinject.TimeoutAfter), Times: 1})
	tr.build()
	i := tr.hit()
	tr.settle(func(*models.Server) {
		tr.injected(1)
		if tr.target.onHost {
			tr.failedOnlyAt(i, "within")
		} else {
			require.Empty(tr.t, tr.failures())
		}
	}, recovered)
}

// killing is a process that dies in the step and is started again: the build goes on.
func killing(m faultinject.Mode) func(*trial) {
	return func(tr *trial) {
		tr.aim(faultinject.Rule{Mode: m, Times: 1})
		tr.build()
		i := tr.hit()
		tr.again(i)
		tr.settle(func(*models.Server) {
			tr.injected(1)
			for _, l := range tr.failures() {
				require.Equal(tr.t, line{tr.target.shown, i.Host, l.details}, l, "another step failed")
			}
		}, recovered)
	}
}

// hanging is a host's step that does not end although its time is up. The build goes on elsewhere, and what the step may
// have taken is given back when it has ended at last.
func hanging(tr *trial) {
	tr.aim(faultinject.Rule{Mode: faultinject.Hang, Times: 1})
	tr.build()
	i := tr.held()
	tr.elsewhere(i, "within|"+cancelled, tr.release)
}

// losingHost is a host that dies in the step and comes back when the build is done elsewhere: it must be cleaned then.
func losingHost(tr *trial) {
	tr.aim(tr.holding())
	tr.build()
	i := tr.held()
	tr.Lose(i.Host)
	tr.elsewhere(i, "worker|"+cancelled, func() { tr.Restart(i.Host) })
}

// freezingHost is a host that is not heard of for a while, as behind a broken network, and goes on with its step when the
// build has been done elsewhere.
func freezingHost(tr *trial) {
	tr.aim(tr.holding())
	tr.build()
	i := tr.held()
	require.NoError(tr.t, syscall.Kill(i.PID, syscall.SIGSTOP))
	thaw := func() {
		tr.release()
		require.NoError(tr.t, syscall.Kill(i.PID, syscall.SIGCONT))
	}
	tr.elsewhere(i, "worker|"+cancelled, thaw)
}

// elsewhere holds that the build becomes ACTIVE on the other host while one is away, and says why.
func (tr *trial) elsewhere(i faultinject.Injection, why string, back func()) {
	tr.t.Helper()
	returned := false
	defer func() {
		if !returned {
			back()
		}
	}()
	tr.settle(func(s *models.Server) {
		tr.injected(1)
		atTarget := false
		for _, l := range tr.failures() {
			// A step beside it may be the first that is given up.
			require.Equal(tr.t, i.Host, l.host, "a step failed on another host: %v", l)
			require.Regexp(tr.t, why, l.details)
			atTarget = atTarget || l.step == tr.target.shown
		}
		require.True(tr.t, atTarget, "the build does not say that the step failed: %s", tr.explain(tr.id))
		ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
		defer cancel()
		lost, err := tr.Store.HostByName(ctx, i.Host)
		require.NoError(tr.t, err)
		require.NotEqual(tr.t, lost.ID, value(s.HostID), "the server is on the host that was away")
		require.True(tr.t, tr.holdsRoom(lost.ID), "the room on a host that is not clean was given away")
		back()
		returned = true
	}, recovered)
}

// holdsRoom says whether the server has an allocation on a host.
func (tr *trial) holdsRoom(hostID string) bool {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	all, err := tr.Store.Placements(ctx, tr.id)
	require.NoError(tr.t, err)
	return slices.ContainsFunc(all, func(a models.Placement) bool { return a.HostID == hostID })
}

// cancelling is an operator who cancels the workflow. The build ends in ERROR, or in a refusal where nothing was accepted;
// one that was all but done may still end ACTIVE.
func cancelling(m faultinject.Mode) func(*trial) {
	return func(tr *trial) {
		tr.aim(faultinject.Rule{Mode: m, Times: 1})
		tr.build()
		tr.held()
		tr.cancel()
		if !tr.target.onHost {
			tr.release() // control steps are short and not cancelled
		}
		allowed := []end{tr.whenItFails()}
		if tr.target.name == contract.Activate {
			allowed = append(allowed, recovered)
		}
		tr.settle(func(s *models.Server) {
			tr.injected(1)
			if tr.ended != recovered && s != nil {
				require.NotNil(tr.t, s.Fault)
				require.Contains(tr.t, s.Fault.Message, cancelled)
			}
		}, allowed...)
	}
}

// deleting is a user who deletes the server in the middle of the step. Before there is a row the API knows of no server:
// the request then comes as it does from an API that saw the row of a build that was tried again.
func deleting(m faultinject.Mode) func(*trial) {
	return func(tr *trial) {
		tr.aim(faultinject.Rule{Mode: m, Times: 1})
		tr.build()
		tr.held()
		ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
		defer cancel()
		err := servers.Delete(ctx, tr.compute, tr.id).ExtractErr()
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) && tr.isAdmission() {
			request := "req-" + uuid.NewString()
			err = engine.NewClient(tr.temporal, tr.ControlQueue()).Delete(ctx, contract.DeleteInput{
				ServerID: tr.id, ProjectID: tr.projectID, RequestID: request, Deadlines: contract.DefaultDeadlines(),
			})
		}
		require.NoError(tr.t, err)
		if !tr.target.onHost {
			tr.release()
		}
		tr.gone(tr.t, tr.id)
		<-tr.answered
		tr.injected(1)
		require.NoError(tr.t, tr.Faults.Clear())
		tr.ended = removed
		tr.cleared(nil)
	}
}

// twice is a step that is done again although it was done: nobody notices.
func twice(tr *trial) {
	tr.aim(faultinject.Rule{Mode: faultinject.Twice, Times: 1})
	tr.build()
	tr.hit()
	tr.settle(func(*models.Server) {
		tr.injected(1)
		require.Empty(tr.t, tr.failures())
	}, recovered)
}

// last is the step that fails where everything is to be undone.
func last() string {
	table := boot.Table()
	return table[len(table)-1].Name
}

// unwinding fails the last step of a build, so that everything is undone, and hits the target on the way.
func (tr *trial) unwinding(r faultinject.Rule) {
	tr.t.Helper()
	tr.aim(r, faultinject.Rule{Step: last(), Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1})
	tr.build()
}

// unwound holds that the build ends in ERROR and says why: by the first failure, whatever became of the undos.
func (tr *trial) unwound(times int) {
	tr.t.Helper()
	tr.settle(func(s *models.Server) {
		require.NotNil(tr.t, s.Fault)
		require.Equal(tr.t, last()+" "+madeToFail, s.Fault.Message, "the first failure is the one that the user sees")
		system.Eventually(tr.t, quietPatience, func() (bool, string) {
			all, err := tr.Faults.Injected(tr.rule)
			return err == nil && len(all) == times, fmt.Sprintf("%d of %d injections (%v)", len(all), times, err)
		})
		tr.injected(times)
		all := tr.failures()
		require.Len(tr.t, all, 1)
		require.Equal(tr.t, last(), all[0].step)
	}, failed)
}

// undoing hits an undo of a build that fails.
func undoing(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		tr.unwinding(r)
		tr.killed(r, tr.hit())
		tr.unwound(r.Times)
	}
}

// killed starts the process again that a rule ends.
func (tr *trial) killed(r faultinject.Rule, i faultinject.Injection) {
	tr.t.Helper()
	if r.Mode == faultinject.KillBefore || r.Mode == faultinject.KillAfter {
		tr.again(i)
	}
}

// holding is a rule that holds one call, before its effect or after it.
func (tr *trial) holding() faultinject.Rule {
	return faultinject.Rule{Mode: tr.either(faultinject.HoldBefore, faultinject.HoldAfter), Times: 1}
}

// undoingHeld is an undo of a build that fails, in the middle of which somebody does something.
func undoingHeld(does func(*trial)) func(*trial) {
	return func(tr *trial) {
		tr.unwinding(tr.holding())
		tr.held()
		does(tr)
		tr.release()
		tr.unwound(1)
	}
}

// undoingDeleted is a build that fails and whose server is deleted while it gives back what it took.
func undoingDeleted(tr *trial) {
	tr.unwinding(tr.holding())
	tr.held()
	tr.delete(tr.t, tr.id)
	tr.release()
	tr.gone(tr.t, tr.id)
	tr.injected(1)
	require.NoError(tr.t, tr.Faults.Clear())
	tr.ended = removed
	tr.cleared(nil)
}

// left brings about a clean-up and returns when it runs alone: a guest cannot be stopped, so a build that fails, or a
// delete, leaves it what the host and the network hold. The undos there succeed as soon as another rule is set.
func (tr *trial) left(byDelete bool) {
	tr.t.Helper()
	stuck := faultinject.Rule{Step: contract.DestroyDomain, Mode: faultinject.FailBefore, Kind: fault.Unavailable}
	if byDelete {
		tr.active()
		_, err := tr.Faults.Set(stuck)
		require.NoError(tr.t, err)
		tr.delete(tr.t, tr.id)
	} else {
		_, err := tr.Faults.Set(stuck, faultinject.Rule{Step: last(), Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1})
		require.NoError(tr.t, err)
		tr.build()
		a := <-tr.answered
		require.NoError(tr.t, a.err)
		tr.id = a.id
	}
	tr.t.Cleanup(func() { require.NoError(tr.t, tr.Faults.Clear()) })
	tr.alone(true)
}

// alone waits until the server's own workflow has ended and its clean-up runs, or has ended too.
func (tr *trial) alone(cleaning bool) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		own, err := tr.runs(ctx, ids.ServerWorkflow(tr.id))
		if err != nil {
			return false, err.Error()
		}
		after, err := tr.runs(ctx, ids.CleanUpWorkflow(tr.id))
		if err != nil {
			return false, err.Error()
		}
		return !own && after == cleaning, fmt.Sprintf("the workflow of server %s runs: %v, its clean-up: %v, and it should: %v", tr.id, own, after, cleaning)
	})
}

// cleaned holds that the clean-up ends and leaves nothing, and that the server is what it was before it.
func (tr *trial) cleaned(times int) {
	tr.t.Helper()
	tr.alone(false)
	tr.injected(times)
	require.NoError(tr.t, tr.Faults.Clear())
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	s, err := tr.Store.Server(ctx, tr.id)
	if fault.Is(err, fault.NotFound) {
		tr.ended = removed
		tr.cleared(nil)
		return
	}
	require.NoError(tr.t, err)
	require.Equal(tr.t, lifecycle.Error, s.VMState)
	require.NotNil(tr.t, s.Fault)
	require.Equal(tr.t, last()+" "+madeToFail, s.Fault.Message)
	tr.ended = failed
	tr.restored(tr.t, tr.before, tr.id)
	tr.cleared(&s)
}

// cleaningUpWith hits an undo in the clean-up that a build or a delete has left.
func cleaningUpWith(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		tr.left(tr.random.IntN(2) == 0)
		tr.aim(r)
		tr.killed(r, tr.hit())
		tr.cleaned(r.Times)
	}
}

// cleaningUpHeld is a clean-up in the middle of which somebody does something.
func cleaningUpHeld(does func(*trial)) func(*trial) {
	return func(tr *trial) {
		tr.left(tr.random.IntN(2) == 0)
		tr.aim(tr.holding())
		tr.held()
		does(tr)
		tr.release()
		tr.cleaned(1)
	}
}

func (tr *trial) loseWorker() {
	tr.t.Helper()
	tr.Lose("worker")
	tr.Restart("worker")
}

// loseHostForLong loses the host until the engine has noticed: the room there stays taken meanwhile.
func (tr *trial) loseHostForLong() {
	tr.t.Helper()
	held, err := tr.Faults.Held(tr.rule)
	require.NoError(tr.t, err)
	host := held[0].Host
	tr.Lose(host)
	back := false
	defer func() {
		if !back {
			tr.Restart(host)
		}
	}()
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		d, err := tr.temporal.DescribeWorkflow(ctx, ids.CleanUpWorkflow(tr.id), "")
		if err != nil {
			return false, err.Error()
		}
		for _, a := range d.RawResponse.GetPendingActivities() {
			if a.GetActivityType().GetName() == tr.target.shown && a.GetAttempt() > 1 {
				return true, ""
			}
		}
		return false, "the engine has not noticed that the host is away"
	})
	lost, err := tr.Store.HostByName(ctx, host)
	require.NoError(tr.t, err)
	require.True(tr.t, tr.holdsRoom(lost.ID), "the room on a host that is not clean was given away")
	tr.Restart(host)
	back = true
}

// cancelCleanUp asks the engine to cancel the clean-up: what it has to give back, it gives back.
func (tr *trial) cancelCleanUp() {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	require.NoError(tr.t, tr.Cancel(ctx, ids.CleanUpWorkflow(tr.id)))
}

// cleaningUpDeleted is a server in ERROR that is deleted while its clean-up runs: the delete leaves what it cannot do now
// to the same clean-up.
func cleaningUpDeleted(tr *trial) {
	tr.left(false)
	tr.aim(tr.holding())
	tr.held()
	tr.delete(tr.t, tr.id)
	tr.gone(tr.t, tr.id)
	tr.release()
	tr.cleaned(1)
}

// undoShown is an undo as `slipway build show -o json` has it.
type undoShown struct {
	ID, State string
	Tries     int
}

// shows asks `slipway build show` for the target's undo.
func (tr *trial) shows(build string) (undo undoShown, acts []string) {
	tr.t.Helper()
	var shown struct {
		Undos []undoShown
		Acts  []struct{ Act, Undo string }
	}
	require.NoError(tr.t, json.Unmarshal([]byte(tr.verb(tr.t, "build", "show", build, "-o", "json")), &shown))
	nth := 0
	if tr.index != nil {
		nth = *tr.index
	}
	for _, u := range shown.Undos {
		if strings.HasSuffix(u.ID, fmt.Sprintf(":%s/%d", tr.target.name, nth)) {
			undo = u
		}
	}
	for _, a := range shown.Acts {
		acts = append(acts, a.Act+" "+a.Undo)
	}
	return undo, acts
}

// parked waits until operators see the target's undo wait, and gives the build's id and the undo.
func (tr *trial) parked() (build string, undo undoShown) {
	tr.t.Helper()
	build = "server:" + tr.id
	if tr.target.outlasts() {
		build = "cleanup:" + tr.id
	}
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		listed := tr.verb(tr.t, "build", "list", "--parked", "--server", tr.id, "--quiet")
		if listed != build {
			return false, fmt.Sprintf("parked: %q, not %s", listed, build)
		}
		undo, _ = tr.shows(build)
		return undo.State == "parked" && undo.Tries > 0, fmt.Sprintf("the undo of %s is %+v", build, undo)
	})
	return build, undo
}

// cleaningUpRetried is an undo that hangs on its host, and that an operator has tried again: at once, and not when its
// deadline has passed.
func cleaningUpRetried(tr *trial) {
	tr.left(tr.random.IntN(2) == 0)
	tr.aim(faultinject.Rule{Mode: faultinject.HoldBefore, Times: 1})
	began := tr.held().Time
	build, undo := tr.parked()
	tr.verb(tr.t, "build", "retry", build, undo.ID)
	tr.alone(false)
	require.Less(tr.t, time.Since(began), time.Minute, "the deadline of an undo on a host")
	_, acts := tr.shows(build)
	require.Equal(tr.t, []string{"retry " + undo.ID}, acts)
	tr.cleaned(1)
}

// traces are what is found when an undo was given up: nothing, where a later undo gives the same back.
var traces = map[string][]string{
	contract.ReleaseQuota:      {"claim-without-server"},
	contract.FailServer:        {"build-without-workflow"},
	contract.ReleaseAllocation: {"allocation-without-server"},
	contract.ReleaseNetwork:    {"port-without-server"},
	contract.RemoveConfigDrive: {"folder-without-server"},
	contract.RemoveDisk:        {"folder-without-server"},
	contract.UndefineDomain:    {"domain-without-server", "folder-without-server"}, // what lies beside it too
	contract.UnplugPort:        {},
	contract.DestroyDomain:     {},
}

// skipped is an undo that never succeeds and that an operator gives up: the other undos run, the audit finds what stays
// behind, and repairs it when it is told to.
func skipped(tr *trial) {
	kinds, known := traces[tr.target.name]
	require.True(tr.t, known, "what is found when %s was given up: add it to traces", tr.target.name)
	tr.kind = fault.Unavailable
	tr.unwinding(faultinject.Rule{Mode: faultinject.FailBefore})
	tr.hit()
	build, undo := tr.parked()
	tr.verb(tr.t, "build", "skip", build, undo.ID, "--reason", "a test", "--yes")
	tr.alone(false)
	require.NoError(tr.t, tr.Faults.Clear())
	_, acts := tr.shows(build)
	require.Equal(tr.t, []string{"skip " + undo.ID}, acts)

	code, found := tr.audit(tr.t)
	is := []string{}
	for _, f := range found {
		is = append(is, f.Kind)
		require.Equal(tr.t, tr.id, f.ServerID, "%+v", f)
	}
	require.Equal(tr.t, kinds, is, "%+v", found)
	if len(kinds) == 0 {
		require.Zero(tr.t, code)
	} else {
		require.Equal(tr.t, 3, code)
		code, found = tr.audit(tr.t, "--repair", "--yes")
		require.Zero(tr.t, code, "%+v", found)
		require.Empty(tr.t, found)
	}
	s := tr.settled(tr.t, tr.id, tr.answered)
	require.NotNil(tr.t, s)
	require.Equal(tr.t, lifecycle.Error, s.VMState)
	tr.ended = failed
	tr.restored(tr.t, tr.before, tr.id)
	tr.cleared(s)
}

// active builds a server without faults, on which a delete is tried.
func (tr *trial) active() {
	tr.t.Helper()
	tr.build()
	a := <-tr.answered
	require.NoError(tr.t, a.err)
	tr.id = a.id
	s := tr.settled(tr.t, tr.id, nil)
	require.Equal(tr.t, lifecycle.Active, s.VMState, tr.explain(tr.id))
}

// deletedWhole waits for the end of a delete and holds that the target was hit and is told of.
func (tr *trial) deletedWhole(times int) {
	tr.t.Helper()
	tr.gone(tr.t, tr.id)
	// On a slow machine the undo's patience ends before the target has failed so often: the clean-up meets the rest.
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		all, err := tr.Faults.Injected(tr.rule)
		return err == nil && len(all) >= times, fmt.Sprintf("%d of %d injections: %v", len(all), times, err)
	})
	tr.injected(times)
	require.NoError(tr.t, tr.Faults.Clear())
	tr.restored(tr.t, tr.before, "")
	tr.ended = removed
	if tr.target.name == contract.MarkDeleting {
		return // it comes before there is an action
	}
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	actions, err := tr.Store.Actions(ctx, tr.id)
	require.NoError(tr.t, err)
	told := []string{}
	for _, a := range actions {
		if a.Action == "delete" {
			whole, err := tr.Store.Action(ctx, tr.id, a.RequestID)
			require.NoError(tr.t, err)
			for _, e := range whole.Events {
				told = append(told, e.Event)
			}
		}
	}
	require.Contains(tr.t, told, tr.target.shown, "the delete does not tell of the step")
}

// deletingWith is a delete of which one activity is hit and which comes to its end all the same.
func deletingWith(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		tr.active()
		tr.aim(r)
		tr.delete(tr.t, tr.id)
		tr.killed(r, tr.hit())
		tr.deletedWhole(r.Times)
	}
}

// deletingHeld is a delete in the middle of which somebody does something.
func deletingHeld(does func(*trial)) func(*trial) {
	return func(tr *trial) {
		tr.active()
		tr.aim(tr.holding())
		tr.delete(tr.t, tr.id)
		tr.held()
		does(tr)
		tr.release()
		tr.deletedWhole(1)
	}
}

// deleteAgain asks for the end a second time. Once the row is gone there is nothing to be asked for.
func (tr *trial) deleteAgain() {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	err := servers.Delete(ctx, tr.compute, tr.id).ExtractErr()
	if tr.target.name == contract.RemoveServer && gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		err = nil
	}
	require.NoError(tr.t, err, "deleting server %s again", tr.id)
}

// deletingOnALostHost is a delete whose host dies in the middle and comes back when the others have gone on: what can be
// done without it is done meanwhile, and its room stays taken until it is clean.
func deletingOnALostHost(tr *trial) {
	tr.active()
	tr.aim(tr.holding())
	tr.delete(tr.t, tr.id)
	i := tr.held()
	tr.Lose(i.Host)
	back := false
	defer func() {
		if !back {
			tr.Restart(i.Host)
		}
	}()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		for _, row := range tr.World(tr.t)["claims"] {
			if strings.Contains(row, tr.id) {
				return false, "the delete waits for the host that is away: the quota is still taken: " + tr.explain(tr.id)
			}
		}
		return true, ""
	})
	ctx, cancel := context.WithTimeout(tr.t.Context(), settlePatience)
	defer cancel()
	lost, err := tr.Store.HostByName(ctx, i.Host)
	require.NoError(tr.t, err)
	require.True(tr.t, tr.holdsRoom(lost.ID), "the room on a host that is not clean was given away")
	tr.Restart(i.Host)
	back = true
	tr.deletedWhole(1)
}
