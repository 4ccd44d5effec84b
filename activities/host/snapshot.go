package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Sink takes the bytes of images.
type Sink interface {
	// Put brings an image whole. Again is success. NotFound: nobody wants it any more; Invalid, TooLarge: it is not taken.
	Put(ctx context.Context, imageID string, body io.Reader, size int64) error
}

const (
	snapshotName = "snapshot" // folder of the copy of a root disk, which is named by its image
	frozenName   = "frozen"   // in it: the guest's filesystems may be frozen
)

// TakeSnapshot copies the root disk as it is at one moment, while its guest goes on. A copy that is whole is kept.
func (a *Activities) TakeSnapshot(ctx context.Context, in contract.TakeSnapshotInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	folder, root := filepath.Join(dir, snapshotName), filepath.Join(dir, disk.RootName)
	copied := filepath.Join(folder, in.ImageID)
	if isThere(copied) {
		return nil
	}
	beat := startHeart(ctx, contract.SnapshotProgress{})
	defer beat.stop()
	if err := a.dropSnapshot(ctx, in.ServerID, folder); err != nil {
		return err
	}
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o711); err != nil {
		return program.Fault(err, "making "+folder)
	}
	if state != hypervisor.Running && state != hypervisor.Paused {
		return a.disks.Snapshot(ctx, copied, root, nil)
	}
	quiet, err := a.quiescence(dir, in.ServerID, state)
	if err != nil {
		return err
	}
	err = a.disks.Snapshot(ctx, copied, root, func(ctx context.Context, part string) error {
		if err := os.Remove(part); err != nil { // QEMU makes it
			return err
		}
		if err := a.beginBackup(ctx, in.ServerID, folder, root, part, quiet); err != nil {
			return err
		}
		return a.o.Hypervisor.AwaitBackup(ctx, in.ServerID, func(done, total int64) {
			beat.set(contract.SnapshotProgress{Bytes: done, Total: total})
		})
	})
	if err != nil {
		// Whatever ended it, nothing is written any more when this returns.
		err = errors.Join(err, a.endBackup(ctx, in.ServerID))
	}
	return err
}

// quiescence is whether a guest is quiet while its copy begins.
type quiescence int

const (
	asItIs quiescence = iota
	quietIfItCan
	quiet
)

// quiescence is what the image of a guest asks for. A guest that was built before that was kept is copied as it is.
func (a *Activities) quiescence(dir, serverID string, state hypervisor.State) (quiescence, error) {
	facts, err := a.facts(dir, serverID)
	if fault.Is(err, fault.Conflict) {
		return asItIs, nil
	}
	if err != nil {
		return asItIs, err
	}
	image := facts.Spec.Image.Root.Properties
	hardware, err := imageprops.Parse(image, facts.Spec.Flavor.ExtraSpecs)
	if err != nil {
		return asItIs, err
	}
	required := imageprops.RequiresQuiesce(image)
	switch {
	case required && !hardware.GuestAgent:
		return asItIs, fault.New(fault.Conflict, "QEMU guest agent is not enabled")
	case required:
		return quiet, nil
	case hardware.GuestAgent && state == hypervisor.Running:
		return quietIfItCan, nil
	}
	return asItIs, nil
}

// beginBackup has the guest quiet while the copy begins, which is milliseconds, where it is to be.
func (a *Activities) beginBackup(ctx context.Context, serverID, folder, root, part string, how quiescence) error {
	if how != asItIs {
		mark := filepath.Join(folder, frozenName)
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return err
		}
		began := time.Now()
		defer func() {
			if a.thaw(ctx, serverID) == nil {
				_ = os.Remove(mark) // where it stays, whoever removes the copy tries once more
			}
			a.o.Logger.InfoContext(ctx, "a guest was asked to be quiet and to go on", "server_id", serverID, "took", time.Since(began))
		}()
		if err := a.o.Hypervisor.Freeze(ctx, serverID); err != nil {
			if how == quiet || !fault.Is(err, fault.Conflict) {
				return err
			}
			a.o.Logger.InfoContext(ctx, "a guest is not quiet while its disk is copied", "server_id", serverID, "reason", err)
		}
	}
	return a.o.Hypervisor.BeginBackup(ctx, serverID, root, part)
}

// endPatience bounds what is done behind the end of a step.
const endPatience = 30 * time.Second

// thaw ends a freeze that may have been, whatever became of the step.
func (a *Activities) thaw(ctx context.Context, serverID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	err := a.o.Hypervisor.Thaw(ctx, serverID)
	if err != nil {
		a.o.Logger.WarnContext(ctx, "a guest was not seen to thaw", "server_id", serverID, "error", err)
	}
	return err
}

func (a *Activities) endBackup(ctx context.Context, serverID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	return a.o.Hypervisor.EndBackup(ctx, serverID)
}

// dropSnapshot removes what a copy has left, and ends it where it goes on: its process may have died at any moment.
func (a *Activities) dropSnapshot(ctx context.Context, serverID, folder string) error {
	if !isThere(folder) {
		return nil
	}
	if isThere(filepath.Join(folder, frozenName)) {
		// A guest whose agent does not answer any more, or that is off, cannot be helped.
		if err := a.thaw(ctx, serverID); fault.Is(err, fault.Unavailable) {
			return err
		}
	}
	if err := a.endBackup(ctx, serverID); err != nil {
		return err
	}
	return program.Fault(os.RemoveAll(folder), "removing "+folder)
}

// RemoveSnapshot ends a copy that is under way, and removes it.
func (a *Activities) RemoveSnapshot(ctx context.Context, in contract.Undo) error {
	return a.removeSnapshot(ctx, in.ServerID)
}

// DropSnapshot removes a copy that was stored.
func (a *Activities) DropSnapshot(ctx context.Context, in contract.DropSnapshotInput) error {
	return a.removeSnapshot(ctx, in.ServerID)
}

func (a *Activities) removeSnapshot(ctx context.Context, serverID string) error {
	dir, leave, err := a.enter(ctx, serverID)
	if err != nil {
		return err
	}
	defer leave()
	return a.dropSnapshot(ctx, serverID, filepath.Join(dir, snapshotName))
}

// StoreSnapshot brings the copy into the image store, which sums it and makes the image active. What broke off begins anew.
func (a *Activities) StoreSnapshot(ctx context.Context, in contract.StoreSnapshotInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	f, err := os.Open(filepath.Join(dir, snapshotName, in.ImageID))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Internal, "there is no copy of the disk of server %s", in.ServerID)
	}
	if err != nil {
		return program.Fault(err, "opening the copy of the disk of server "+in.ServerID)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return program.Fault(err, "opening the copy of the disk of server "+in.ServerID)
	}
	beat := startHeart(ctx, contract.SnapshotProgress{})
	defer beat.stop()
	return a.o.Images.Put(ctx, in.ImageID, &counted{from: f, told: func(bytes int64) {
		beat.set(contract.SnapshotProgress{Bytes: bytes, Total: st.Size()})
	}}, st.Size())
}

// counted tells how much was read.
type counted struct {
	from  io.Reader
	bytes int64
	told  func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.bytes += int64(n)
	c.told(c.bytes)
	return n, err
}
