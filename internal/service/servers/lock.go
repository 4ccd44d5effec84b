package servers

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Lock keeps all but admins from changing and deleting a server. The reason is shown to whoever sees it; "" leaves the one that
// there is. A server of the caller's project that is locked stays as it is.
func (s Servers) Lock(ctx context.Context, v models.Server, action lifecycle.Action, reason string) error {
	by := s.asLocker(v)
	if v.LockedBy != nil && by == models.LockedByOwner {
		return nil
	}
	return s.store.ReviseServer(ctx, s.done(v, action), func(v *models.Server) error {
		v.LockedBy = &by
		if reason != "" {
			v.LockedReason = &reason
		}
		return nil
	})
}

// Unlock takes a lock off. What an admin of another project has locked, an admin unlocks.
func (s Servers) Unlock(ctx context.Context, v models.Server, action lifecycle.Action) error {
	by := s.asLocker(v)
	return s.store.ReviseServer(ctx, s.done(v, action), func(v *models.Server) error {
		if v.LockedBy != nil && *v.LockedBy != by && !s.caller.Admin() {
			return fault.New(fault.Forbidden, "Policy doesn't allow %s:unlock_override to be performed.", action.Policy)
		}
		v.LockedBy, v.LockedReason = nil, nil
		return nil
	})
}

// asLocker is as whom the caller locks a server.
func (s Servers) asLocker(v models.Server) string {
	if v.ProjectID == s.caller.ProjectID {
		return models.LockedByOwner
	}
	return models.LockedByAdmin
}

// done is the record of an action that is one write, with Nova's event of it (wrap_instance_event).
func (s Servers) done(v models.Server, action lifecycle.Action) models.InstanceAction {
	now, a := time.Now(), s.asks(v)
	a.Action, a.StartedAt, a.UpdatedAt = action.Method, now, now
	a.Events = []models.InstanceActionEvent{{
		ServerID: v.ID, RequestID: a.RequestID, Event: "api_" + action.Method, StartedAt: now, EndedAt: &now, Result: new("Success"),
	}}
	return a
}

// asks is who changes a server, where Nova records no action.
func (s Servers) asks(v models.Server) models.InstanceAction {
	return models.InstanceAction{ServerID: v.ID, RequestID: s.caller.RequestID, UserID: s.caller.UserID, ProjectID: s.caller.ProjectID}
}
