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
// Where that is asked for it grows the root filesystem to its disk, and answers what keeps the image from it.
func (a *Activities) BuildDisk(ctx context.Context, in contract.BuildDiskInput) (grown contract.InjectedData, err error) {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return grown, err
	}
	defer leave()
	return a.buildDisk(ctx, dir, in)
}

func (a *Activities) buildDisk(ctx context.Context, dir string, in contract.BuildDiskInput) (grown contract.InjectedData, err error) {
	// From here until the overlay names the image as its backing file, the pin keeps it.
	defer a.o.Cache.Pin(in.Image.SHA512)()
	if _, _, err := a.o.Cache.Fetch(ctx, in.Image, nil); err != nil { // a look, unless it was evicted or the host restarted since FetchImage
		return grown, err
	}
	base, err := a.o.Cache.Inspect(in.Image)
	if err != nil {
		return grown, err
	}
	if grown, err = a.rootDisk(ctx, dir, base, in); err != nil {
		return grown, err
	}
	return grown, a.furtherDisks(ctx, dir, in, func(number int, d contract.BlockDevice) error {
		return a.newEphemeral(ctx, dir, number, d, in.Image)
	})
}

// rootDisk makes the root disk, grown where that is asked for. A growth that has not ended, in this process or in one that was
// killed, costs the disk: it is made anew, as the image has it.
func (a *Activities) rootDisk(ctx context.Context, dir string, base disk.Base, in contract.BuildDiskInput) (grown contract.InjectedData, err error) {
	whole := func() error {
		if torn, err := guestfs.Torn(dir); err != nil {
			return program.Fault(err, "looking at the disk in "+dir)
		} else if torn {
			if err := disk.Remove(dir); err != nil {
				return err
			}
			if err := guestfs.Remove(dir); err != nil {
				return program.Fault(err, "cleaning up in "+dir)
			}
		}
		return a.disks.Root(ctx, dir, base, int64(in.RootGiB)*gib, a.o.FullCopy || in.Whole)
	}
	if err := whole(); err != nil || !in.Grow || int64(in.RootGiB)*gib <= base.VirtualBytes {
		return grown, err
	}
	note := "the root filesystem was not grown: this host looks into no images"
	if a.o.CannotInject == nil {
		if note, err = guestfs.Grow(ctx, a.o.Limits, dir); err != nil || note == "" {
			return grown, err
		}
	}
	a.o.Logger.WarnContext(ctx, "the image did not take everything", "server_id", in.ServerID, "note", note)
	return contract.InjectedData{Notes: []string{forUsers(note, dir)}}, whole()
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
	// The last undo of every guest: a port whose own undo an operator has given up goes too.
	if err := a.unplugAll(ctx, in.ServerID); err != nil {
		return err
	}
	if err := guestfs.Remove(dir); err != nil {
		return program.Fault(err, "cleaning up the injection of server "+in.ServerID)
	}
	if err := disk.Remove(dir); err != nil {
		return err
	}
	if err := a.o.Offers.End(dir, in.ServerID); err != nil {
		return err
	}
	for _, name := range []string{nextName, placingName, previousName, movingName, resizedName, resizedName + part, rescueName, snapshotName} {
		if err := a.drop(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return tidy(dir)
}
