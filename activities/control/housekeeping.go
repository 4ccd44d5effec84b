package control

import (
	"context"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/service/images"
)

// SettleImages ends uploads and deletes of images whose process died, as far as rows tell.
func (a *Activities) SettleImages(ctx context.Context, _ contract.Housekeeping) error {
	return a.settle(a.images.SettleRows(ctx))
}

// SettleStores compares all that lies in the image stores with the rows: removes what is no image's, and sets aside what no row knows.
func (a *Activities) SettleStores(ctx context.Context, _ contract.Housekeeping) error {
	return a.settle(a.images.Settle(ctx))
}

// settle logs what was found, also of a look that did not come to its end.
func (a *Activities) settle(done images.Settled, err error) error {
	if done != (images.Settled{}) {
		a.log.Info("image stores are settled", "requeued", done.Requeued, "removed", done.Removed, "deleted", done.Deleted,
			"located", done.Located, "swept", done.Swept, "set_aside", done.SetAside, "returned", done.Returned)
	}
	return err
}

// PurgeTokens deletes tokens that have expired.
func (a *Activities) PurgeTokens(ctx context.Context, _ contract.Housekeeping) error {
	if _, err := a.store.PurgeTokens(ctx, a.now()); err != nil {
		return fmt.Errorf("purge expired tokens: %w", err)
	}
	return nil
}

// PurgeImageTasks forgets tasks of images that have expired.
func (a *Activities) PurgeImageTasks(ctx context.Context, _ contract.Housekeeping) error {
	if _, err := a.store.PurgeImageTasks(ctx); err != nil {
		return fmt.Errorf("purge expired tasks of images: %w", err)
	}
	return nil
}
