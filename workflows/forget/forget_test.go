package forget

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// forgotten runs the workflow over activities that fail as they are told, and gives what was done and answered.
func forgotten(t *testing.T, begins error, empties []error) (done []string, answer, end error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	in := contract.ForgetHostInput{HostID: "h1", Hostname: "hv1", Reason: "it burnt", UserID: "ops", RequestID: "req-1"}
	env.RegisterActivityWithOptions(func(_ context.Context, got contract.ForgetHostInput) error {
		done = append(done, contract.BeginForget)
		require.Equal(t, in.HostID, got.HostID)
		return failure.Of(begins)
	}, activity.RegisterOptions{Name: contract.BeginForget})
	env.RegisterActivityWithOptions(func(_ context.Context, got contract.ForgetHostInput) error {
		done = append(done, contract.EmptyHost)
		require.Equal(t, in.Reason, got.Reason)
		n := len(done) - 2
		if n < len(empties) {
			return failure.Retryable(empties[n])
		}
		return nil
	}, activity.RegisterOptions{Name: contract.EmptyHost})
	answer = fault.New(fault.Internal, "nobody answered")
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateSubmit, "submit", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Errorf("rejected: %v", err) },
			OnComplete: func(_ any, err error) { answer = err },
		}, contract.Submission{})
	}, 0)
	env.ExecuteWorkflow(ForgetHost, in)
	require.True(t, env.IsWorkflowCompleted())
	return done, answer, env.GetWorkflowError()
}

func TestAHostIsGivenUpOnceAndEmptiedUntilNothingIsLeft(t *testing.T) {
	left := fault.New(fault.Unavailable, "Host hv1: 1 servers are still being built there.")
	broken := fault.New(fault.Internal, "a bug")
	done, answer, end := forgotten(t, nil, []error{left, left, broken, left})
	require.NoError(t, answer)
	require.NoError(t, end)
	require.Equal(t, []string{contract.BeginForget, contract.EmptyHost, contract.EmptyHost, contract.EmptyHost, contract.EmptyHost, contract.EmptyHost}, done)
}

func TestAHostThatIsNotThereIsRefusedAndNothingIsTakenFromIt(t *testing.T) {
	done, answer, end := forgotten(t, fault.New(fault.NotFound, "Compute host h1 could not be found."), nil)
	require.Error(t, end)
	require.Equal(t, "Compute host h1 could not be found.", failure.Fault(answer).Text)
	require.Equal(t, []string{contract.BeginForget}, done)
}

func TestEveryRowSaysWhyItHasNoUndo(t *testing.T) {
	for _, row := range steps.Specs() {
		require.NotEmpty(t, row.WhyNoUndo, row.Name)
		require.NotNil(t, contract.ActivityOf(row.Name).Input, row.Name)
	}
}
