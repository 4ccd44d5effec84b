package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// PauseDomain stops the guest's processors.
func (a *Activities) PauseDomain(ctx context.Context, in contract.PauseDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.o.Hypervisor.Suspend(ctx, in.ServerID)
}

// UnpauseDomain lets them go on.
func (a *Activities) UnpauseDomain(ctx context.Context, in contract.UnpauseDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.o.Hypervisor.Resume(ctx, in.ServerID)
}
