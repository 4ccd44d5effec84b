package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/activities/control"
	"github.com/slipway-cloud/slipway/internal/contract"
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

// scheduleTimeout bounds the look at the schedule when a worker starts.
const scheduleTimeout = 30 * time.Second

// KeepAuditSchedule ensures the schedule, and asks again every minute while the engine does not take it. It returns when it
// has, or when ctx ends.
func KeepAuditSchedule(ctx context.Context, temporalClient client.Client, controlQueue string, every time.Duration, log *slog.Logger) {
	for {
		err := EnsureAuditSchedule(ctx, temporalClient, controlQueue, every, log)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Error("Audits are not scheduled; asking again.", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
	}
}

// EnsureAuditSchedule sees to it that audits run so often, and never where every is 0. Any number of workers may do it at
// once; the last one's setting holds.
func EnsureAuditSchedule(ctx context.Context, temporalClient client.Client, controlQueue string, every time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, scheduleTimeout)
	defer cancel()
	id := contract.AuditScheduleID(controlQueue)
	handle := temporalClient.ScheduleClient().GetHandle(ctx, id)
	if every <= 0 {
		err := handle.Delete(ctx)
		var absent *serviceerror.NotFound
		if err != nil && !errors.As(err, &absent) {
			return fmt.Errorf("removing the schedule of audits: %w", err)
		}
		return nil
	}
	spec := client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: every}}}
	action := &client.ScheduleWorkflowAction{
		ID: id + "-tick", Workflow: contract.WorkflowAuditTick, TaskQueue: controlQueue,
		WorkflowExecutionTimeout: time.Hour, StaticSummary: "scheduled audit",
	}
	_, err := temporalClient.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: id, Spec: spec, Action: action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		// What was missed while the engine was away is not made up for.
		CatchupWindow: time.Minute,
	})
	if err == nil {
		log.Info("Audits are scheduled.", "every", every)
		return nil
	}
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return fmt.Errorf("scheduling audits: %w", err)
	}
	known, err := handle.Describe(ctx)
	if err != nil {
		return fmt.Errorf("reading the schedule of audits: %w", err)
	}
	if s := known.Schedule.Spec; s != nil && len(s.Intervals) == 1 && s.Intervals[0].Every == every {
		return nil
	}
	err = handle.Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		in.Description.Schedule.Spec = &spec
		in.Description.Schedule.Action = action
		return &client.ScheduleUpdate{Schedule: &in.Description.Schedule}, nil
	}})
	if err != nil {
		return fmt.Errorf("changing the schedule of audits: %w", err)
	}
	log.Info("Audits are scheduled anew.", "every", every)
	return nil
}
