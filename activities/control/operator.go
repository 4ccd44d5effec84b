package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// RecordOperatorAct keeps what an operator is about to do with undos that wait. It gives nothing back: what was asked for is
// history, whatever comes of it.
func (a *Activities) RecordOperatorAct(ctx context.Context, in contract.OperatorActRecord) error {
	at := in.At
	if at.IsZero() {
		at = a.now()
	}
	return a.store.RecordOperatorAct(ctx, models.OperatorAct{
		At: at, Act: in.Act, Undo: in.Undo, Reason: in.Reason, UserID: in.UserID, ProjectID: in.ProjectID,
		RequestID: in.RequestID, WorkflowID: in.WorkflowID, ServerID: in.ServerID,
	})
}
