// Package host holds the steps that run on a hypervisor: one file for each, do and undo side by side. Every do looks up
// first and keeps what is right; every undo accepts that its do never happened. Everything a server takes on a host is
// named from its id: its folder, the files in it, its domain.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Options of a hypervisor's activities.
type Options struct {
	Hostname     string
	InstancesDir string      // the instance folders, named by server id; made where it is missing
	Reserve      space.Floor // left free on their filesystem
	Cache        *imagecache.Cache
	Images       Sink // of servers of this host
	Hypervisor   hypervisor.Hypervisor
	Ports        hostnet.Ports // plugs them where networks stand on OVN; nil plugs none
	PortsChanged func()        // is told when other ones are plugged; nil is nobody
	// PlugPatience is how long a build waits for a port to be up; 0 does not. PlugFatal has it leave the host then.
	PlugPatience time.Duration
	PlugFatal    bool
	Consoles     Consoles
	Offers       *transfer.Offers  // of disks to other hosts; nil offers none
	Receiver     transfer.Receiver // of theirs
	// Limits of each program that runs; zero fields are program.Default's.
	Limits program.Limits
	Keys   *payload.Keys // they seal the facts of servers
	// FullCopy makes root disks that lean on no cached image (Nova's use_cow_images = false).
	FullCopy bool
	// CannotInject is why this host injects nothing (guestfs.Trial); nil where it does.
	CannotInject error
	// Libguestfs injects into what is no ext or FAT filesystem; with nil that is refused.
	Libguestfs *guestfs.Appliance
	Logger     *slog.Logger
}

// Activities are the steps. They return faults.
type Activities struct {
	o     Options
	disks disk.Maker

	// screen is held by who takes a picture of one: how much memory that needs the guest decides.
	screen chan struct{}

	mu      sync.Mutex
	servers map[string]*turn
}

// turn lets one file step at a time work in a server's folder: an undo waits for a do that outlived its attempt.
type turn struct {
	held  chan struct{}
	users int
}

// New makes the activities.
func New(o Options) (*Activities, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.PortsChanged == nil {
		o.PortsChanged = func() {}
	}
	if o.Offers == nil {
		o.Offers = transfer.NewOffers(transfer.Options{Hostname: o.Hostname, Logger: o.Logger})
	}
	dir, err := filepath.Abs(o.InstancesDir)
	if err != nil {
		return nil, fmt.Errorf("opening the instances folder: %w", err)
	}
	o.InstancesDir = dir
	// QEMU's user reaches its disks through the folder, and need not know of others.
	if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
		return nil, fmt.Errorf("opening the instances folder: %w", err)
	}
	if err := program.CanConfine(); err != nil {
		o.Logger.Warn("images are read by programs that are not confined", "reason", err)
	}
	return &Activities{o: o, disks: disk.Maker{Limits: o.Limits, Reserve: o.Reserve}, screen: make(chan struct{}, 1), servers: map[string]*turn{}}, nil
}

// dir is a server's folder. Anything but a UUID in its usual form never becomes a path.
func (a *Activities) dir(serverID string) (string, error) {
	id, err := uuid.Parse(serverID)
	if err != nil || id.String() != serverID {
		return "", fault.New(fault.Invalid, "%q is no server id.", serverID)
	}
	return filepath.Join(a.o.InstancesDir, serverID), nil
}

// enter gives the caller the server's folder to itself until leave is called.
func (a *Activities) enter(ctx context.Context, serverID string) (dir string, leave func(), err error) {
	dir, err = a.dir(serverID)
	if err != nil {
		return "", nil, err
	}
	a.mu.Lock()
	t := a.servers[serverID]
	if t == nil {
		t = &turn{held: make(chan struct{}, 1)}
		a.servers[serverID] = t
	}
	t.users++
	a.mu.Unlock()
	forget := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(a.servers, serverID)
		}
	}
	select {
	case t.held <- struct{}{}:
		return dir, func() { <-t.held; forget() }, nil
	case <-ctx.Done():
		forget()
		return "", nil, fault.Wrap(fault.Unavailable, fmt.Errorf("waiting for another step of server %s: %w", serverID, context.Cause(ctx)), "the host did not finish in time")
	}
}

// make is enter for a do: the folder is there afterwards.
func (a *Activities) make(ctx context.Context, serverID string) (dir string, leave func(), err error) {
	dir, leave, err = a.enter(ctx, serverID)
	if err != nil {
		return "", nil, err
	}
	// QEMU's user passes it; what it holds is named and open to who needs it only.
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		leave()
		if errors.Is(err, fs.ErrNotExist) { // the folder of all servers: its filesystem is not mounted, perhaps
			return "", nil, fault.Wrap(fault.HostUnfit, fmt.Errorf("making the folder of server %s: %w", serverID, err), "the host's folder for servers is gone")
		}
		return "", nil, program.Fault(err, "making the folder of server "+serverID)
	}
	return dir, leave, nil
}

// tidy removes the folder where nothing is left in it: whichever undo comes last takes it away.
func tidy(dir string) error {
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return program.Fault(err, "removing the folder "+dir)
}
