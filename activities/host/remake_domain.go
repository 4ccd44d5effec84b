package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// RemakeDomain turns the guest off and makes its domain anew from the facts beside it, so that a definition that was lost or
// spoiled heals. Nothing is touched where the facts, or the images that they name, are not there.
func (a *Activities) RemakeDomain(ctx context.Context, in contract.RemakeDomainInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.remake(ctx, dir, in.ServerID)
}

func (a *Activities) remake(ctx context.Context, dir, serverID string) error {
	facts, err := a.facts(dir, serverID)
	if err != nil {
		return err
	}
	d, err := a.domain(ctx, dir, facts.Domain())
	if err != nil {
		return err
	}
	return a.replace(ctx, d)
}

// replace turns a guest off and puts another domain in the place of its own.
func (a *Activities) replace(ctx context.Context, d hypervisor.Domain) error {
	if err := a.turnOff(ctx, d.UUID); err != nil {
		return err
	}
	return a.o.Hypervisor.Redefine(ctx, d)
}
