package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/program"
)

// resizedName is the folder, within a server's, of the guest that a resize has made, when all of it is there: while the old one is put
// back in its place.
const resizedName = "resized"

// BuildResized makes the disks of a guest by another flavor, of copies of those of the guest that there is, which is off, in a folder
// of their own. Swap, and what the guest did not have, is made anew, and so is the config drive. What an earlier resize has left is
// removed: an operator has given it up.
func (a *Activities) BuildResized(ctx context.Context, in contract.BuildResizedInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	next := filepath.Join(dir, nextName)
	for _, name := range []string{previousName, resizedName, nextName} {
		if err := a.drop(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(next, 0o711); err != nil {
		return program.Fault(err, "making "+next)
	}
	if err := a.copyDisks(ctx, dir, next, in.Disk); err != nil {
		return err
	}
	if in.ConfigDrive != nil {
		return a.buildConfigDrive(ctx, next, *in.ConfigDrive)
	}
	return nil
}

func (a *Activities) copyDisks(ctx context.Context, dir, next string, in contract.BuildDiskInput) error {
	root := filepath.Join(dir, disk.RootName)
	base, err := a.leansOn(root, in.Image)
	if err != nil {
		return err
	}
	if err := a.disks.GrownRoot(ctx, next, root, base, int64(in.RootGiB)*gib); err != nil {
		return err
	}
	return a.furtherDisks(ctx, next, in, func(number int, d contract.BlockDevice) error {
		if from := filepath.Join(dir, disk.EphemeralName(number)); isThere(from) {
			return a.disks.GrownEphemeral(ctx, next, number, from, int64(d.MiB)*mib)
		}
		return a.newEphemeral(ctx, next, number, d, in.Image)
	})
}

// furtherDisks makes those beside the root disk in a folder: swap, and by what makes one of a number the ephemeral ones.
func (a *Activities) furtherDisks(ctx context.Context, dir string, in contract.BuildDiskInput, ephemeral func(number int, d contract.BlockDevice) error) (err error) {
	ephemerals := 0
	for _, d := range contract.BlockDevices(in.BlockDevices, contract.Flavor{EphemeralGiB: in.EphemeralGiB, SwapMiB: in.SwapMiB}) {
		switch d.Role {
		case contract.EphemeralDisk:
			err = ephemeral(ephemerals, d)
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

// leansOn is the cached image that a root disk has to lean on; none where it leans on nothing.
func (a *Activities) leansOn(root string, image contract.Image) (base disk.Base, err error) {
	file, _, err := disk.Backing(root)
	if err != nil {
		return base, program.Fault(err, "reading what the disk "+root+" leans on")
	}
	if file != "" {
		base, err = a.o.Cache.Inspect(image)
	}
	return base, err
}

// RevertGuest puts the guest of before a resize in its place again, off, and keeps the one that the resize has made beside it.
// Conflict where that guest is not there any more.
func (a *Activities) RevertGuest(ctx context.Context, in contract.RevertGuestInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if !isThere(filepath.Join(dir, previousName)) && !isThere(filepath.Join(dir, movingName)) && !isThere(filepath.Join(dir, resizedName)) {
		return fault.New(fault.Conflict, "Host %s does not have the guest any more that instance %s had before it was resized.", a.o.Hostname, in.ServerID)
	}
	return a.swap(ctx, dir, in.ServerID, previousName, resizedName)
}

// UnrevertGuest puts the one that the resize has made back, off.
func (a *Activities) UnrevertGuest(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if !isThere(filepath.Join(dir, resizedName)) && !isThere(filepath.Join(dir, resizedName+part)) { // it was never reverted
		return nil
	}
	return a.swap(ctx, dir, in.ServerID, resizedName, previousName)
}

// swap moves the guest in a server's folder out to one of a name, and the one in another to its place, and defines its domain of the
// facts that lie beside it. A folder of a name has all of a guest, and what lies in the server's own beside one that is named part
// belongs to the same guest; so it goes on where it was cut off, and the other way round it goes back.
func (a *Activities) swap(ctx context.Context, dir, serverID, in, out string) error {
	in, out = filepath.Join(dir, in), filepath.Join(dir, out)
	if err := a.turnOff(ctx, serverID); err != nil {
		return err
	}
	if !isThere(out) && (isThere(in) || isThere(out+part)) {
		err := os.Mkdir(out+part, 0o711)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = errors.Join(moveGuest(dir, out+part), os.Rename(out+part, out), durable.SyncDir(dir))
		}
		if err != nil {
			return program.Fault(err, "setting the guest of server "+serverID+" aside")
		}
	}
	if isThere(in) {
		if err := errors.Join(os.Rename(in, in+part), durable.SyncDir(dir)); err != nil {
			return program.Fault(err, "putting the guest of server "+serverID+" back in place")
		}
	}
	if isThere(in + part) {
		if err := errors.Join(moveGuest(in+part, dir), durable.SyncDir(dir), os.Remove(in+part)); err != nil {
			return program.Fault(err, "putting the guest of server "+serverID+" back in place")
		}
	}
	facts, err := a.facts(dir, serverID)
	if err != nil {
		return err
	}
	return a.define(ctx, dir, facts.Domain())
}
