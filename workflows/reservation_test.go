package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	tworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// reserving is an engine and a world for reservations: what is admitted, started and dropped.
type reserving struct {
	env   *testsuite.TestWorkflowEnvironment
	world *world

	mu       sync.Mutex
	admitted []int // places that have a row
	built    map[int]contract.BootInput
	drops    []contract.DropServersInput

	admit    func(contract.AdmitServersInput) (contract.Admitted, error)
	drop     func(try int) error
	began    func(place int) // a build has begun
	answered bool
	answer   contract.Admitted
	refusal  error
}

func newReserving(t *testing.T) *reserving {
	r := &reserving{world: newWorld(), built: map[int]contract.BootInput{}, drop: func(int) error { return nil }, began: func(int) {}}
	r.env = environment(r.world)
	r.admit = func(in contract.AdmitServersInput) (contract.Admitted, error) {
		for place := range in.Max {
			r.admitted = append(r.admitted, place)
		}
		return contract.Admitted{Servers: in.Max}, nil
	}
	for name, f := range map[string]any{
		contract.AdmitServers: func(_ context.Context, in contract.AdmitServersInput) (contract.Admitted, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.admit(in)
		},
		contract.DropServers: func(ctx context.Context, in contract.DropServersInput) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.drops = append(r.drops, in)
			if err := r.drop(int(activity.GetInfo(ctx).Attempt)); err != nil {
				return fault.ToTemporalAgain(err)
			}
			r.admitted = slices.DeleteFunc(r.admitted, func(place int) bool { return slices.Contains(in.Places, place) })
			return nil
		},
	} {
		r.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	r.env.RegisterWorkflowWithOptions(func(ctx tworkflow.Context, in contract.BootInput) error {
		r.mu.Lock()
		_, twice := r.built[in.LaunchIndex]
		r.built[in.LaunchIndex] = in
		r.mu.Unlock()
		if twice {
			t.Errorf("the build of server %d was started twice", in.LaunchIndex)
		}
		r.began(in.LaunchIndex)
		return tworkflow.Sleep(ctx, time.Hour)
	}, tworkflow.RegisterOptions{Name: contract.WorkflowBoot})
	return r
}

func (r *reserving) run(t *testing.T, in contract.ReserveInput) error {
	t.Helper()
	r.env.RegisterDelayedCallback(func() {
		r.env.UpdateWorkflow(contract.UpdateSubmit, "submit", &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { t.Errorf("the submission was rejected: %v", err) },
			OnComplete: func(answer any, err error) {
				r.answer, _ = answer.(contract.Admitted)
				r.answered, r.refusal = true, err
			},
		})
	}, 0)
	r.env.ExecuteWorkflow(ReserveServers, in)
	require.True(t, r.env.IsWorkflowCompleted())
	require.True(t, r.answered, "every submission is answered")
	return r.env.GetWorkflowError()
}

func (r *reserving) state(t *testing.T) (s contract.ReservationState) {
	t.Helper()
	value, err := r.env.QueryWorkflow(contract.QueryReservation)
	require.NoError(t, err)
	require.NoError(t, value.Get(&s))
	return s
}

func several(least, most int) contract.ReserveInput {
	in := input()
	in.Name, in.Hostname, in.Fingerprint = "web", "web", "f"
	return contract.ReserveInput{Boot: in, Min: least, Max: most}
}

func TestAReservationStartsOneBuildForEachServerThatWasAdmitted(t *testing.T) {
	r := newReserving(t)
	in := several(10, 90)
	r.admit = func(a contract.AdmitServersInput) (contract.Admitted, error) {
		require.Equal(t, []any{10, 90, in.Boot.Limits}, []any{a.Min, a.Max, a.Limits})
		require.Equal(t, []string{in.Boot.ServerID, "web", "f"}, []string{a.Server.ServerID, a.Server.Name, a.Server.Fingerprint})
		return contract.Admitted{Servers: 60}, nil
	}
	require.NoError(t, r.run(t, in))
	require.NoError(t, r.refusal)
	require.Equal(t, contract.Admitted{Servers: 60}, r.answer)
	require.Equal(t, contract.ReservationState{Admitted: 60, Started: 60, Settled: true}, r.state(t))
	require.Empty(t, r.drops)
	require.Len(t, r.built, 60)
	ids := map[string]bool{}
	for place, b := range r.built {
		ids[b.ServerID] = true
		require.Equal(t, fmt.Sprintf("web-%d", place+1), b.Name)
		require.Equal(t, b.Name, b.Hostname)
		require.True(t, b.Reserved)
		require.Equal(t, contract.ReservationID(in.Boot.ServerID), b.ReservationID)
		require.Equal(t, []any{in.Boot.RequestID, in.Boot.Networks, in.Boot.Flavor}, []any{b.RequestID, b.Networks, b.Flavor})
	}
	require.Len(t, ids, 60)
	require.Equal(t, in.Boot.ServerID, r.built[0].ServerID)
}

func TestARefusedReservationAnswersWhyAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		admit func(*reserving, contract.AdmitServersInput) (contract.Admitted, error)
		kind  fault.Kind
	}{
		"over quota": {func(*reserving, contract.AdmitServersInput) (contract.Admitted, error) {
			return contract.Admitted{}, fault.ToTemporal(fault.New(fault.OverQuota, "Quota exceeded"))
		}, fault.OverQuota},
		"the answer is lost": {func(r *reserving, in contract.AdmitServersInput) (contract.Admitted, error) {
			for place := range in.Max {
				r.admitted = append(r.admitted, place)
			}
			return contract.Admitted{}, fault.ToTemporal(fault.New(fault.Internal, "x"))
		}, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReserving(t)
			r.admit = func(in contract.AdmitServersInput) (contract.Admitted, error) { return c.admit(r, in) }
			r.drop = func(try int) error {
				if try < 3 {
					return fault.New(fault.Unavailable, "not now")
				}
				return nil
			}
			err := r.run(t, several(2, 5))
			require.Equal(t, c.kind, fault.FromTemporal(r.refusal).Kind)
			require.Equal(t, c.kind, fault.FromTemporal(errors.Unwrap(err)).Kind, "a failed run lets the same key try again")
			require.Empty(t, r.admitted)
			require.Empty(t, r.built)
			require.Len(t, r.drops, 3)
		})
	}
	r := newReserving(t)
	failing(r.world, contract.ResolveImage, fault.Invalid, false)
	require.Error(t, r.run(t, several(2, 5)))
	require.Equal(t, fault.Invalid, fault.FromTemporal(r.refusal).Kind)
	require.Empty(t, r.drops, "nothing was taken")
}

func TestACancelledReservationDropsWhatItHasNotStarted(t *testing.T) {
	r := newReserving(t)
	r.began = func(place int) {
		if place == 30 {
			r.env.CancelWorkflow()
		}
	}
	require.Error(t, r.run(t, several(100, 100)))
	require.NoError(t, r.refusal, "it was accepted")
	require.Greater(t, len(r.built), 30)
	require.Less(t, len(r.built), 100)
	require.Len(t, r.admitted, len(r.built))
	for _, place := range r.admitted {
		require.Contains(t, r.built, place)
	}
	require.Len(t, r.drops, 1)
	require.Equal(t, []any{"req-1", 503}, []any{r.drops[0].RequestID, r.drops[0].Code})
	require.Contains(t, r.drops[0].Message, "The build was not started: ")
}

func TestAServerWhoseDeleteWasFasterIsNotBuilt(t *testing.T) {
	r := newReserving(t)
	in := several(5, 5)
	r.env.RegisterWorkflowWithOptions(func(ctx tworkflow.Context, _ contract.DeleteInput) error {
		return tworkflow.Sleep(ctx, time.Hour)
	}, tworkflow.RegisterOptions{Name: contract.WorkflowDelete})
	r.env.ExecuteWorkflow(func(ctx tworkflow.Context, in contract.ReserveInput) error {
		deleting := tworkflow.WithChildOptions(ctx, tworkflow.ChildWorkflowOptions{
			WorkflowID: contract.ServerWorkflowID(contract.ReservedServerID(in.Boot.ServerID, 3)),
		})
		if err := tworkflow.ExecuteChildWorkflow(deleting, contract.WorkflowDelete, contract.DeleteInput{}).GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			return err
		}
		return ReserveServers(ctx, in)
	}, in)
	require.NoError(t, r.env.GetWorkflowError())
	require.Equal(t, contract.ReservationState{Admitted: 5, Started: 4, Settled: true}, r.state(t))
	require.NotContains(t, r.built, 3)
	require.Empty(t, r.drops, "its row and claim are the delete's business")
}

func TestABuildThatTheEngineRefusesFailsAlone(t *testing.T) {
	r := newReserving(t)
	r.env.OnWorkflow(contract.WorkflowBoot, mock.Anything, mock.MatchedBy(func(in contract.BootInput) bool { return in.LaunchIndex == 2 })).
		Return(testsuite.ErrMockStartChildWorkflowFailed)
	r.env.OnWorkflow(contract.WorkflowBoot, mock.Anything, mock.Anything).Return(nil)
	require.NoError(t, r.run(t, several(5, 5)))
	require.Equal(t, contract.ReservationState{Admitted: 5, Started: 4, Dropped: 1, Settled: true}, r.state(t))
	require.Equal(t, []int{0, 1, 3, 4}, r.admitted)
	require.Equal(t, "The build was not started: the workflow engine did not take it.", r.drops[0].Message)
	require.Equal(t, 503, r.drops[0].Code)
}

func TestAReservationWithALongHistoryGoesOnInANewRun(t *testing.T) {
	first := newReserving(t)
	first.began = func(place int) {
		if place == 40 {
			first.env.SetCurrentHistorySize(historyBytes)
		}
	}
	err := first.run(t, several(100, 100))
	var again *tworkflow.ContinueAsNewError
	require.ErrorAs(t, err, &again)
	require.Empty(t, first.drops)
	var next contract.ReserveInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &next))
	begun := len(first.built)
	require.GreaterOrEqual(t, begun, 41)
	require.Less(t, begun, 100)
	require.Equal(t, []int{100, begun, begun}, []int{next.Continued.Admitted, next.Continued.Next, next.Continued.Started})

	second := newReserving(t)
	second.admit = func(contract.AdmitServersInput) (contract.Admitted, error) {
		t.Error("it was admitted already")
		return contract.Admitted{}, nil
	}
	require.NoError(t, second.run(t, next))
	require.Equal(t, contract.Admitted{Servers: 100}, second.answer, "who asks again gets the same answer")
	require.Equal(t, contract.ReservationState{Admitted: 100, Started: 100, Settled: true}, second.state(t))
	require.Len(t, second.built, 100-begun)
	for place := range second.built {
		require.NotContains(t, first.built, place)
	}
}
