package control

import (
	"cmp"
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/internal/service/facts"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// PlanRebuild says what the server is and what it becomes, and lets its host have the new images beside the old ones. Conflict
// where nothing is known of its build, or the image takes more room than the server has.
func (a *Activities) PlanRebuild(ctx context.Context, in contract.PlanRebuildInput) (contract.RebuildPlan, error) {
	v, err := a.store.Server(ctx, in.ServerID)
	if err != nil {
		return contract.RebuildPlan{}, err
	}
	old, err := a.factsOf(ctx, v)
	if err != nil {
		return contract.RebuildPlan{}, err
	}
	// The disks that were asked for stay what they were, as the new image's machine calls them.
	if asked := old.Spec.Image.BlockDevices; len(asked) > 0 && !in.Beside {
		hardware, err := imageprops.Parse(in.Image.Root.Properties, old.Spec.Flavor.ExtraSpecs)
		if err != nil {
			return contract.RebuildPlan{}, err
		}
		if in.Image.BlockDevices, err = images.Disks(asked, in.Image.Root, hardware); err != nil {
			return contract.RebuildPlan{}, err
		}
		in.Image.RootDevice = in.Image.BlockDevices[0].Path
	}
	if in.Beside {
		if in.Image.Root.ID == "" {
			in.Image = old.Spec.Image
		}
		in.Image.BlockDevices = nil
	}
	plan := contract.RebuildPlan{Old: old, New: rebuilt(old, in)}
	if v.Host != nil {
		plan.Zone = v.Host.AvailabilityZone
	}
	if in.Beside {
		f := &plan.New.Spec.Flavor
		f.DiskGiB, f.EphemeralGiB, f.SwapMiB = 0, 0, 0
		rescue, err := imageprops.RescueBy(in.Image.Root.Properties)
		if err != nil {
			return plan, err
		}
		if rescue.Stable { // it sees the server's own, as all its devices
			plan.New.Server.ConfigDrive = false
		}
	} else if needs := old.Spec.Flavor.Takes(in.Image.Root).DiskGiB; needs > old.Resources.DiskGiB {
		return plan, fault.New(fault.Conflict, "The disks of instance %s would take %d GiB with this image, and it has %d GiB on its host.",
			in.ServerID, needs, old.Resources.DiskGiB)
	}
	needed := slices.Concat(partsOf(old.Spec.Image), []string{in.Image.Root.ID}, partsOf(in.Image))
	return plan, a.needs(ctx, a.taking(ctx, contract.PlanRebuild, 0, ""), in.ServerID, func(contract.ServerSpec) []string { return needed })
}

// ForgetRebuild leaves the host the images that the server is built of.
func (a *Activities) ForgetRebuild(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.PlanRebuild, 0, ""); err != nil {
		return err
	}
	return a.needsItsOwn(ctx, in.ServerID)
}

// ForgetRescueImages leaves the host of a server that is rescued no more the images that it is built of.
func (a *Activities) ForgetRescueImages(ctx context.Context, in contract.ForgetRescueImagesInput) error {
	return a.needsItsOwn(ctx, in.ServerID)
}

// needsItsOwn has a server need no images but those that it is built of.
func (a *Activities) needsItsOwn(ctx context.Context, serverID string) error {
	return a.needs(ctx, a.store, serverID, func(spec contract.ServerSpec) []string { return partsOf(spec.Image) })
}

// needs writes which images a server needs on its host beside its own.
func (a *Activities) needs(ctx context.Context, store *models.Store, serverID string, parts func(contract.ServerSpec) []string) error {
	return store.ReviseServerSpec(ctx, serverID, func(kept models.ServerSpec) (models.ServerSpec, error) {
		spec, err := a.openSpec(kept)
		kept.Parts = parts(spec)
		return kept, err
	})
}

// rebuilt is what a server becomes.
func rebuilt(old contract.ServerFacts, in contract.PlanRebuildInput) contract.ServerFacts {
	to, now := in.Rebuild, old
	now.Server = now.Server.Of(in.Image)
	now.Spec.Image, now.Server.ImageID = in.Image, in.Image.Root.ID
	now.Server.TrustedCertificates = to.TrustedCertificates
	replace(&now.Server.AccessIPv4, to.AccessIPv4)
	replace(&now.Server.AccessIPv6, to.AccessIPv6)
	if auto := cmp.Or(to.AutoDiskConfig, in.Image.AutoDiskConfig); auto != nil {
		now.Server.AutoDiskConfig = auto
	}
	replace(&now.Server.Name, to.Name)
	replace(&now.Server.Hostname, to.Hostname)
	replace(&now.Server.Description, to.Description)
	replace(&now.Server.Metadata, to.Metadata)
	replace(&now.Spec.UserData, to.UserData)
	if to.KeyPairs != nil {
		now.Spec.KeyPairs, now.KeyName = *to.KeyPairs, ""
		if len(now.Spec.KeyPairs) > 0 {
			now.KeyName = now.Spec.KeyPairs[0].Name
		}
	}
	now.Spec.Files, now.Spec.AdminPass, now.Spec.Seed = to.Files, to.AdminPass, to.Seed
	return now
}

func replace[T any](what *T, with *T) {
	if with != nil {
		*what = *with
	}
}

// factsOf are the facts of a server as the database has them; Conflict where it was built before they were kept.
func (a *Activities) factsOf(ctx context.Context, v models.Server) (contract.ServerFacts, error) {
	kept, err := a.store.ServerSpecs(ctx, v.ID)
	if err != nil {
		return contract.ServerFacts{}, err
	}
	now, err := facts.Of(v, kept, a.keys, a.vif)
	if err != nil {
		return now, err
	}
	held, err := a.store.Placements(ctx, v.ID)
	for _, room := range held {
		if room.Role == models.PlacementActive || room.Role == models.PlacementResize && v.VMState == lifecycle.Resized {
			now.Resources = contract.Resources{VCPUs: room.VCPUs, RAMMiB: room.MemoryMiB, DiskGiB: room.DiskGiB}
		}
	}
	return now, err
}

// RecordRebuild makes the server's row and spec those of the guest that runs by now. What somebody has changed meanwhile stays.
func (a *Activities) RecordRebuild(ctx context.Context, in contract.RecordRebuildInput) error {
	return a.record(ctx, a.taking(ctx, contract.RecordRebuild, 0, ""), in, lifecycle.Rebuilding)
}

// UnrecordRebuild makes them those of the guest that runs again.
func (a *Activities) UnrecordRebuild(ctx context.Context, in contract.RecordRebuildInput) error {
	if err := a.giveBack(ctx, "", contract.RecordRebuild, 0, ""); err != nil {
		return err
	}
	return a.record(ctx, a.store, in, lifecycle.Rebuilding)
}

func (a *Activities) record(ctx context.Context, store *models.Store, in contract.RecordRebuildInput, tasks ...string) error {
	sealed, err := serverspec.Spec.Seal(a.keys, in.ServerID, in.New.Spec)
	if err != nil {
		return err
	}
	row := func(f contract.ServerFacts) models.Server {
		return serverOf(contract.RecordServerInput{Server: f.Server, KeyName: f.KeyName})
	}
	return store.RebuildServer(ctx, in.RequestID, tasks, models.Rebuild{
		Was: row(in.Old), Is: row(in.New),
		Spec: models.ServerSpec{KeyID: sealed.KeyID, Sealed: sealed.Bytes, Parts: partsOf(in.New.Spec.Image)},
	})
}
