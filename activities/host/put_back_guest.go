package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// PutBackGuest makes the guest what its server was: the undo of what pauses, suspends or reboots it. Memory that a reboot has
// dropped does not come back: a guest that stood then, or was suspended, begins anew when it goes on.
func (a *Activities) PutBackGuest(ctx context.Context, in contract.PutBackGuestInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil || state == hypervisor.Absent { // no action takes a definition away
		return err
	}
	runs := state == hypervisor.Running || state == hypervisor.Paused
	switch {
	case in.PowerState == lifecycle.Running:
		if state == hypervisor.Paused {
			return a.o.Hypervisor.Resume(ctx, in.ServerID)
		}
		return a.startAgain(ctx, in.ServerID)
	case in.PowerState == lifecycle.PausedGuest:
		if !runs {
			if err := a.startAgain(ctx, in.ServerID); err != nil {
				return err
			}
			if state, err = a.o.Hypervisor.State(ctx, in.ServerID); err != nil || state != hypervisor.Running {
				return err
			}
		}
		return a.o.Hypervisor.Suspend(ctx, in.ServerID)
	case in.VMState == string(lifecycle.Suspended) && runs:
		return a.save(ctx, in.ServerID)
	}
	return a.turnOff(ctx, in.ServerID)
}

// startAgain starts a guest where its host can: else it is turned off, which is nothing that it did by itself, and whoever looks at the
// guests says so of its server, which would wait for this host, locked, for ever.
func (a *Activities) startAgain(ctx context.Context, serverID string) error {
	err := a.start(ctx, serverID)
	if err == nil || fault.Is(err, fault.Unavailable) {
		return err
	}
	a.o.Logger.Warn("A guest that ran could not be started again; it is off.", "server_id", serverID, "error", err)
	return a.turnOff(ctx, serverID)
}
