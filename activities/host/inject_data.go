package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
)

// InjectData writes into the root disk's filesystem. It has no undo: what it wrote goes with the disk.
func (a *Activities) InjectData(ctx context.Context, in contract.InjectDataInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if a.o.CannotInject != nil {
		return fault.Wrap(fault.HostUnfit, a.o.CannotInject, "nothing can be injected into images on this host, so the server needs a config drive: %v", a.o.CannotInject).NotTheHosts()
	}
	options := contract.InjectOptions{Partition: contract.InjectInspect}
	if in.Options != nil {
		options = *in.Options
	}
	notes, err := guestfs.Inject(ctx, a.o.Limits, dir, in.Metadata, options)
	for _, note := range notes {
		a.o.Logger.WarnContext(ctx, "the image did not take everything", "server_id", in.ServerID, "note", note)
	}
	return err
}
