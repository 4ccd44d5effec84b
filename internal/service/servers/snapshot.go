package servers

import (
	"context"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// CreateImage has an image made of a server, and answers its id. Its row is there then.
func (s Servers) CreateImage(ctx context.Context, v models.Server, action lifecycle.Action, image contract.Snapshot) (string, error) {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return "", err
	}
	if image.AtRest { // no lock keeps an image from being made, but one keeps its server as it is
		if err := v.MayChange(s.caller.Admin()); err != nil {
			return "", err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(image.Metadata)) {
		if slices.Contains(imagepolicy.Attributes, name) {
			return "", invalid("The metadata '%s' is no property of an image, but an attribute of its own.", name)
		}
		if err := imagepolicy.MayName(name); err != nil {
			return "", err
		}
	}
	image.ImageID, image.ProjectID, image.Roles = uuid.NewString(), s.caller.ProjectID, s.caller.Roles
	return image.ImageID, s.Act(ctx, v, action, contract.ActionArguments{Snapshot: &image})
}
