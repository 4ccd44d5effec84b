package host

import (
	"context"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/program"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// BuildDisk makes the root disk on the cached image, and the ephemeral and swap disks that were asked for or that the flavor has.
func (a *Activities) BuildDisk(ctx context.Context, in contract.BuildDiskInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.buildDisk(ctx, dir, in)
}

func (a *Activities) buildDisk(ctx context.Context, dir string, in contract.BuildDiskInput) error {
	// From here until the overlay names the image as its backing file, the pin keeps it.
	defer a.o.Cache.Pin(in.Image.SHA512)()
	if _, _, err := a.o.Cache.Fetch(ctx, in.Image, nil); err != nil { // a look, unless it was evicted or the host restarted since FetchImage
		return err
	}
	base, err := a.o.Cache.Inspect(in.Image)
	if err != nil {
		return err
	}
	if err := a.disks.Root(ctx, dir, base, int64(in.RootGiB)*gib, a.o.FullCopy); err != nil {
		return err
	}
	ephemerals := 0
	for _, d := range contract.BlockDevices(in.BlockDevices, contract.Flavor{EphemeralGiB: in.EphemeralGiB, SwapMiB: in.SwapMiB}) {
		switch d.Role {
		case contract.EphemeralDisk:
			err = a.newEphemeral(ctx, dir, ephemerals, d, in.Image)
			ephemerals++
		case contract.SwapDisk:
			err = a.disks.Swap(ctx, dir, int64(d.MiB)*mib)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Activities) newEphemeral(ctx context.Context, dir string, number int, d contract.BlockDevice, image contract.Image) error {
	kind := disk.Filesystem(d.Format)
	if kind == "" {
		hardware, err := imageprops.Parse(image.Properties, nil)
		if err != nil {
			return err
		}
		kind = disk.EphemeralFilesystem(hardware.OSType)
	}
	return a.disks.Ephemeral(ctx, dir, number, int64(d.MiB)*mib, kind)
}

// RemoveDisk removes the server's disks, those of a rebuild and of a resize too, and what a killed injection into them left.
func (a *Activities) RemoveDisk(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := guestfs.Remove(dir); err != nil {
		return program.Fault(err, "cleaning up the injection of server "+in.ServerID)
	}
	if err := disk.Remove(dir); err != nil {
		return err
	}
	for _, name := range []string{nextName, previousName, movingName, resizedName, resizedName + part, rescueName, snapshotName} {
		if err := a.drop(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return tidy(dir)
}
