// Package fake is a switch of files, for load and fault tests: what the port promises without a network. The files outlive the process,
// as taps do.
package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
)

// Ports are files of a folder, one for each that is plugged.
type Ports struct{ dir string }

var _ hostnet.Ports = Ports{}

// New makes the folder.
func New(dir string) (Ports, error) {
	return Ports{dir: dir}, os.MkdirAll(dir, 0o755)
}

func (f Ports) file(serverID string, nic int) string {
	return filepath.Join(f.dir, fmt.Sprintf("%s.%d.json", serverID, nic))
}

// Plug writes the file.
func (f Ports) Plug(ctx context.Context, p hostnet.Port) error {
	all, err := f.List(ctx)
	if err != nil {
		return err
	}
	for _, is := range all {
		if is.Tap == p.Tap() && (is.ServerID != p.ServerID || is.NIC != p.NIC) {
			return fault.New(fault.Conflict, "The interface %s is there on this host and is not port %s of instance %s.", p.Tap(), p.ID, p.ServerID)
		}
	}
	text, err := json.Marshal(hostnet.Plugged{ServerID: p.ServerID, NIC: p.NIC, PortID: p.ID, Network: p.Network, MTU: p.MTU, Tap: p.Tap(), Up: true})
	if err != nil {
		return err
	}
	return durable.WriteFile(f.file(p.ServerID, p.NIC), text, 0o644)
}

// Await finds it up at once.
func (f Ports) Await(_ context.Context, p hostnet.Port) error {
	_, err := os.Stat(f.file(p.ServerID, p.NIC))
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "Port %s is not up: it is not plugged", p.ID)
	}
	return nil
}

// Unplug removes the file.
func (f Ports) Unplug(_ context.Context, serverID string, nic int) error {
	err := os.Remove(f.file(serverID, nic))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// UnplugAll removes those of a server.
func (f Ports) UnplugAll(ctx context.Context, serverID string) error {
	all, err := f.List(ctx)
	for _, p := range all {
		if p.ServerID == serverID {
			err = errors.Join(err, f.Unplug(ctx, serverID, p.NIC))
		}
	}
	return err
}

// List reads them.
func (f Ports) List(context.Context) ([]hostnet.Plugged, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var all []hostnet.Plugged
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(f.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var p hostnet.Plugged
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Describe finds nothing to be wrong with a switch of files.
func (f Ports) Describe(ctx context.Context, hostname string) contract.HostNetwork {
	n := contract.HostNetwork{Hostname: hostname, Ports: []contract.HostPort{}, Checks: []contract.HostCheck{{Name: "switch", OK: true, Text: "a fake one"}}}
	plugged, err := f.List(ctx)
	if err != nil {
		n.Checks = []contract.HostCheck{{Name: "switch", Text: err.Error()}}
	}
	for _, p := range plugged {
		n.Ports = append(n.Ports, p.Port())
	}
	return n
}

// Probe finds nothing wrong.
func (f Ports) Probe(context.Context) error { return nil }

// Close has nothing to do.
func (f Ports) Close() error { return nil }
