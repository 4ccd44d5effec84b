package reservation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// reserving is an engine and a world for reservations: what is admitted, started and dropped.
type reserving struct {
	env *testsuite.TestWorkflowEnvironment

	mu       sync.Mutex
	admitted []int // places that have a row
	built    map[int]contract.BootInput
	steps    []contract.StartBuildsInput
	drops    []contract.DropServersInput

	resolve  func() error
	admit    func(contract.AdmitServersInput) (contract.Admitted, error)
	start    func(in contract.StartBuildsInput, try int) (contract.StartedBuilds, error)
	drop     func(try int) error
	answered bool
	answer   contract.Admitted
	refusal  error
}

func newReserving(t *testing.T) *reserving {
	r := &reserving{built: map[int]contract.BootInput{}, drop: func(int) error { return nil }}
	r.start = func(contract.StartBuildsInput, int) (contract.StartedBuilds, error) {
		return contract.StartedBuilds{}, nil
	}
	r.resolve = func() error { return nil }
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	r.env = suite.NewTestWorkflowEnvironment()
	r.env.SetTestTimeout(20 * time.Second)
	r.admit = func(in contract.AdmitServersInput) (contract.Admitted, error) {
		for place := range in.Max {
			r.admitted = append(r.admitted, place)
		}
		return contract.Admitted{Servers: in.Max}, nil
	}
	for name, f := range map[string]any{
		contract.ResolveImage: func(_ context.Context, in contract.ResolveImageInput) (contract.ResolvedImage, error) {
			return contract.ResolvedImage{Root: contract.Image{ID: in.ImageID}}, failure.Of(r.resolve())
		},
		contract.AdmitServers: func(_ context.Context, in contract.AdmitServersInput) (contract.Admitted, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.admit(in)
		},
		contract.StartBuilds: func(ctx context.Context, in contract.StartBuildsInput) (contract.StartedBuilds, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.steps = append(r.steps, in)
			out, err := r.start(in, int(activity.GetInfo(ctx).Attempt))
			if err != nil {
				return out, failure.Of(err)
			}
			for place := in.From; place < in.To; place++ {
				if !slices.Contains(out.Refused, place) {
					r.built[place] = contract.ReservedServer(in.Boot, place, in.Admitted)
				}
			}
			return out, nil
		},
		contract.DropServers: func(ctx context.Context, in contract.DropServersInput) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.drops = append(r.drops, in)
			if err := r.drop(int(activity.GetInfo(ctx).Attempt)); err != nil {
				return failure.Retryable(err)
			}
			r.admitted = slices.DeleteFunc(r.admitted, func(place int) bool { return slices.Contains(in.Places, place) })
			return nil
		},
	} {
		r.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
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
	in := several(10, 400)
	r.admit = func(a contract.AdmitServersInput) (contract.Admitted, error) {
		require.Equal(t, []any{10, 400, in.Boot.Limits}, []any{a.Min, a.Max, a.Limits})
		require.Equal(t, []string{in.Boot.ServerID, "web", "f"}, []string{a.Server.ServerID, a.Server.Name, a.Server.Fingerprint})
		return contract.Admitted{Servers: 260}, nil
	}
	r.start = func(_ contract.StartBuildsInput, try int) (contract.StartedBuilds, error) {
		if try < 3 {
			return contract.StartedBuilds{}, fault.New(fault.Unavailable, "not now")
		}
		return contract.StartedBuilds{}, nil
	}
	require.NoError(t, r.run(t, in))
	require.NoError(t, r.refusal)
	require.Equal(t, contract.Admitted{Servers: 260}, r.answer)
	require.Equal(t, contract.ReservationState{Admitted: 260, Started: 260, Settled: true}, r.state(t))
	require.Empty(t, r.drops)
	require.Len(t, r.steps, 9, "three steps, each at its third try")
	require.Len(t, r.built, 260)
	built := map[string]bool{}
	for place, b := range r.built {
		built[b.ServerID] = true
		require.Equal(t, fmt.Sprintf("web-%d", place+1), b.Name)
		require.Equal(t, b.Name, b.Hostname)
		require.True(t, b.Reserved)
		require.Equal(t, ids.Reservation(in.Boot.ServerID), b.ReservationID)
		require.Equal(t, []any{place, in.Boot.RequestID, in.Boot.Networks, in.Boot.Flavor}, []any{b.LaunchIndex, b.RequestID, b.Networks, b.Flavor})
	}
	require.Len(t, built, 260)
	require.Equal(t, in.Boot.ServerID, r.built[0].ServerID)
}

func TestARefusedReservationAnswersWhyAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		admit func(*reserving, contract.AdmitServersInput) (contract.Admitted, error)
		kind  fault.Kind
	}{
		"over quota": {func(*reserving, contract.AdmitServersInput) (contract.Admitted, error) {
			return contract.Admitted{}, failure.Of(fault.New(fault.OverQuota, "Quota exceeded"))
		}, fault.OverQuota},
		"the answer is lost": {func(r *reserving, in contract.AdmitServersInput) (contract.Admitted, error) {
			for place := range in.Max {
				r.admitted = append(r.admitted, place)
			}
			return contract.Admitted{}, failure.Of(fault.New(fault.Internal, "x"))
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
			require.Equal(t, c.kind, failure.Fault(r.refusal).Kind)
			require.Equal(t, c.kind, failure.Fault(errors.Unwrap(err)).Kind, "a failed run lets the same key try again")
			require.Empty(t, r.admitted)
			require.Empty(t, r.built)
			require.Len(t, r.drops, 3)
		})
	}
	r := newReserving(t)
	r.resolve = func() error { return fault.New(fault.Invalid, "injected into ResolveImage") }
	require.Error(t, r.run(t, several(2, 5)))
	require.Equal(t, fault.Invalid, failure.Fault(r.refusal).Kind)
	require.Empty(t, r.drops, "nothing was taken")
}

func TestACancelledReservationDropsWhatItHasNotStarted(t *testing.T) {
	r := newReserving(t)
	r.start = func(in contract.StartBuildsInput, _ int) (contract.StartedBuilds, error) {
		if in.From == 100 {
			r.env.CancelWorkflow()
		}
		return contract.StartedBuilds{Refused: []int{in.From + 7}}, nil
	}
	require.Error(t, r.run(t, several(350, 350)))
	require.NoError(t, r.refusal, "it was accepted")
	require.Len(t, r.built, 198, "what is being started is not torn up")
	require.ElementsMatch(t, slices.Collect(maps.Keys(r.built)), r.admitted)
	require.Len(t, r.drops, 1)
	require.Equal(t, []any{"req-1", 503}, []any{r.drops[0].RequestID, r.drops[0].Code})
	require.Contains(t, r.drops[0].Message, "The build was not started: ")
}

func TestABuildThatTheEngineRefusesFailsAlone(t *testing.T) {
	r := newReserving(t)
	r.start = func(contract.StartBuildsInput, int) (contract.StartedBuilds, error) {
		return contract.StartedBuilds{Refused: []int{2}, Reason: "its name is too long"}, nil
	}
	require.NoError(t, r.run(t, several(5, 5)))
	require.Equal(t, contract.ReservationState{Admitted: 5, Started: 4, Dropped: 1, Settled: true}, r.state(t))
	require.Equal(t, []int{0, 1, 3, 4}, r.admitted)
	require.Equal(t, []any{"The build was not started: the workflow engine did not take it.", 500}, []any{r.drops[0].Message, r.drops[0].Code})
	require.Contains(t, r.drops[0].Details, "its name is too long", "for admins")
}

func TestAReservationWhoseStartsFailForGoodGivesTheRestBack(t *testing.T) {
	r := newReserving(t)
	r.start = func(in contract.StartBuildsInput, _ int) (contract.StartedBuilds, error) {
		if in.From == 0 {
			return contract.StartedBuilds{}, nil
		}
		return contract.StartedBuilds{}, fault.New(fault.Internal, "a bug")
	}
	require.Error(t, r.run(t, several(150, 150)))
	require.Len(t, r.admitted, 100)
	require.Equal(t, contract.ReservationState{Admitted: 150, Started: 100, Settled: true}, r.state(t))
}
func input() contract.BootInput {
	return contract.BootInput{
		Server: contract.Server{
			ServerID: "11111111-2222-3333-4444-555555555555", ProjectID: "p", RequestID: "req-1", Name: "web", ImageID: "i",
			Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, ConfigDrive: true,
		},
		Networks: []contract.NICRequest{{NetworkID: "n1"}, {NetworkID: "n2"}},
		MaxHosts: 3, Deadlines: contract.DefaultDeadlines(),
	}
}
