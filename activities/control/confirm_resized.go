package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
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
	return a.actInTime(ctx, confirm, servers)
}
