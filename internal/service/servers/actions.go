package servers

import (
	"context"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Actions are what was asked of a server, newest first, without events.
func (s Servers) Actions(ctx context.Context, v models.Server) ([]models.InstanceAction, error) {
	all, err := s.store.Actions(ctx, v.ID)
	if err != nil {
		return nil, fmt.Errorf("list the actions of server %s: %w", v.ID, err)
	}
	return all, nil
}

// Action is what a request asked of a server. With events it tells what was done so far: the row gets its events when the
// action has ended, and until then the running build or delete itself tells.
func (s Servers) Action(ctx context.Context, v models.Server, requestID string, events bool) (models.InstanceAction, error) {
	a, err := s.store.Action(ctx, v.ID, requestID)
	if err != nil {
		return a, fault.Absent(err, fault.NotFound, "Action %s not found", requestID)
	}
	if !events {
		a.Events = nil
		return a, nil
	}
	running := a.Action == "create" && v.VMState == lifecycle.Building ||
		a.Action == "delete" && v.TaskState != nil && *v.TaskState == lifecycle.Deleting
	if len(a.Events) > 0 || v.DeletedAt != nil || !running {
		return a, nil
	}
	steps, err := s.engine.Progress(ctx, v.ID)
	if err != nil { // they are an extra, and the row's own come when the build ends
		if !fault.Is(err, fault.NotFound) {
			s.config.Logger.Warn("no progress of a running build", "server_id", v.ID, "request_id", s.caller.RequestID, "error", err.Error())
		}
		return a, nil
	}
	a.Events = eventsOf(a, steps)
	return a, nil
}

// eventsOf shows the steps that have begun as the events of an action.
func eventsOf(a models.InstanceAction, steps []contract.StepProgress) []models.InstanceActionEvent {
	var events []models.InstanceActionEvent
	for _, p := range steps {
		if p.Started == nil {
			continue
		}
		e := models.InstanceActionEvent{
			ServerID: a.ServerID, RequestID: a.RequestID, Seq: len(events), Event: p.Step, StartedAt: *p.Started, EndedAt: p.Finished,
		}
		if p.Host != "" {
			e.Host = &p.Host
		}
		if p.Finished != nil {
			result := "Success"
			if p.Error != "" || p.State == contract.StepFailed {
				result = "Error"
				e.Details = &p.Error
			}
			e.Result = &result
		}
		events = append(events, e)
	}
	return events
}
