package host

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/program"
)

// StartDomain starts the domain and returns when it runs. From then on the folder holds its console log. It keeps the folder
// until then, so that its undo does not find a domain that is off and is about to start.
func (a *Activities) StartDomain(ctx context.Context, in contract.StartDomainInput) error {
	_, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.start(ctx, in.ServerID)
}

// start is the one way in which guests are started: with their ports plugged.
func (a *Activities) start(ctx context.Context, serverID string) error {
	if err := a.plugAll(ctx, serverID); err != nil {
		return err
	}
	err := a.o.Hypervisor.Start(ctx, serverID)
	// Also where it failed: libvirt labels before it starts.
	a.o.Cache.TakeBack(serverID)
	return err
}

// turnOff is the one way in which they are turned off: their ports are plugged no more, also where the guest has gone by itself.
func (a *Activities) turnOff(ctx context.Context, serverID string) error {
	if err := a.o.Hypervisor.Destroy(ctx, serverID); err != nil {
		return err
	}
	return a.unplugAll(ctx, serverID)
}

// DestroyDomain stops the domain at once and removes what its console said: nobody may read it any more.
func (a *Activities) DestroyDomain(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := a.destroy(ctx, dir, in.ServerID); err != nil {
		return err
	}
	return tidy(dir)
}

func (a *Activities) destroy(ctx context.Context, dir, serverID string) error {
	if err := a.turnOff(ctx, serverID); err != nil {
		return err
	}
	for _, path := range consoleFiles(dir) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return program.Fault(err, "removing the console log of server "+serverID)
		}
	}
	return nil
}
