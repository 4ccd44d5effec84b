package engine

import (
	"context"
	"errors"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/audit"
)

// Audit starts an audit and answers its run's id. joined says that one runs already: what it has looked at may have been
// before now.
func (c *Client) Audit(ctx context.Context, requestID string) (runID string, joined bool, err error) {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, requestID), submitPatience)
	defer cancel()
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       ids.AuditWorkflow(c.queue),
		TaskQueue:                c.queue,
		WorkflowExecutionTimeout: audit.Patience,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		StaticSummary:            "audit asked for by " + requestID,

		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, contract.WorkflowAudit, contract.AuditInput{HostPatience: contract.AuditHostPatience})
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) {
		return running.RunId, true, nil
	}
	if err != nil {
		return "", false, faultOf(err, "The audit was not started", again)
	}
	return run.GetRunID(), false, nil
}

// Repair starts a repair of the findings that its row names. The same again meets the one that runs, or has run.
func (c *Client) Repair(ctx context.Context, in contract.RepairInput) error {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, in.RequestID), submitPatience)
	defer cancel()
	in.HostPatience = contract.AuditHostPatience
	_, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                    ids.RepairWorkflow(in.RepairID),
		TaskQueue:             c.queue,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         "repair asked for by " + in.RequestID,
	}, contract.WorkflowRepair, in)
	return faultOf(err, "The repair was not started", again)
}
