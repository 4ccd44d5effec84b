package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// SaveDomain writes the guest's memory to disk and ends it: its next start goes on from there.
func (a *Activities) SaveDomain(ctx context.Context, in contract.SaveDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.o.Hypervisor.Save(ctx, in.ServerID)
}
