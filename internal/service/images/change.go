package images

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// attempts is how often a change is worked out again after somebody else's came between.
const attempts = 5

// Change reads an image and does something to it as it was read; again if it is another one by then.
func Change(ctx context.Context, repo Repository, id string, do func(Repository, models.Image) error) error {
	for attempt := 1; ; attempt++ {
		image, err := repo.Get(ctx, id)
		if err != nil {
			return err
		}
		err = do(repo, image)
		if !fault.Is(err, fault.Conflict) || attempt == attempts {
			return err
		}
		now, got := repo.Get(ctx, image.ID)
		if got == nil && now.UpdatedAt.Equal(image.UpdatedAt) {
			return err // it is in conflict with what was asked, not with somebody else's change
		}
	}
}
