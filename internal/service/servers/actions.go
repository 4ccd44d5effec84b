package servers

import (
	"context"
	"fmt"
	"time"

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
	a.Events = models.ActionEvents(steps, "", time.Time{})
	return a, nil
}
