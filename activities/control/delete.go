package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// MarkDeleting shows the user that the server goes, records the action, and says what there is to give back.
func (a *Activities) MarkDeleting(ctx context.Context, in contract.DeleteInput) (contract.Takings, error) {
	now := a.now()
	var only []lifecycle.VMState
	if in.Reclaims {
		only = []lifecycle.VMState{lifecycle.SoftDeleted}
	}
	at, err := a.store.MarkServerDeleting(ctx, in.ServerID, models.InstanceAction{
		ServerID:  in.ServerID,
		RequestID: in.RequestID,
		Action:    "delete",
		UserID:    in.UserID,
		ProjectID: in.ProjectID,
		StartedAt: now,
		UpdatedAt: now,
	}, only...)
	return contract.Takings(at), err
}

// RemoveServer ends a delete. The image of which a shelved server could be built anew goes first, as in Nova.
func (a *Activities) RemoveServer(ctx context.Context, in contract.RemoveServerInput) error {
	now := a.now()
	v, err := a.store.Server(ctx, in.ServerID)
	switch {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return err
	case v.ShelvedImageID != nil:
		if err := a.images.RemoveSnapshot(ctx, shelver(v, v.UserID, in.RequestID), v.ID, *v.ShelvedImageID); err != nil {
			return err
		}
	}
	return a.store.RemoveServer(ctx, in.ServerID, in.RequestID, models.ActionEvents(in.Steps, contract.RemoveServer, now), now)
}
