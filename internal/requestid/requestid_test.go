package requestid

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

func TestAStepKnowsTheRequestThatCausedIt(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	suite.SetContextPropagators(Propagators())
	id, err := converter.GetDefaultDataConverter().ToPayload("req-1")
	require.NoError(t, err)
	suite.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{header: id}})
	env := suite.NewTestWorkflowEnvironment()
	step := func(ctx context.Context) (string, error) { return Of(ctx), nil }
	env.RegisterActivity(step)
	env.ExecuteWorkflow(func(ctx workflow.Context) (seen []string, err error) {
		ctx, cancel := workflow.WithCancel(ctx)
		cancel()
		ctx, _ = workflow.NewDisconnectedContext(ctx) // as undos run
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		for _, running := range []workflow.Future{workflow.ExecuteActivity(ctx, step), workflow.ExecuteLocalActivity(ctx, step)} {
			var id string
			if err := running.Get(ctx, &id); err != nil {
				return nil, err
			}
			seen = append(seen, id)
		}
		return seen, nil
	})
	require.NoError(t, env.GetWorkflowError())
	var seen []string
	require.NoError(t, env.GetWorkflowResult(&seen))
	require.Equal(t, []string{"req-1", "req-1"}, seen)
}

func TestWithoutARequestNothingIsCarried(t *testing.T) {
	require.Empty(t, Of(context.Background()))
}
