package matrix

import (
	"context"
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

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/faultinject"
	"github.com/slipway-cloud/slipway/internal/hypervisor"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/workflows"
)

// mode is a kind of failure.
type mode struct {
	name                  string
	hostOnly, controlOnly bool
	slow                  bool
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
	{name: "fails before its effect", run: failing(faultinject.FailBefore)},
	{name: "fails after its effect", run: failing(faultinject.FailAfter)},
	{name: "times out", slow: true, run: timingOut},
	{name: "has its process killed before", slow: true, run: killing(faultinject.KillBefore)},
	{name: "has its process killed after", slow: true, run: killing(faultinject.KillAfter)},
	{name: "hangs", hostOnly: true, slow: true, run: hanging},
	{name: "loses its host", hostOnly: true, slow: true, run: losingHost},
	{name: "has its host frozen", hostOnly: true, slow: true, run: freezingHost},
	{name: "is cancelled before its effect", run: cancelling(faultinject.HoldBefore)},
	{name: "is cancelled after its effect", run: cancelling(faultinject.HoldAfter)},
	{name: "is deleted before its effect", run: deleting(faultinject.HoldBefore)},
	{name: "is deleted after its effect", run: deleting(faultinject.HoldAfter)},
	{name: "is done twice", run: twice},
}

// undoModes hit each undo of a build that its last step fails.
var undoModes = []mode{
	{name: "is done twice", run: undoing(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
	{name: "fails three times before its effect", run: undoing(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3})},
	{name: "fails three times after its effect", run: undoing(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3})},
}

// deleteModes hit each activity of a server's delete.
var deleteModes = []mode{
	{name: "fails three times before its effect", run: deletingWith(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3})},
	{name: "fails three times after its effect", run: deletingWith(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3})},
	{name: "times out", slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.Timeout, Times: 1})},
	{name: "has its process killed before", slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1})},
	{name: "has its process killed after", slow: true, run: deletingWith(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1})},
	{name: "loses its host", hostOnly: true, slow: true, run: deletingOnALostHost},
	{name: "is cancelled", run: deletingHeld((*trial).cancel)},
	{name: "is deleted again", run: deletingHeld((*trial).deleteAgain)},
	{name: "is done twice", run: deletingWith(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
}

// stepTimeouts shorten every step's deadline, so that a case of one that times out is short too.
func stepTimeouts() string {
	var all []string
	for _, row := range workflows.Table() {
		limit := "2s"
		if row.Scope == workflows.OnHost {
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

	before   world
	rule     string // that hits the target
	id       string // of the server
	answered chan answer
	ended    end
}

// start remembers the world.
func (tr *trial) start() {
	tr.before = tr.world(tr.t)
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
	eventually(tr.t, settlePatience, func() (bool, string) {
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
	eventually(tr.t, settlePatience, func() (bool, string) {
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
	eventually(tr.t, settlePatience, func() (bool, string) {
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
	require.NoError(tr.t, tr.temporal.CancelWorkflow(ctx, contract.ServerWorkflowID(tr.id), ""))
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
		return l.step == tr.target.name && l.host == i.Host && strings.Contains(l.details, why)
	}), "the build does not say that %s failed on %q: %v", tr.target.name, i.Host, all)
	for _, l := range all {
		require.True(tr.t, l.step == tr.target.name && strings.Contains(l.details, why) || strings.Contains(l.details, cancelled), "another step failed: %v", l)
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
	case s.Status == models.ServerActive:
		tr.ended = recovered
	case s.Status == models.ServerError:
		tr.ended = failed
	default:
		tr.t.Fatalf("server %s is %s", tr.id, s.Status)
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
	eventually(tr.t, quietPatience, func() (bool, string) {
		now := tr.world(tr.t)
		held := map[string]int{}
		for _, table := range []string{"claims", "allocations", "ports"} {
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
				if file == filepath.Join("instances", tr.id) {
					held["folder on "+hostname]++
				}
			}
		}
		should := map[string]int{"claims": 1, "allocations": 1, "ports": nics, "domain on " + host.Hostname: 1, "folder on " + host.Hostname: 1}
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
	for _, row := range workflows.Table() {
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
				require.Equal(tr.t, line{tr.target.name, i.Host, l.details}, l, "another step failed")
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
	tr.aim(faultinject.Rule{Mode: tr.either(faultinject.HoldBefore, faultinject.HoldAfter), Times: 1})
	tr.build()
	i := tr.held()
	tr.Lose(i.Host)
	tr.elsewhere(i, "worker|"+cancelled, func() { tr.Restart(i.Host) })
}

// freezingHost is a host that is not heard of for a while, as behind a broken network, and goes on with its step when the
// build has been done elsewhere.
func freezingHost(tr *trial) {
	tr.aim(faultinject.Rule{Mode: tr.either(faultinject.HoldBefore, faultinject.HoldAfter), Times: 1})
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
			atTarget = atTarget || l.step == tr.target.name
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
	all, err := tr.Store.Allocations(ctx, tr.id)
	require.NoError(tr.t, err)
	return slices.ContainsFunc(all, func(a models.Allocation) bool { return a.HostID == hostID })
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
			err = workflows.NewClient(tr.temporal, tr.ControlQueue()).Delete(ctx, contract.DeleteInput{
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

// undoing fails the last step, so that everything unwinds, and hits the target on the way.
func undoing(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		table := workflows.Table()
		last := table[len(table)-1].Name
		tr.aim(r, faultinject.Rule{Step: last, Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1})
		tr.build()
		tr.hit()
		tr.settle(func(s *models.Server) {
			require.NotNil(tr.t, s.Fault)
			require.Equal(tr.t, last+" "+madeToFail, s.Fault.Message, "the first failure is the one that the user sees")
			eventually(tr.t, quietPatience, func() (bool, string) {
				all, err := tr.Faults.Injected(tr.rule)
				return err == nil && len(all) == r.Times, fmt.Sprintf("%d of %d injections (%v)", len(all), r.Times, err)
			})
			tr.injected(r.Times)
			all := tr.failures()
			require.Len(tr.t, all, 1)
			require.Equal(tr.t, last, all[0].step)
		}, failed)
	}
}

// active builds a server without faults, on which a delete is tried.
func (tr *trial) active() {
	tr.t.Helper()
	tr.build()
	a := <-tr.answered
	require.NoError(tr.t, a.err)
	tr.id = a.id
	s := tr.settled(tr.t, tr.id, nil)
	require.Equal(tr.t, models.ServerActive, s.Status, tr.explain(tr.id))
}

// deletedWhole waits for the end of a delete and holds that the target was hit and is told of.
func (tr *trial) deletedWhole(times int) {
	tr.t.Helper()
	tr.gone(tr.t, tr.id)
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
	require.Contains(tr.t, told, tr.target.name, "the delete does not tell of the step")
}

// deletingWith is a delete of which one activity is hit and which comes to its end all the same.
func deletingWith(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		tr.active()
		tr.aim(r)
		tr.delete(tr.t, tr.id)
		i := tr.hit()
		if r.Mode == faultinject.KillBefore || r.Mode == faultinject.KillAfter {
			tr.again(i)
		}
		tr.deletedWhole(r.Times)
	}
}

// deletingHeld is a delete in the middle of which somebody does something.
func deletingHeld(does func(*trial)) func(*trial) {
	return func(tr *trial) {
		tr.active()
		tr.aim(faultinject.Rule{Mode: tr.either(faultinject.HoldBefore, faultinject.HoldAfter), Times: 1})
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
	tr.aim(faultinject.Rule{Mode: tr.either(faultinject.HoldBefore, faultinject.HoldAfter), Times: 1})
	tr.delete(tr.t, tr.id)
	i := tr.held()
	tr.Lose(i.Host)
	back := false
	defer func() {
		if !back {
			tr.Restart(i.Host)
		}
	}()
	eventually(tr.t, settlePatience, func() (bool, string) {
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
