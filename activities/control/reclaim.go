package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// ReclaimDeleted begins the delete of servers whose delete was deferred, when their time is over. One on which something is begun
// meanwhile is left to the next turn: it may be restored.
func (a *Activities) ReclaimDeleted(ctx context.Context, _ contract.Housekeeping) error {
	if a.reclaimAfter <= 0 {
		return nil
	}
	servers, err := a.store.Reclaimable(ctx, a.now().Add(-a.reclaimAfter))
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range servers {
		// In its owner's name: nobody else has asked.
		err := a.builds.Reclaim(ctx, contract.DeleteInput{
			ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: "req-" + uuid.NewString(), Reclaims: true, Deadlines: a.deadlines,
		})
		if err != nil && !fault.Is(err, fault.Conflict) {
			errs = append(errs, fmt.Errorf("reclaim server %s: %w", s.ID, err))
		}
	}
	return errors.Join(errs...)
}
