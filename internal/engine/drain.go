package engine

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// DrainHost begins to empty a host, and returns when that gets no servers any more. Conflict while it is emptied as another request has
// asked.
func (c *Client) DrainHost(ctx context.Context, in contract.DrainInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	err = c.submit(ctx, client.UpdateWorkflowOptions{
		UpdateID: ids.Submission(in.RequestID), UpdateName: contract.UpdateDrain, Args: []any{in.RequestID},
	}, nil, client.StartWorkflowOptions{
		ID:                    ids.DrainWorkflow(in.HostID),
		TaskQueue:             c.queue,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(attributes.Host.ValueSet(in.Hostname), attributes.Phase.ValueSet(contract.DrainRuns)),
		StaticSummary:         run.Summary("drain host " + in.Hostname),
		StaticDetails:         "host " + in.HostID + ", " + in.RequestID,
		// The run that it meets knows that it is another's.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, contract.WorkflowDrain, in)
	return faultOf(err, "The drain was not begun", "It may still be: look at the host before you ask again.")
}

// Drain tells how far the drain of a host is, or how the last one ended, while the engine keeps that. NotFound where none has begun.
func (c *Client) Drain(ctx context.Context, hostID string) (s contract.DrainState, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	id := ids.DrainWorkflow(hostID)
	described, err := c.temporal.DescribeWorkflow(ctx, id, "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return s, fault.Wrap(fault.NotFound, err, "No drain of the host is known.")
	}
	if err != nil {
		return s, faultOf(err, "How far the drain is cannot be told", again)
	}
	info := described.RawResponse.GetWorkflowExecutionInfo()
	if info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_FAILED {
		return s, fault.New(fault.NotFound, "The last drain of the host was refused.")
	}
	value, err := c.temporal.QueryWorkflow(ctx, id, info.GetExecution().GetRunId(), contract.QueryDrain)
	if err != nil {
		return s, fault.Wrap(fault.Unavailable, err, "The drain does not say how far it is: no worker of the control plane answers.")
	}
	if err := value.Get(&s); err != nil {
		return s, fmt.Errorf("read how far the drain of host %s is: %w", hostID, err)
	}
	if s.EndedAt == nil && info.GetCloseTime() != nil && info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
		at := info.GetCloseTime().AsTime() // nobody asked it
		s.EndedAt, s.Phase, s.WaitsFor = &at, contract.DrainStopped, "It was ended in the workflow engine: what was under way goes on by itself."
	}
	return s, nil
}

// ActOnDrain gives a drain an operator's word, and returns when that is durable. Conflict where none runs.
func (c *Client) ActOnDrain(ctx context.Context, hostID string, act contract.DrainAct) error {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, act.RequestID), submitPatience)
	defer cancel()
	err := c.temporal.SignalWorkflow(ctx, ids.DrainWorkflow(hostID), "", contract.SignalDrain, act)
	if errors.As(err, new(*serviceerror.NotFound)) {
		return fault.Wrap(fault.Conflict, err, "The host is not being drained.")
	}
	return faultOf(err, "The drain was not told", again)
}
