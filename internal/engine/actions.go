package engine

import (
	"context"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// Do starts an action on a server and returns as soon as it is accepted (nil: its instance action exists) or refused. Conflict
// where something else holds the server's lock: its row says what.
func (c *Client) Do(ctx context.Context, workflow string, in contract.ActionInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	err = c.submit(ctx, submission(in.RequestID), nil, client.StartWorkflowOptions{
		ID:                  ids.ServerWorkflow(in.ServerID),
		TaskQueue:           c.queue,
		WorkflowTaskTimeout: server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			attributes.Server.ValueSet(in.ServerID), attributes.Project.ValueSet(in.ProjectID), attributes.Phase.ValueSet(in.Action)),
		StaticSummary: run.Summary(in.Action + " " + in.Name),
		// Whatever runs there is not this action, and does not take its submission for its own.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, workflow, in)
	return faultOf(err, "The action was not accepted", "It may still be: look at the server before you ask again.")
}
