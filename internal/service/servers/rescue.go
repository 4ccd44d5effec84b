package servers

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Rescue has another guest boot in a server's place: of an image, "" is the server's own. It answers that guest's admin password
// (nil: one is made up).
func (s Servers) Rescue(ctx context.Context, v models.Server, action lifecycle.Action, imageID string, password *string) (string, error) {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return "", err
	}
	if imageID != "" {
		image, err := s.store.Image(ctx, imageID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return "", err
		}
		if _, err := imageprops.RescueBy(image.Properties); err != nil {
			return "", err
		}
	}
	to := contract.Rebuild{
		ImageID: imageID, Roles: s.caller.Roles, Seed: newSeed(), Inject: s.config.Inject, AdminPass: newPassword(),
		TrustedCertificates: v.TrustedCertificates,
		// The rescue disk is as large as its image: the flavor's disk need not hold it.
		Flavor: contract.Flavor{Name: v.Flavor.Name, VCPUs: v.Flavor.VCPUs, RAMMiB: v.Flavor.RAMMiB, ExtraSpecs: v.Flavor.ExtraSpecs},
	}
	if password != nil {
		to.AdminPass = *password
	}
	return to.AdminPass, s.Act(ctx, v, action, contract.ActionArguments{Rescue: &to})
}
