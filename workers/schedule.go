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

	"github.com/slipway-cloud/slipway/internal/ids"
)

// Schedule is a workflow that the engine starts from time to time, unless the last one still runs.
type Schedule struct {
	ID       string
	Of       string // what it does, in words
	Workflow string
	Queue    string
	Every    time.Duration // 0: never
	Patience time.Duration // after which the engine ends one
}

// scheduleTimeout bounds the look at a schedule when a worker starts.
const scheduleTimeout = 30 * time.Second

// KeepSchedules ensures them, and asks again every minute while the engine does not take one. It returns when it has taken
// all, or when ctx ends.
func KeepSchedules(ctx context.Context, temporalClient client.Client, schedules []Schedule, log *slog.Logger) {
	for {
		var refused []Schedule
		for _, s := range schedules {
			if err := s.Ensure(ctx, temporalClient, log); err != nil {
				refused = append(refused, s)
				log.Error("A schedule is not set up; asking again.", "schedule", s.ID, "error", err)
			}
		}
		if schedules = refused; len(schedules) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
	}
}

// Ensure sees to it that the engine has the schedule as it is here, and none where Every is 0. Any number of workers may do
// it at once; the last one's setting holds.
func (s Schedule) Ensure(ctx context.Context, temporalClient client.Client, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, scheduleTimeout)
	defer cancel()
	handle := temporalClient.ScheduleClient().GetHandle(ctx, s.ID)
	if s.Every <= 0 {
		err := handle.Delete(ctx)
		var absent *serviceerror.NotFound
		if err != nil && !errors.As(err, &absent) {
			return fmt.Errorf("removing the schedule %s: %w", s.ID, err)
		}
		return nil
	}
	spec := client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: s.Every}}}
	action := &client.ScheduleWorkflowAction{
		ID: ids.Tick(s.ID), Workflow: s.Workflow, TaskQueue: s.Queue,
		WorkflowExecutionTimeout: s.Patience, StaticSummary: "scheduled " + s.Of,
	}
	_, err := temporalClient.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: s.ID, Spec: spec, Action: action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		// What was missed while the engine was away is not made up for.
		CatchupWindow: time.Minute,
	})
	if err == nil {
		log.Info("A schedule is set up.", "schedule", s.ID, "every", s.Every)
		return nil
	}
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return fmt.Errorf("setting up the schedule %s: %w", s.ID, err)
	}
	known, err := handle.Describe(ctx)
	if err != nil {
		return fmt.Errorf("reading the schedule %s: %w", s.ID, err)
	}
	if s.is(known.Schedule) {
		return nil
	}
	err = handle.Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		in.Description.Schedule.Spec = &spec
		in.Description.Schedule.Action = action
		return &client.ScheduleUpdate{Schedule: &in.Description.Schedule}, nil
	}})
	if err != nil {
		return fmt.Errorf("changing the schedule %s: %w", s.ID, err)
	}
	log.Info("A schedule is changed.", "schedule", s.ID, "every", s.Every)
	return nil
}

// is says whether the engine's schedule is this one already.
func (s Schedule) is(known client.Schedule) bool {
	action, ok := known.Action.(*client.ScheduleWorkflowAction)
	return ok && action.Workflow == s.Workflow && action.TaskQueue == s.Queue && action.WorkflowExecutionTimeout == s.Patience &&
		known.Spec != nil && len(known.Spec.Intervals) == 1 && known.Spec.Intervals[0].Every == s.Every
}
