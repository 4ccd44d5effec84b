package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
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
	return inTheirOwnersNames(servers, "reclaim", func(s models.Server, requestID string) error {
		return a.builds.Reclaim(ctx, contract.DeleteInput{
			ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: requestID, Reclaims: true, Deadlines: a.deadlines,
		})
	})
}
