package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// ConfirmResized begins to confirm resizes that nobody has confirmed or reverted, when their time is over, locked servers' too (Nova's
// _poll_unconfirmed_resizes). One to which something is begun meanwhile is left to the next turn.
func (a *Activities) ConfirmResized(ctx context.Context, _ contract.Housekeeping) error {
	if a.confirmAfter <= 0 {
		return nil
	}
	confirm, err := rowOf("confirmResize")
	if err != nil {
		return err
	}
	servers, err := a.store.Unconfirmed(ctx, a.now().Add(-a.confirmAfter))
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range servers {
		// In its owner's name: nobody else has asked.
		err := a.builds.Do(ctx, confirm.Workflow, contract.ActionInput{
			Action: confirm.Name, ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: "req-" + uuid.NewString(), Name: s.Name,
			Deadlines: a.deadlines, OverLock: true,
		})
		if err != nil && !fault.Is(err, fault.Conflict) {
			errs = append(errs, fmt.Errorf("confirm the resize of server %s: %w", s.ID, err))
		}
	}
	return errors.Join(errs...)
}
