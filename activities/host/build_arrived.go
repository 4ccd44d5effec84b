package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/program"
)

// placingName is the folder, within a server's, of disks that have arrived and are grown, while they are put in place: what lies in the
// server's own beside it are some of them.
const placingName = nextName + part

// BuildArrived makes a guest's disks of those that have arrived from another host: they grow where the flavor has more, swap is made
// anew, and so is what the guest did not have.
func (a *Activities) BuildArrived(ctx context.Context, in contract.BuildArrivedInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	arrived, placing := filepath.Join(dir, nextName), filepath.Join(dir, placingName)
	if isThere(arrived) {
		if err := a.growDisks(ctx, arrived, in.Disk); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(arrived, placing), durable.SyncDir(dir)); err != nil {
			return program.Fault(err, "putting the disks of server "+in.ServerID+" in place")
		}
	}
	if isThere(placing) {
		if err := errors.Join(moveGuest(placing, dir), os.Remove(placing), durable.SyncDir(dir)); err != nil {
			return program.Fault(err, "putting the disks of server "+in.ServerID+" in place")
		}
	}
	if !isThere(filepath.Join(dir, disk.RootName)) {
		return fault.New(fault.Internal, "no disk of server %s has arrived", in.ServerID)
	}
	return nil
}

// growDisks gives disks the sizes that they are to have, where they lie. Again is success.
func (a *Activities) growDisks(ctx context.Context, dir string, in contract.BuildDiskInput) error {
	base, err := a.leansOn(filepath.Join(dir, disk.RootName), in.Image)
	if err != nil {
		return err
	}
	if err := a.disks.GrowRoot(ctx, dir, base, int64(in.RootGiB)*gib); err != nil {
		return err
	}
	return a.furtherDisks(ctx, dir, in, func(number int, d contract.BlockDevice) error {
		if isThere(filepath.Join(dir, disk.EphemeralName(number))) {
			return a.disks.GrowEphemeral(dir, number, int64(d.MiB)*mib)
		}
		return a.newEphemeral(ctx, dir, number, d, in.Image)
	})
}
