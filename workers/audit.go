package workers

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/activities/control"
)

// Engine tells the audit of workflows.
type Engine struct{ Temporal client.Client }

var _ control.Engine = Engine{}

// Latest asks the engine for the newest run itself, not for the list that it searches in, which is late.
func (e Engine) Latest(ctx context.Context, workflowID string) (runID string, running bool, err error) {
	described, err := e.Temporal.DescribeWorkflow(ctx, workflowID, "")
	var absent *serviceerror.NotFound
	if errors.As(err, &absent) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("describing workflow %s: %w", workflowID, err)
	}
	info := described.RawResponse.GetWorkflowExecutionInfo()
	return info.GetExecution().GetRunId(), info.GetCloseTime() == nil, nil
}
