package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/program"
)

// OfferDisks lets one other host fetch the disks of a guest, which is off. Again it is another offer of the same, with a credential of
// its own. What a guest has besides, swap and config drive too, follows from the server's facts, and is made anew where it arrives.
func (a *Activities) OfferDisks(ctx context.Context, in contract.OfferDisksInput) (out contract.DiskOffer, err error) {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return out, err
	}
	defer leave()
	if in.MoveID == "" || !filepath.IsLocal(in.MoveID) || filepath.Base(in.MoveID) != in.MoveID {
		return out, fault.New(fault.Invalid, "%q is no id of a move.", in.MoveID)
	}
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil {
		return out, err
	}
	if state == hypervisor.Running || state == hypervisor.Paused {
		return out, fault.New(fault.Conflict, "The guest of instance %s runs, and its disks can be moved only while it is off.", in.ServerID)
	}
	backing, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
	if errors.Is(err, fs.ErrNotExist) {
		return out, fault.New(fault.Conflict, "Host %s has no disk of instance %s.", a.o.Hostname, in.ServerID)
	}
	if err != nil {
		return out, program.Fault(err, "reading what the root disk of server "+in.ServerID+" leans on")
	}
	root := transfer.Disk{Name: disk.RootName, Path: disk.RootName, Backed: backing != ""}
	if in.Whole && root.Backed {
		if root.Path, err = a.copyWhole(ctx, dir, backing, in); err != nil {
			return out, err
		}
		root.Backed = false
	}
	disks := []transfer.Disk{root}
	for n := 0; isThere(filepath.Join(dir, disk.EphemeralName(n))); n++ {
		disks = append(disks, transfer.Disk{Name: disk.EphemeralName(n), Path: disk.EphemeralName(n)})
	}
	return a.o.Offers.Make(ctx, dir, in, disks)
}

// copyWhole makes a root disk that leans on nothing, for one move. It answers where that is in the server's folder.
func (a *Activities) copyWhole(ctx context.Context, dir, backing string, in contract.OfferDisksInput) (string, error) {
	facts, err := a.facts(dir, in.ServerID)
	if err != nil {
		return "", err
	}
	// The disk's header may have been written by a guest that broke out of QEMU.
	if image, err := a.o.Cache.Path(facts.Spec.Image.Root.SHA512); err != nil || image != backing {
		return "", fault.New(fault.Conflict, "The root disk of instance %s leans on another file than its image.", in.ServerID)
	}
	beat := startHeart(ctx, contract.TransferProgress{})
	defer beat.stop()
	folder, path := filepath.Join(dir, transfer.Folder), filepath.Join(transfer.Folder, in.MoveID)
	if !isThere(filepath.Join(dir, path)) { // or one of a move before this may be
		if err := a.o.Offers.End(dir, in.ServerID); err != nil {
			return "", err
		}
	}
	if err := os.Mkdir(folder, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", program.Fault(err, "making "+folder)
	}
	return path, a.disks.Snapshot(ctx, filepath.Join(dir, path), filepath.Join(dir, disk.RootName), nil)
}

// WithdrawDisks ends an offer whose disks are not to be moved.
func (a *Activities) WithdrawDisks(ctx context.Context, in contract.Undo) error {
	return a.endOffer(ctx, in.ServerID)
}

// EndOffer ends an offer whose disks have arrived.
func (a *Activities) EndOffer(ctx context.Context, in contract.EndOfferInput) error {
	return a.endOffer(ctx, in.ServerID)
}

func (a *Activities) endOffer(ctx context.Context, serverID string) error {
	dir, leave, err := a.enter(ctx, serverID)
	if err != nil {
		return err
	}
	defer leave()
	return a.o.Offers.End(dir, serverID)
}
