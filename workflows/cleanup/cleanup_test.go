package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// world is the hosts that are back, and what was given back on them.
type world struct {
	mu   sync.Mutex // activities that run beside each other are real goroutines here
	back map[string]bool
	done []string
	acts []contract.OperatorActRecord

	uses  map[string]bool // hosts on which the server is in use; "" where it is at all
	asked []string        // of which hosts
	mute  int             // answers that fail
}

func newWorld() *world { return &world{back: map[string]bool{}, uses: map[string]bool{}} }

// comes lets a host answer from now on.
func (w *world) comes(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back[host] = true
}

func (w *world) environment() *testsuite.TestWorkflowEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	for _, name := range []string{contract.ReleaseNetwork, contract.ReleaseAllocation, contract.RemoveDisk, contract.DestroyDomain} {
		env.RegisterActivityWithOptions(func(_ context.Context, in contract.Undo) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if in.Hostname != "" && !w.back[in.Hostname] {
				return failure.Retryable(fault.New(fault.Unavailable, "%s is away", in.Hostname))
			}
			w.done = append(w.done, fmt.Sprintf("%s/%d@%s", name, in.Index, in.Hostname))
			return nil
		}, activity.RegisterOptions{Name: name})
	}
	env.RegisterActivityWithOptions(func(_ context.Context, in contract.ServerStandsOnInput) (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.mute > 0 {
			w.mute--
			return false, failure.Of(fault.New(fault.Invalid, "no such question"))
		}
		w.asked = append(w.asked, in.Hostname)
		return w.uses[in.Hostname], nil
	}, activity.RegisterOptions{Name: contract.ServerStandsOn})
	env.RegisterActivityWithOptions(func(_ context.Context, in contract.OperatorActRecord) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acts = append(w.acts, in)
		return nil
	}, activity.RegisterOptions{Name: contract.RecordOperatorAct})
	return env
}

// leftOn is what an attempt left on a host, and the address of an interface behind it.
func leftOn(hostname string, nic int) []contract.PendingUndo {
	pending := func(name, chain string, in contract.Undo) contract.PendingUndo {
		in.ServerID, in.Run = "s", "run-of-"+hostname
		return contract.PendingUndo{
			Undoing: contract.Undoing{Activity: name, Input: in}, Name: fmt.Sprintf("%s/%d", name, in.Index), Chain: chain, Behind: chain == "network",
		}
	}
	disk := pending(contract.RemoveDisk, "attempt/1", contract.Undo{Hostname: hostname})
	domain := pending(contract.DestroyDomain, "attempt/1", contract.Undo{Hostname: hostname})
	disk.Host, domain.Host = hostname, hostname
	return []contract.PendingUndo{
		pending(contract.ReleaseNetwork, "network", contract.Undo{Index: nic}),
		pending(contract.ReleaseAllocation, "attempt/1", contract.Undo{Hostname: hostname}), disk, domain,
	}
}

func input() contract.CleanUpInput {
	return contract.CleanUpInput{ServerID: "s", ProjectID: "p", RequestID: "req-1", Undos: leftOn("hv1", 0), Deadlines: contract.DefaultDeadlines()}
}

func state(t *testing.T, env *testsuite.TestWorkflowEnvironment) contract.BuildState {
	t.Helper()
	value, err := env.QueryWorkflow(contract.QueryBuild)
	require.NoError(t, err)
	var s contract.BuildState
	require.NoError(t, value.Get(&s))
	return s
}

// waiting are the undos that wait.
func waiting(s contract.BuildState) []contract.UndoState {
	return slices.DeleteFunc(s.Undos, func(u contract.UndoState) bool { return u.State != "parked" })
}

// next is the input of the run that a clean-up goes on in.
func next(t *testing.T, env *testsuite.TestWorkflowEnvironment) (in contract.CleanUpInput) {
	t.Helper()
	var again *workflow.ContinueAsNewError
	require.True(t, errors.As(env.GetWorkflowError(), &again), "%v", env.GetWorkflowError())
	require.Equal(t, contract.WorkflowCleanUp, again.WorkflowType.Name)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	return in
}

func TestALongCleanUpGoesOnInAnotherRunWithAllThatWaits(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// script is the same for one run and for two: more undos come, hosts come back.
	const third = 3 * time.Hour // when the workflow hears of the third of them
	script := func(w *world, env *testsuite.TestWorkflowEnvironment, from time.Duration, meanwhile func()) {
		at := func(when time.Duration, f func()) {
			if when > from {
				env.RegisterDelayedCallback(f, when-from)
			}
		}
		at(1*time.Hour, func() { env.SignalWorkflow(contract.SignalUndos, leftOn("hv2", 1)) })
		at(2*time.Hour, func() { w.comes("hv2") })
		at(third-time.Millisecond, func() { env.SignalWorkflowSkippingWorkflowTask(contract.SignalUndos, leftOn("hv3", 2)) })
		at(third, meanwhile) // the workflow hears of both at once
		at(5*time.Hour, func() { env.SignalWorkflow(contract.SignalUndos, leftOn("hv4", 3)) })
		for i, host := range []string{"hv1", "hv3", "hv4"} {
			at(time.Duration(6+i)*time.Hour, func() { w.comes(host) })
		}
	}
	alone := newWorld()
	env := alone.environment()
	env.SetStartTime(began)
	script(alone, env, 0, func() {})
	env.ExecuteWorkflow(CleanUp, input())
	require.NoError(t, env.GetWorkflowError())
	require.Len(t, alone.done, 16)
	ids := state(t, env).Undos

	w := newWorld()
	env = w.environment()
	env.SetStartTime(began)
	script(w, env, 0, func() { env.SetContinueAsNewSuggested(true) })
	env.ExecuteWorkflow(CleanUp, input())
	in := next(t, env)
	before := state(t, env)

	want := input()
	want.Batches, want.Since = 3, began
	carried := func(batch int, since time.Duration, undos ...contract.PendingUndo) {
		for _, u := range undos {
			u.Batch, u.Since = batch, began.Add(since)
			want.Undos = append(want.Undos, u)
		}
	}
	want.Undos = nil
	carried(1, 0, leftOn("hv1", 0)...)
	carried(2, time.Hour, leftOn("hv2", 1)[0]) // hv2 is back and clean; the address waits behind hv1
	carried(3, third, leftOn("hv3", 2)...)
	require.Equal(t, want, in)

	env = w.environment()
	env.SetStartTime(began.Add(third))
	script(w, env, third, nil)
	var after contract.BuildState
	env.RegisterDelayedCallback(func() { after = state(t, env) }, time.Minute)
	env.ExecuteWorkflow(CleanUp, in)
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, waiting(before), waiting(after), "ids, and since when")
	require.Equal(t, []any{before.Phase, before.Since}, []any{after.Phase, after.Since})
	require.Equal(t, alone.done, w.done)
	last := state(t, env).Undos
	require.Equal(t, ids[len(ids)-4:], last[len(last)-4:], "a hand-over that comes later has the ids that it would have had")
}

func TestALongCleanUpThatIsDoneEnds(t *testing.T) {
	w := newWorld()
	w.back["hv1"] = true
	env := w.environment()
	env.SetContinueAsNewSuggested(true)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.SignalUndos, leftOn("hv1", 1)) }, 0)
	in := input()
	in.Undos = nil
	env.ExecuteWorkflow(CleanUp, in)
	for env.GetWorkflowError() != nil { // each run takes what has come, and leaves it to the next
		in = next(t, env)
		env = w.environment()
		env.ExecuteWorkflow(CleanUp, in)
	}
	require.Equal(t, []string{"DestroyDomain/0@hv1", "RemoveDisk/0@hv1", "ReleaseAllocation/0@hv1", "ReleaseNetwork/1@"}, slices.Compact(w.done),
		"what was begun when its run ended may be done twice")
}

func TestALongCleanUpAnswersItsOperatorsBeforeItGoesOn(t *testing.T) {
	w := newWorld()
	env := w.environment()
	env.OnActivity(contract.RecordOperatorAct, mock.Anything, mock.Anything).After(time.Minute).Return(nil)
	answered := false
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateUndo, "skip", &testsuite.TestUpdateCallback{
			OnAccept: func() { env.SetContinueAsNewSuggested(true) }, OnReject: func(err error) { t.Error(err) },
			OnComplete: func(_ any, err error) { require.NoError(t, err); answered = true },
		}, contract.OperatorAct{Act: contract.ActSkip, Undo: "attempt/1:DestroyDomain/0", Reason: "removed by hand"})
	}, time.Hour)
	env.ExecuteWorkflow(CleanUp, input())
	require.True(t, answered)
	var names []string
	for _, u := range next(t, env).Undos {
		names = append(names, u.Name)
	}
	require.Equal(t, []string{"ReleaseNetwork/0", "ReleaseAllocation/0", "RemoveDisk/0"}, names, "what was given up is not taken up again")
}

var all = []string{"DestroyDomain/0@hv1", "RemoveDisk/0@hv1", "ReleaseAllocation/0@hv1", "ReleaseNetwork/0@"}

func TestACleanUpTakesNothingFromAServerThatIsInUse(t *testing.T) {
	const here, anywhere = "The server is in use on hv1, and this with it.", "The server is in use, and this with it."
	for name, c := range map[string]struct {
		uses []string
		done []string
		why  []string // of each undo, in order of registration
	}{
		"it is in use nowhere":        {nil, all, []string{"", "", "", ""}},
		"it is in use on that host":   {[]string{"", "hv1"}, nil, []string{anywhere, here, here, here}},
		"it is in use on another one": {[]string{"", "hv2"}, all[:3], []string{anywhere, "", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.back["hv1"] = true
			for _, host := range c.uses {
				w.uses[host] = true
			}
			env := w.environment()
			env.ExecuteWorkflow(CleanUp, input())
			require.NoError(t, env.GetWorkflowError())
			require.Equal(t, c.done, w.done)
			for i, u := range state(t, env).Undos {
				state := "undone"
				if c.why[i] != "" {
					state = "skipped"
				}
				require.Equal(t, []string{state, c.why[i]}, []string{u.State, u.Error}, u.ID)
			}
		})
	}
}

func TestACleanUpAsksBeforeEachUndoAndUntilItIsAnswered(t *testing.T) {
	w := newWorld()
	w.back["hv1"], w.mute = true, 3
	env := w.environment()
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == contract.RemoveDisk {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.uses["hv1"] = true
		}
	})
	env.ExecuteWorkflow(CleanUp, input())
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, []string{"hv1", "hv1", "hv1", ""}, w.asked)
	require.Equal(t, []string{all[0], all[1], all[3]}, w.done, "the room is in use since")
}

func TestARetryAsksAgain(t *testing.T) {
	w := newWorld()
	env := w.environment()
	env.RegisterDelayedCallback(func() {
		w.uses["hv1"], w.uses[""] = true, true
		env.UpdateWorkflow(contract.UpdateUndo, "retry", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Error(err) }, OnComplete: func(_ any, err error) { require.NoError(t, err) },
		}, contract.OperatorAct{Act: contract.ActRetry})
	}, time.Minute)
	env.ExecuteWorkflow(CleanUp, input())
	require.NoError(t, env.GetWorkflowError())
	require.Empty(t, w.done)
	require.Equal(t, []string{"hv1", "hv1", ""}, w.asked)
}
