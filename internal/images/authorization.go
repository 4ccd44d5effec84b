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
	if image.Visibility == imagepolicy.Shared && image.OwnerID != a.caller.ProjectID && a.caller.ProjectID != "" {
		as, err := a.rows.ImageMembers(ctx, id, a.caller.ProjectID)
		if err != nil {
			return image, err
		}
		if len(as) == 1 {
			image.AskerIs = as[0].Status
		}
	}
	if !imagepolicy.Visible(a.caller, Target(image)) {
		return models.Image{}, fault.New(fault.NotFound, "No image found with ID %s", id)
	}
	return image, nil
}

func (a *authorization) List(ctx context.Context, f models.ImageFilter) ([]models.Image, error) {
	f.ProjectID, f.Admin = a.caller.ProjectID, auth.Has(a.caller.Roles, auth.RoleAdmin)
	return a.Repository.List(ctx, f)
}
