package engine

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// Import starts an import and returns as soon as it is accepted (nil: its task exists) or refused. Conflict while another
// import of the image runs.
func (c *Client) Import(ctx context.Context, in contract.ImportInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.Task.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	err = c.submit(ctx, client.UpdateWorkflowOptions{
		UpdateID: ids.ImportSubmission(in.Task.ID), UpdateName: contract.UpdateImport, Args: []any{in.Task.ID},
	}, nil, client.StartWorkflowOptions{
		ID:                  ids.ImageWorkflow(in.Task.ImageID),
		TaskQueue:           c.queue,
		WorkflowTaskTimeout: server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			attributes.Image.ValueSet(in.Task.ImageID), attributes.Project.ValueSet(in.Task.ProjectID), attributes.Phase.ValueSet(attributes.PhaseImporting)),
		StaticSummary: run.Summary("import " + in.Task.ImageID + ": " + contract.Summary(contract.BeginImport, in)),
		StaticDetails: fmt.Sprintf("image %s, task %s, project %s, %s", in.Task.ImageID, in.Task.ID, in.Task.ProjectID, in.Task.RequestID),
		// The run that it meets knows that it is another import's.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, contract.WorkflowImport, in)
	return faultOf(err, "The import was not accepted", "It may still be: look for the image's tasks before you ask again.")
}
