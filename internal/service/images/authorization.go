package images

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// authorization decides which images there are for the caller (Glance's ImageRepoProxy in api/authorization.py): another
// project's private image is as one that never was.
type authorization struct {
	Repository
	caller imagepolicy.Caller
	rows   *models.Store
}

func (a *authorization) Get(ctx context.Context, id string) (models.Image, error) {
	image, err := a.Repository.Get(ctx, id)
	if err != nil {
		return image, err
	}
	seen, err := See(ctx, a.rows, a.caller, &image)
	if err != nil {
		return image, err
	}
	if !seen {
		return models.Image{}, fault.New(fault.NotFound, "No image found with ID %s", id)
	}
	return image, nil
}

// See says whether there is an image for a caller, and notes on it what the caller's project is to it.
func See(ctx context.Context, rows *models.Store, caller imagepolicy.Caller, image *models.Image) (bool, error) {
	if image.Visibility == imagepolicy.Shared && image.OwnerID != caller.ProjectID && caller.ProjectID != "" {
		as, err := rows.ImageMembers(ctx, image.ID, caller.ProjectID)
		if err != nil {
			return false, err
		}
		if len(as) == 1 {
			image.AskerIs = as[0].Status
		}
	}
	return imagepolicy.Visible(caller, Target(*image)), nil
}

func (a *authorization) List(ctx context.Context, f models.ImageFilter) ([]models.Image, error) {
	f.ProjectID, f.Admin = a.caller.ProjectID, auth.Has(a.caller.Roles, auth.RoleAdmin)
	return a.Repository.List(ctx, f)
}
