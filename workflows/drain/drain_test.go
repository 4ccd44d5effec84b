package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

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

// host is one with servers on it, and what their moves come to.
type host struct {
	mu      sync.Mutex
	servers []string          // that are there, and can be moved
	busy    map[string]string // and those that cannot now, with the reason
	stays   map[string]string
	left    int
	enabled bool
	silent  string

	migrates map[string]func(try int) error // what else than a move becomes of it
	confirms map[string]func(try int) error
	takes    time.Duration

	tries    map[string]int
	asked    map[string]contract.Move
	requests []string
	migrated []contract.ActionInput
	looks    int
	done     []string // of the host itself
	looking  func(try int) error
	begins   func(try int) error
	running  int
	most     int // moves at the same time
}

func newHost(servers ...string) *host {
	return &host{
		servers: servers, busy: map[string]string{}, stays: map[string]string{}, tries: map[string]int{}, asked: map[string]contract.Move{},
		migrates: map[string]func(int) error{}, confirms: map[string]func(int) error{}, takes: time.Minute,
		looking: func(int) error { return nil }, begins: func(int) error { return nil },
	}
}

func (h *host) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *host) look(in contract.LookToDrainInput) (found contract.DrainLook) {
	found.Enabled, found.Silent, found.Leftovers = h.enabled, h.silent, h.left
	for _, s := range in.Except {
		if !slices.Contains(h.servers, s) {
			found.Gone = append(found.Gone, s)
		}
	}
	for _, s := range h.servers {
		except := slices.Contains(in.Except, s)
		switch {
		case except:
		case h.busy[s] != "":
			found.Busy = append(found.Busy, contract.DrainServer{ServerID: s, Why: h.busy[s]})
		case h.stays[s] != "":
			found.Stays = append(found.Stays, contract.DrainServer{ServerID: s, Why: h.stays[s]})
		case len(found.Move) == in.Limit:
			found.Waiting++
		default:
			found.Move = append(found.Move, contract.MovableServer{
				ServerID: s, Name: "web-" + s, ProjectID: "p", Flavor: contract.Flavor{Name: "small"},
				MigrateBy: fmt.Sprintf("req-m-%s-%d", s, h.looks), ConfirmBy: fmt.Sprintf("req-c-%s-%d", s, h.looks),
			})
		}
	}
	return found
}

func (h *host) environment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(30 * time.Second)
	for name, f := range map[string]any{
		contract.BeginDrain: func(ctx context.Context, in contract.DrainInput) (err error) {
			h.with(func() { h.done = append(h.done, contract.BeginDrain); err = h.begins(len(h.done)) })
			return failure.Of(err)
		},
		contract.AbandonDrain: func(context.Context, contract.DrainInput) error {
			h.with(func() { h.done = append(h.done, contract.AbandonDrain) })
			return nil
		},
		contract.LookToDrain: func(_ context.Context, in contract.LookToDrainInput) (found contract.DrainLook, err error) {
			h.with(func() { h.looks++; found, err = h.look(in), h.looking(h.looks) })
			return found, failure.Of(err)
		},
		contract.AskMove: func(_ context.Context, in contract.AskMoveInput) (is contract.Move, err error) {
			h.with(func() { is = h.asked[in.RequestID]; is.ConfirmBy = fmt.Sprintf("req-c-again-%d", len(h.requests)) })
			return is, nil
		},
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in contract.ActionInput) (err error) {
		h.with(func() {
			h.migrated = append(h.migrated, in)
			h.requests = append(h.requests, in.RequestID)
			h.tries[in.ServerID]++
			if f := h.migrates[in.ServerID]; f != nil {
				err = f(h.tries[in.ServerID])
			}
			h.running++
			h.most = max(h.most, h.running)
		})
		if !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			_ = workflow.Sleep(ctx, h.takes)
			h.with(func() { h.asked[in.RequestID] = contract.Move{Begun: true, Waits: err == nil} })
		}
		h.with(func() { h.running-- })
		return failure.Of(err)
	}, workflow.RegisterOptions{Name: contract.WorkflowMigrate})
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in contract.ActionInput) (err error) {
		h.with(func() {
			h.requests = append(h.requests, in.RequestID)
			h.tries["confirm "+in.ServerID]++
			if f := h.confirms[in.ServerID]; f != nil {
				err = f(h.tries["confirm "+in.ServerID])
			}
			if err == nil {
				h.servers = slices.DeleteFunc(h.servers, func(s string) bool { return s == in.ServerID })
			}
		})
		return failure.Of(err)
	}, workflow.RegisterOptions{Name: contract.WorkflowConfirmResize})
	return env
}

func input() contract.DrainInput {
	return contract.DrainInput{HostID: "h1", Hostname: "hv1", AtOnce: 2, UserID: "ops", RequestID: "req-1", Deadlines: contract.DefaultDeadlines()}
}

// asks sends the submission of a request, and gives what it is answered when the workflow has ended.
func asks(t *testing.T, env *testsuite.TestWorkflowEnvironment, requestID string, after time.Duration) *error {
	t.Helper()
	answer := fault.New(fault.Internal, "nobody answered")
	var got error = answer
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateDrain, "submit-"+requestID, &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { got = err }, OnComplete: func(_ any, err error) { got = err },
		}, requestID)
	}, after)
	return &got
}

func (h *host) drains(t *testing.T, env *testsuite.TestWorkflowEnvironment, in contract.DrainInput) contract.DrainState {
	t.Helper()
	answer := asks(t, env, in.RequestID, 0)
	env.ExecuteWorkflow(DrainHost, in)
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	require.NoError(t, *answer)
	require.LessOrEqual(t, h.most, in.AtOnce)
	requests := slices.Clone(h.requests)
	slices.Sort(requests)
	require.Len(t, slices.Compact(requests), len(h.requests), "each request is one")
	s := state(t, env)
	require.NotNil(t, s.EndedAt)
	require.Empty(t, s.Moving)
	return s
}

func state(t *testing.T, env *testsuite.TestWorkflowEnvironment) (s contract.DrainState) {
	t.Helper()
	value, err := env.QueryWorkflow(contract.QueryDrain)
	require.NoError(t, err)
	require.NoError(t, value.Get(&s))
	return s
}

func say(env *testsuite.TestWorkflowEnvironment, act string) {
	env.SignalWorkflow(contract.SignalDrain, contract.DrainAct{Act: act, UserID: "ops", RequestID: "req-" + act})
}

var noHost = fault.New(fault.NoValidHost, "No valid host was found. Filters removed all.")

func names(servers []contract.DrainServer) (ids []string) {
	for _, s := range servers {
		ids = append(ids, s.ServerID)
	}
	return ids
}

func TestAHostIsEmptiedAFewAtATime(t *testing.T) {
	h := newHost("a", "b", "c", "d", "e")
	env := h.environment(t)
	var during contract.DrainState
	env.RegisterDelayedCallback(func() { during = state(t, env) }, 30*time.Second)
	in := input()
	in.Zone = "rack-b"
	s := h.drains(t, env, in)
	require.Equal(t, []any{contract.DrainDone, 5, 2}, []any{s.Phase, s.Moved, h.most})
	require.Empty(t, h.servers)
	require.Equal(t, []string{contract.BeginDrain}, h.done)
	require.Equal(t, []any{contract.DrainRuns, 3}, []any{during.Phase, during.Waiting})
	require.Equal(t, []string{"a", "b"}, names(during.Moving))
	require.Equal(t, []string{"migrate", "req-m-a-1"}, []string{during.Moving[0].Action, during.Moving[0].RequestID})
	m := h.migrated[0]
	require.Equal(t, []any{"migrate", "a", "p", "ops", "web-a", true}, []any{m.Action, m.ServerID, m.ProjectID, m.UserID, m.Name, m.OverLock})
	require.Equal(t, &contract.Resize{Flavor: contract.Flavor{Name: "small"}, Migrates: true, Zone: "rack-b"}, m.Resize)
	require.Equal(t, in.Deadlines, m.Deadlines)
}

func TestWhatHasNowhereToGoRunsOnAndIsReported(t *testing.T) {
	h := newHost("a", "b", "c", "d")
	h.migrates["b"] = func(int) error { return noHost }
	h.stays["d"] = "Cannot 'migrate' instance d while it is in vm_state paused"
	s := h.drains(t, h.environment(t), input())
	require.Equal(t, []any{contract.DrainIncomplete, 2}, []any{s.Phase, s.Moved})
	require.Equal(t, []string{"b", "d"}, h.servers)
	require.Equal(t, []string{"b", noHost.Text}, []string{s.Failed[0].ServerID, s.Failed[0].Why})
	require.Equal(t, []string{"d", h.stays["d"]}, []string{s.Stays[0].ServerID, s.Stays[0].Why})
	require.Equal(t, []int{1, 0}, []int{h.tries["b"], h.tries["confirm b"]}, "its guest is not stopped again and again")
}

func TestABusyServerIsMovedWhenItIsNoMoreAndOneThatBeganToBeBuiltToo(t *testing.T) {
	h := newHost("a")
	h.busy["a"] = "Cannot 'migrate' instance a while it is in task_state rebooting"
	env := h.environment(t)
	var during contract.DrainState
	env.RegisterDelayedCallback(func() { during = state(t, env) }, 5*time.Minute)
	env.RegisterDelayedCallback(func() { h.with(func() { h.servers = append(h.servers, "b") }) }, 6*time.Minute)
	env.RegisterDelayedCallback(func() { h.with(func() { h.busy = map[string]string{} }) }, 50*time.Minute)
	s := h.drains(t, env, input())
	require.Equal(t, []any{contract.DrainDone, 2}, []any{s.Phase, s.Moved})
	require.Equal(t, h.migrated[0].ServerID, "b")
	require.Equal(t, []string{"a"}, names(during.Busy))
	require.Contains(t, during.Busy[0].Why, "rebooting")
	require.Less(t, h.looks, 120)
}

func TestWhatIsWaitedForInVainEndsTheDrain(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*host)
		says string
		in   time.Duration
	}{
		"a busy server":   {func(h *host) { h.busy["a"] = "busy" }, "What is left was waited for in vain for 1h0m0s.", busyPatience},
		"a silent host":   {func(h *host) { h.silent = "it is down" }, "it is down", busyPatience},
		"leftovers":       {func(h *host) { h.servers, h.left = nil, 2 }, "What clean-ups have to remove from the host is still there.", leftoversPatience},
		"an enabled host": {func(h *host) { h.enabled = true }, "The host was enabled, and gets servers again.", 0},
		"a host that is no": {func(h *host) {
			h.looking = func(int) error { return fault.New(fault.NotFound, "There is no such host.") }
		}, "There is no such host.", 0},
		"a lock": {func(h *host) { h.migrates["a"] = func(int) error { return fault.New(fault.Conflict, "not now") } }, "What is left was waited for in vain for 1h0m0s.", busyPatience},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost("a")
			c.set(h)
			s := h.drains(t, h.environment(t), input())
			require.Equal(t, []any{contract.DrainIncomplete, 0, c.says}, []any{s.Phase, s.Moved, s.WaitsFor})
			require.WithinDuration(t, s.StartedAt.Add(c.in), *s.EndedAt, time.Minute)
			require.Empty(t, s.Failed)
			require.Less(t, h.looks, 260)
			require.Zero(t, h.tries["confirm a"])
		})
	}
}

func TestLeftoversAreWaitedForWhileCleanUpsGetOn(t *testing.T) {
	h := newHost()
	h.left = 3
	env := h.environment(t)
	for n := range 3 {
		env.RegisterDelayedCallback(func() { h.with(func() { h.left-- }) }, time.Duration(n+1)*4*time.Minute)
	}
	require.Equal(t, contract.DrainDone, h.drains(t, env, input()).Phase)
}

func TestAServerThatSomethingElseWasBegunOnIsTriedAgain(t *testing.T) {
	h := newHost("a", "b", "c")
	h.migrates["a"] = func(try int) error {
		if try < 4 {
			return fault.New(fault.Conflict, "Cannot 'migrate' instance a while it is in task_state pausing")
		}
		return nil
	}
	s := h.drains(t, h.environment(t), input())
	require.Equal(t, []any{contract.DrainDone, 3, 4}, []any{s.Phase, s.Moved, h.tries["a"]})
	require.Less(t, h.looks, 15)
}

func TestAnOperatorPausesAndResumesIt(t *testing.T) {
	h := newHost("a", "b", "c", "d")
	h.migrates["a"] = func(try int) error {
		if try == 1 {
			return noHost
		}
		return nil
	}
	env := h.environment(t)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainPause) }, 30*time.Second)
	var soon, paused contract.DrainState
	env.RegisterDelayedCallback(func() { soon = state(t, env) }, 31*time.Second)
	env.RegisterDelayedCallback(func() { paused = state(t, env) }, 5*time.Hour)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainResume) }, 6*time.Hour)
	s := h.drains(t, env, input())
	require.Equal(t, contract.DrainPaused, soon.Phase)
	require.Equal(t, []string{"a", "b"}, names(soon.Moving), "what is under way goes on")
	require.Equal(t, []any{contract.DrainPaused, 1, 0}, []any{paused.Phase, paused.Moved, len(paused.Moving)})
	require.Equal(t, []string{"a"}, names(paused.Failed))
	require.Equal(t, []any{contract.DrainDone, 4}, []any{s.Phase, s.Moved}, "what had nowhere to go is tried again")
}

func TestWhatIsSaidWhileItLooksIsHeardBeforeAnythingIsBegun(t *testing.T) {
	h := newHost("a")
	env := h.environment(t)
	h.looking = func(try int) error {
		if try == 1 {
			say(env, contract.DrainPause)
		}
		return nil
	}
	var paused contract.DrainState
	env.RegisterDelayedCallback(func() { paused = state(t, env) }, time.Minute)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainResume) }, time.Hour)
	s := h.drains(t, env, input())
	require.Equal(t, []any{contract.DrainPaused, 0, 1, 0}, []any{paused.Phase, paused.Moved, paused.Waiting, len(paused.Moving)})
	require.Equal(t, []any{contract.DrainDone, 1}, []any{s.Phase, s.Moved})
}

func TestAnOperatorStopsItAndWhatIsUnderWayEnds(t *testing.T) {
	for name, stop := range map[string]func(*testsuite.TestWorkflowEnvironment){
		"by its word": func(env *testsuite.TestWorkflowEnvironment) {
			say(env, contract.DrainStop)
			say(env, contract.DrainResume)
		},
		"by cancelling it": func(env *testsuite.TestWorkflowEnvironment) { env.CancelWorkflow() },
		"while it is paused": func(env *testsuite.TestWorkflowEnvironment) {
			say(env, contract.DrainPause)
			say(env, contract.DrainStop)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost("a", "b", "c", "d")
			env := h.environment(t)
			var during contract.DrainState
			env.RegisterDelayedCallback(func() { stop(env) }, 30*time.Second)
			env.RegisterDelayedCallback(func() { during = state(t, env) }, 40*time.Second)
			s := h.drains(t, env, input())
			require.Equal(t, contract.DrainStopping, during.Phase)
			require.Equal(t, []any{contract.DrainStopped, 2}, []any{s.Phase, s.Moved})
			require.Equal(t, []string{"c", "d"}, h.servers)
		})
	}
}

func TestStepsThatFailAreTriedAgain(t *testing.T) {
	h := newHost("a", "b")
	away := fault.New(fault.Unavailable, "the database is away")
	h.begins = func(try int) error {
		if try < 3 {
			return away
		}
		return nil
	}
	h.looking = func(try int) error {
		if try%3 != 0 {
			return away
		}
		return nil
	}
	h.confirms["a"] = func(try int) error {
		if try < 4 {
			return away
		}
		return nil
	}
	s := h.drains(t, h.environment(t), input())
	require.Equal(t, []any{contract.DrainDone, 2, 1, 4}, []any{s.Phase, s.Moved, h.tries["a"], h.tries["confirm a"]})
}

func TestAServerThatIsDeletedOrResetMeanwhileIsNotWaitedFor(t *testing.T) {
	h := newHost("a", "b", "c")
	gone := func() { h.servers = slices.DeleteFunc(h.servers, func(s string) bool { return s == "b" }) }
	h.confirms["b"] = func(int) error { // its delete ended the migration well
		gone()
		for id, m := range h.asked {
			if id[:8] == "req-m-b-" {
				m.Waits = false
				h.asked[id] = m
			}
		}
		return fault.New(fault.NotFound, "Instance b could not be found.")
	}
	h.migrates["c"] = func(int) error {
		h.servers = slices.DeleteFunc(h.servers, func(s string) bool { return s == "c" })
		return fault.New(fault.NotFound, "Instance c could not be found.")
	}
	s := h.drains(t, h.environment(t), input())
	require.Equal(t, []any{contract.DrainDone, 1, 1}, []any{s.Phase, s.Moved, h.tries["confirm b"]})
	require.Empty(t, s.Failed)
}

func TestWhatIsNotConfirmedIsReported(t *testing.T) {
	h := newHost("a")
	h.confirms["a"] = func(int) error { return fault.New(fault.Internal, "a bug") }
	s := h.drains(t, h.environment(t), input())
	require.Equal(t, contract.DrainIncomplete, s.Phase)
	require.Equal(t, "It runs elsewhere, and waits to be confirmed: a bug", s.Failed[0].Why)
}

func TestADrainThatDoesNotBeginIsRefusedAndGivesTheHostBack(t *testing.T) {
	h := newHost("a")
	h.begins = func(int) error { return fault.New(fault.Conflict, "Host hv1 cannot be drained: it is down.") }
	env := h.environment(t)
	answer := asks(t, env, "req-1", 0)
	env.ExecuteWorkflow(DrainHost, input())
	require.Error(t, env.GetWorkflowError())
	require.Equal(t, "Host hv1 cannot be drained: it is down.", failure.Fault(*answer).Text)
	require.Equal(t, []string{contract.BeginDrain, contract.AbandonDrain}, h.done)
	require.Zero(t, h.looks)
}

func TestThereIsOneDrainOfAHost(t *testing.T) {
	h := newHost("a")
	env := h.environment(t)
	other, again := asks(t, env, "req-2", 10*time.Second), asks(t, env, "req-1", 20*time.Second)
	h.drains(t, env, input())
	f := failure.Fault(*other)
	require.Equal(t, fault.Conflict, f.Kind)
	require.Equal(t, "Host hv1 is being drained already, as request req-1 has asked. Stop that first.", f.Text)
	require.NoError(t, *again, "the same request is the same drain")
}

// next is the input of the run that a drain goes on in.
func next(t *testing.T, env *testsuite.TestWorkflowEnvironment) (in contract.DrainInput) {
	t.Helper()
	var again *workflow.ContinueAsNewError
	require.True(t, errors.As(env.GetWorkflowError(), &again), "%v", env.GetWorkflowError())
	require.Equal(t, contract.WorkflowDrain, again.WorkflowType.Name)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	return in
}

func TestALongDrainGoesOnInAnotherRunWhenNothingIsUnderWay(t *testing.T) {
	h := newHost("a", "b", "c", "d")
	h.migrates["b"] = func(int) error { return noHost }
	env := h.environment(t)
	asks(t, env, "req-1", 0)
	env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, 30*time.Second)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainPause) }, 45*time.Second)
	env.ExecuteWorkflow(DrainHost, input())
	in := next(t, env)
	require.Equal(t, []string{"b", "c", "d"}, h.servers, "what was under way has ended")
	require.Equal(t, []any{contract.DrainPaused, 1}, []any{in.Before.Phase, in.Before.Moved})
	require.Equal(t, []string{"b"}, names(in.Before.Failed))
	require.Empty(t, in.Before.Moving)

	began := in.Before.StartedAt
	env = h.environment(t)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainResume); say(env, contract.DrainPause) }, time.Minute)
	var paused contract.DrainState
	env.RegisterDelayedCallback(func() { paused = state(t, env) }, 2*time.Minute)
	env.RegisterDelayedCallback(func() { say(env, contract.DrainResume) }, time.Hour)
	s := h.drains(t, env, in)
	require.Equal(t, contract.DrainPaused, paused.Phase, "operators' words are heard in their order")
	require.Equal(t, []any{contract.DrainIncomplete, 3}, []any{s.Phase, s.Moved})
	require.True(t, began.Equal(s.StartedAt))
	require.Equal(t, []string{"b"}, names(s.Failed))
	require.Equal(t, []string{contract.BeginDrain}, h.done, "the host was disabled once")
}

func TestADrainThatWasStoppedDoesNotBeginAgainInAnotherRun(t *testing.T) {
	h := newHost("a")
	in := input()
	in.Before = &contract.DrainState{HostID: "h1", Phase: contract.DrainStopping, Moved: 7}
	s := h.drains(t, h.environment(t), in)
	require.Equal(t, []any{contract.DrainStopped, 7, 0}, []any{s.Phase, s.Moved, h.looks})
}

func TestEveryRowHasAnUndoAndItsContract(t *testing.T) {
	for _, row := range steps.Specs() {
		require.NotEmpty(t, row.Undo, row.Name)
		require.Equal(t, contract.OwesUndo, contract.ActivityOf(row.Undo).Owes)
		require.NotNil(t, contract.ActivityOf(row.Name).Input, row.Name)
	}
}

func TestAServerThatFailedAndIsGoneIsNotLeft(t *testing.T) {
	h := newHost("a", "b")
	h.migrates["a"] = func(int) error { return noHost }
	h.busy["b"] = "it reboots"
	env := h.environment(t)
	env.RegisterDelayedCallback(func() { h.with(func() { h.servers = []string{"b"} }) }, 5*time.Minute)
	env.RegisterDelayedCallback(func() { h.with(func() { h.busy = map[string]string{} }) }, 10*time.Minute)
	s := h.drains(t, env, input())
	require.Equal(t, []any{contract.DrainDone, 1}, []any{s.Phase, s.Moved})
	require.Empty(t, s.Failed)
}
