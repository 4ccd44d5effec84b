package host

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// How often a guest that shuts down is looked at, and asked again: some pass over a button that is pressed while they boot.
const (
	lookEvery     = 200 * time.Millisecond
	askAgainAfter = 10 * time.Second
)

// StopDomain asks the guest to shut down by ACPI and turns it off when its time is over. Its disks and what its console said stay.
func (a *Activities) StopDomain(ctx context.Context, in contract.StopDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := a.shutDown(ctx, in); err != nil {
		return err
	}
	// Also where the guest has gone by itself: its network's bridges go with it, and its ports.
	return a.turnOff(ctx, in.ServerID)
}

// shutDown returns when the guest is off or its time is over.
func (a *Activities) shutDown(ctx context.Context, in contract.StopDomainInput) error {
	ending, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	look, ask := time.NewTicker(lookEvery), time.NewTicker(askAgainAfter)
	defer look.Stop()
	defer ask.Stop()
	asked := false
	for {
		state, err := a.o.Hypervisor.State(ctx, in.ServerID)
		if err != nil || state != hypervisor.Running {
			return err
		}
		if !asked {
			if err := a.o.Hypervisor.Shutdown(ctx, in.ServerID); err != nil {
				return err
			}
			asked = true
		}
		select {
		case <-ending.Done():
			return ctx.Err()
		case <-ask.C:
			asked = false
		case <-look.C:
		}
	}
}

// PowerOnDomain starts the domain again: the undo of a stop.
func (a *Activities) PowerOnDomain(ctx context.Context, in contract.Undo) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.start(ctx, in.ServerID)
}

// PowerOffDomain stops the domain at once and leaves everything else: the undo of a start.
func (a *Activities) PowerOffDomain(ctx context.Context, in contract.Undo) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.turnOff(ctx, in.ServerID)
}
