package teardown_test

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
	"github.com/slipway-cloud/slipway/workflows/boot"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// reset runs a ResetServer, and answers what it did.
func reset(t *testing.T, script func(*testsuite.TestWorkflowEnvironment, string)) (done []string) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	does := func(name string) {
		done = append(done, name)
		script(env, name)
	}
	for name, f := range map[string]any{
		contract.ResetState: func(_ context.Context, in contract.ResetStateInput) error {
			require.Empty(t, in.Ended)
			does(in.RequestID + " " + in.VMState)
			return nil
		},
		contract.MarkDeleting: func(context.Context, contract.DeleteInput) (contract.Takings, error) {
			does(contract.MarkDeleting)
			return contract.Takings{Gone: true}, nil
		},
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	in := contract.ResetInput{ServerID: "s", RequestID: "req-1", VMState: "error", Deadlines: contract.DefaultDeadlines()}
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.SignalReset, in) }, 0)
	env.ExecuteWorkflow(teardown.Workflow{Rows: boot.Table(), Version: boot.TableVersion}.ResetServer, in)
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	return done
}

func TestAResetSetsTheStateOnce(t *testing.T) {
	require.Equal(t, []string{"req-1 error"}, reset(t, func(*testsuite.TestWorkflowEnvironment, string) {}))
}

func TestResetsAreDoneInTheirOrder(t *testing.T) {
	require.Equal(t, []string{"req-1 error", "req-2 active"}, reset(t, func(env *testsuite.TestWorkflowEnvironment, done string) {
		if done == "req-1 error" {
			env.SignalWorkflow(contract.SignalReset, contract.ResetInput{ServerID: "s", RequestID: "req-2", VMState: "active"})
		}
	}))
}

func TestADeleteFollowsAReset(t *testing.T) {
	require.Equal(t, []string{"req-1 error", contract.MarkDeleting}, reset(t, func(env *testsuite.TestWorkflowEnvironment, done string) {
		if done == "req-1 error" {
			env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
		}
	}))
}
