package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// ResolveImage pins the image, with the kernel and ramdisk that its properties name, for the rest of the build. It takes
// nothing that would be given back: an image keeps the EC2 number that its first build gives it.
func (a *Activities) ResolveImage(ctx context.Context, in contract.ResolveImageInput) (contract.ResolvedImage, error) {
	resolved, err := images.Resolve(ctx, a.store, in)
	if err != nil {
		return contract.ResolvedImage{}, err
	}
	for _, image := range []*contract.Image{&resolved.Root, resolved.Kernel, resolved.Ramdisk} {
		if image == nil {
			continue
		}
		if err := a.number(ctx, image); err != nil {
			return contract.ResolvedImage{}, err
		}
	}
	for _, p := range imageprops.IgnoredOf(resolved.Root.Properties) {
		a.log.InfoContext(ctx, "an image property is not obeyed", "server_id", in.ServerID, "image_id", resolved.Root.ID, "property", p.Name, "reason", p.Why)
	}
	for _, p := range imageprops.IgnoredSpecsOf(in.Flavor.ExtraSpecs) {
		a.log.InfoContext(ctx, "an extra spec is not obeyed", "server_id", in.ServerID, "flavor_id", in.Flavor.ID, "extra_spec", p.Name, "reason", p.Why)
	}
	return resolved, nil
}

// number gives an image the id that EC2's metadata calls it by.
func (a *Activities) number(ctx context.Context, image *contract.Image) error {
	number, err := a.store.EC2ImageID(ctx, image.ID)
	if err != nil {
		return err
	}
	image.EC2ID = ids.EC2Image(ids.EC2ImageKind(image.ContainerFormat), number)
	return nil
}

// pinned is an active image as a build keeps it.
func (a *Activities) pinned(ctx context.Context, image models.Image) (contract.Image, error) {
	pinned, err := images.Pinned(image)
	if err == nil {
		err = a.number(ctx, &pinned)
	}
	return pinned, err
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
