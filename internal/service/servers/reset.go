package servers

import (
	"context"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// ResetState makes a server active or failed, for operators. It is certain then, and not yet done: what is being done to the server
// gives back first what it took. A delete that goes on cannot be ended by it.
func (s Servers) ResetState(ctx context.Context, v models.Server, action lifecycle.Action, state lifecycle.VMState) error {
	switch {
	case v.Task() == lifecycle.Deleting:
		return v.Refuses(action.Method, "task_state", v.Task())
	case state == lifecycle.Active && (v.LaunchedAt == nil || v.HostID == nil):
		return fault.New(fault.Conflict, "Instance %s has no guest, and cannot become active.", v.ID)
	}
	err := s.engine.Reset(ctx, contract.ResetInput{
		ServerID: v.ID, ProjectID: v.ProjectID, UserID: s.caller.UserID, RequestID: s.caller.RequestID, VMState: string(state),
		Deadlines: s.config.Deadlines,
	})
	if err != nil {
		return fmt.Errorf("reset the state of server %s: %w", v.ID, err)
	}
	return nil
}
