package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
	"github.com/slipway-cloud/slipway/internal/program"
)

// BuildReplacement makes the disks of the guest that follows, in a folder of their own beside those of the guest that there is, and
// its config drive, or injects into its root disk, and answers what that did not take.
func (a *Activities) BuildReplacement(ctx context.Context, in contract.BuildReplacementInput) (injected contract.InjectedData, err error) {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return injected, err
	}
	defer leave()
	if err := a.drop(filepath.Join(dir, previousName)); err != nil { // an operator has given it up
		return injected, err
	}
	return a.buildGuest(ctx, filepath.Join(dir, nextName), in)
}

// buildGuest makes a guest's disks in a folder of their own, with what it is told. What lies there is half of a try before this.
func (a *Activities) buildGuest(ctx context.Context, next string, in contract.BuildReplacementInput) (injected contract.InjectedData, err error) {
	if err := a.drop(next); err != nil {
		return injected, err
	}
	if err := os.Mkdir(next, 0o711); err != nil {
		return injected, program.Fault(err, "making "+next)
	}
	grown, err := a.buildDisk(ctx, next, in.Disk)
	if err != nil {
		return injected, err
	}
	if in.ConfigDrive != nil {
		if err := a.buildConfigDrive(ctx, next, *in.ConfigDrive); err != nil {
			return injected, err
		}
	}
	if in.Inject != nil {
		if injected, err = a.injectData(ctx, next, *in.Inject); err != nil {
			return injected, err
		}
	}
	injected.Notes = append(grown.Notes, injected.Notes...)
	return injected, nil
}

// RemoveReplacement removes what was built and has not become the server's guest.
func (a *Activities) RemoveReplacement(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.drop(filepath.Join(dir, nextName))
}

// RemoveReplaced removes the disks of the guest that a rebuild or a resize has replaced, or the revert of one.
func (a *Activities) RemoveReplaced(ctx context.Context, in contract.RemoveReplacedInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := a.drop(filepath.Join(dir, resizedName)); err != nil {
		return err
	}
	return a.drop(filepath.Join(dir, previousName))
}

// drop removes a folder of disks, with what a killed injection left in it.
func (a *Activities) drop(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return program.Fault(errors.Join(guestfs.Remove(dir), os.RemoveAll(dir)), "removing "+dir)
}
