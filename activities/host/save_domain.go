package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// save is turnOff for a guest whose memory stays.
func (a *Activities) save(ctx context.Context, serverID string) error {
	if err := a.o.Hypervisor.Save(ctx, serverID); err != nil {
		return err
	}
	return a.unplugAll(ctx, serverID)
}

// SaveDomain writes the guest's memory to disk and ends it: its next start goes on from there.
func (a *Activities) SaveDomain(ctx context.Context, in contract.SaveDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.save(ctx, in.ServerID)
}
