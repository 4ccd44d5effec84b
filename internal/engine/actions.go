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
	options := c.onServer(in.ServerID, in.Action+" "+in.Name,
		attributes.Project.ValueSet(in.ProjectID), attributes.Phase.ValueSet(in.Action))
	err = c.submit(ctx, submission(in.RequestID), nil, options, workflow, in)
	return faultOf(err, "The action was not accepted", "It may still be: look at the server before you ask again.")
}

// Adopt makes a guest on a host a server again, and returns when it is one, or cannot be: Conflict says why, Unavailable where its
// host does not answer.
func (c *Client) Adopt(ctx context.Context, in contract.AdoptInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	options := c.onServer(in.ServerID, "adopt "+in.ServerID+" on "+in.Hostname, attributes.Host.ValueSet(in.Hostname))
	err = c.submit(ctx, submission(in.RequestID, asked), nil, options, contract.WorkflowAdopt, in)
	return faultOf(err, "The guest was not adopted", "It may still be: look at the server before you ask again.")
}

// onServer has a workflow hold the server's lock.
func (c *Client) onServer(id, summary string, found ...temporal.SearchAttributeUpdate) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                    ids.ServerWorkflow(id),
		TaskQueue:             c.queue,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(append(found, attributes.Server.ValueSet(id))...),
		StaticSummary:         run.Summary(summary),
		// Whatever runs there is something else, and does not take this submission for its own.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}
}
