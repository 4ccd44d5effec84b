package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
)

// BuildConfigDrive makes the server's config drive.
func (a *Activities) BuildConfigDrive(ctx context.Context, in contract.BuildConfigDriveInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.buildConfigDrive(ctx, dir, in)
}

func (a *Activities) buildConfigDrive(ctx context.Context, dir string, in contract.BuildConfigDriveInput) error {
	return configdrive.Build(ctx, a.o.Limits, dir, in.Format, in.SkipVersions, in.Metadata)
}

// RemoveConfigDrive removes it.
func (a *Activities) RemoveConfigDrive(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := configdrive.Remove(dir); err != nil {
		return err
	}
	return tidy(dir)
}
