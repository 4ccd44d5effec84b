package servers

import (
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// stableRescue are the properties of an image by which Nova attaches the rescue disk behind all others.
var stableRescue = []string{"hw_rescue_device", "hw_rescue_bus"}

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
		if slices.ContainsFunc(stableRescue, func(name string) bool { return image.Properties[name] != "" }) {
			return "", invalid("Requested rescue image '%s' is not supported: it asks for a stable device rescue (hw_rescue_device, hw_rescue_bus), "+
				"which is not offered. Use an image without them: its disk is the first then, and the server's root disk the second.", imageID)
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
