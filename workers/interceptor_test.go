package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/guest/admission"
)

// onHost runs activities, by name, on a host that does one step at a time, all at once and each of them once, with
// deadline as a step's own. engine is what the engine says of a step that had to wait for its turn. It gives what the
// workflow got from each.
func onHost(t *testing.T, deadline time.Duration, activities map[string]any, in any, engine ...error) map[string]error {
	t.Helper()
	wanted := errors.Join(engine...)
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(slog.New(slog.DiscardHandler))
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&steps{
		log: slog.New(slog.DiscardHandler), metrics: NewSteps(prometheus.NewRegistry()), host: admission.New(1, nil),
		wanted: func(context.Context, []byte) error { return wanted },
	}}})
	for name, f := range activities {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	got := map[string]error{}
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: deadline + contract.HostTurn, HeartbeatTimeout: time.Minute,
			RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		running := map[string]workflow.Future{}
		for name := range activities { //workflowcheck:ignore
			running[name] = workflow.ExecuteActivity(ctx, name, in)
		}
		for name := range activities { //workflowcheck:ignore
			got[name] = running[name].Get(ctx, nil)
		}
		return nil
	})
	require.NoError(t, env.GetWorkflowError())
	return got
}

func retryable(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && !app.NonRetryable()
}

func TestAStepThatTookAllItsTimeIsForAnotherHost(t *testing.T) {
	err := onHost(t, 50*time.Millisecond, map[string]any{contract.BuildDisk: func(ctx context.Context, _ contract.BuildDiskInput) error {
		<-ctx.Done()
		return fmt.Errorf("copying: %w", ctx.Err())
	}}, contract.BuildDiskInput{})[contract.BuildDisk]
	require.Equal(t, fault.HostUnfit, failure.Fault(err).Kind)
	require.Contains(t, failure.Fault(err).Text, "within 50ms")
	require.False(t, retryable(err))
}

func TestWhatAStepGaveUpByItselfIsNoCancellation(t *testing.T) {
	err := onHost(t, time.Minute, map[string]any{contract.BuildDisk: func(context.Context, contract.BuildDiskInput) error {
		inner, cancel := context.WithCancel(context.Background())
		cancel()
		return fault.Wrap(fault.Unavailable, inner.Err(), "the image could not be read to its end")
	}}, contract.BuildDiskInput{})[contract.BuildDisk]
	require.Equal(t, fault.Unavailable, failure.Fault(err).Kind)
	require.Equal(t, "the image could not be read to its end", failure.Fault(err).Text)
	require.True(t, retryable(err))
}

func TestAnUndoAndWhatWasPromisedAreTriedAgainWhateverTheyAnswer(t *testing.T) {
	bug := fault.New(fault.Internal, "a bug")
	for name, c := range map[string]struct {
		in, activity any
		again        bool
	}{
		contract.BuildDisk:   {contract.BuildDiskInput{}, func(context.Context, contract.BuildDiskInput) error { return bug }, false},
		contract.RemoveDisk:  {contract.Undo{}, func(context.Context, contract.Undo) error { return bug }, true},
		contract.StartBuilds: {contract.StartBuildsInput{}, func(context.Context, contract.StartBuildsInput) error { return bug }, true},
	} {
		err := onHost(t, time.Minute, map[string]any{name: c.activity}, c.in)[name]
		require.Equal(t, fault.Internal, failure.Fault(err).Kind)
		require.Equal(t, c.again, retryable(err), name)
	}
}

func TestAFetchThatWaitsForBytesLeavesTheTurnToOthers(t *testing.T) {
	built := make(chan struct{})
	got := onHost(t, 20*time.Second, map[string]any{
		contract.FetchImage: func(ctx context.Context, _ struct{}) error {
			select {
			case <-built: // the other step had its turn meanwhile
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		contract.BuildDisk: func(ctx context.Context, _ struct{}) error {
			close(built)
			return nil
		},
	}, struct{}{})
	require.NoError(t, got[contract.FetchImage])
	require.NoError(t, got[contract.BuildDisk])
}

func TestAStepThatWasGivenUpWhileItWaitedTakesNothing(t *testing.T) {
	began := make(chan struct{}, 2)
	step := func(context.Context, struct{}) error {
		began <- struct{}{}
		time.Sleep(100 * time.Millisecond) // the other one finds the turn taken
		return nil
	}
	got := onHost(t, time.Minute, map[string]any{contract.BuildDisk: step, contract.StartDomain: step}, struct{}{}, errors.New("no such activity"))
	require.Len(t, began, 1)
	require.ErrorContains(t, errors.Join(got[contract.BuildDisk], got[contract.StartDomain]), "given up while it waited for its turn")
}

func TestADeleteThatHasBegunDoesNotGiveUpAtItsFirstStep(t *testing.T) {
	err := onHost(t, time.Minute, map[string]any{contract.MarkDeleting: func(context.Context, contract.DeleteInput) error {
		return errors.New("an error that nobody knows")
	}}, contract.DeleteInput{})[contract.MarkDeleting]
	require.True(t, retryable(err), "%v", err)
}

// refused is a worker that the engine ends.
type refused struct {
	worker.Worker
	options worker.Options
	stopped bool
}

func (r *refused) Start() error {
	go r.options.OnFatalError(errors.New("no such namespace"))
	return nil
}
func (r *refused) Stop() { r.stopped = true }

func TestAWorkerThatTheEngineRefusesForGoodEndsItsProcess(t *testing.T) {
	w := &refused{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := run(ctx, "control", worker.Options{}, func(o worker.Options) worker.Worker { w.options = o; return w })
	require.ErrorContains(t, err, "no such namespace")
	require.False(t, w.stopped, "it has stopped by itself")
}

func TestTheEndOfWhatWasAskedOfAServerIsMeasuredByItsAction(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewSteps(registry)
	began := time.Now().Add(-2 * time.Second)
	steps := []contract.StepProgress{{Step: contract.BeginAction, Started: &began}}
	for name, in := range map[string]any{
		contract.FinishAction: contract.FinishActionInput{Action: "os-stop", Steps: steps},
		contract.FailAction:   contract.FailActionInput{Action: "os-start", Steps: steps},
		contract.Activate:     contract.ActivateInput{Steps: steps},
		contract.FailServer:   contract.FailServerInput{Steps: steps},
		contract.RemoveServer: contract.RemoveServerInput{Steps: steps},
	} {
		end, ok := contract.ActivityOf(name).Ends(in)
		require.True(t, ok, name)
		metrics.ended(end, began.Add(2*time.Second))
	}
	_, ok := contract.ActivityOf(contract.BuildDisk).Ends(contract.BuildDiskInput{})
	require.False(t, ok)
	all, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, all, 1)
	var seen []string
	for _, m := range all[0].GetMetric() {
		seen = append(seen, m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue())
		require.EqualValues(t, 1, m.GetHistogram().GetSampleCount())
		require.InDelta(t, 2, m.GetHistogram().GetSampleSum(), 0.001)
	}
	require.ElementsMatch(t, []string{"os-stop ok", "os-start error", "create ok", "create error", "delete ok"}, seen)
}
