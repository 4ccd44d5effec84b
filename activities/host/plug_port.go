package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// PlugPort plugs a port into this host's switch and waits until it is up. A guest's start plugs its ports too, and does not wait: a
// build alone has another host to go to.
func (a *Activities) PlugPort(ctx context.Context, in contract.PlugPortInput) error {
	if !in.Port.Plugged() {
		return nil // of a build whose networks came to stand on something else in between
	}
	_, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	p := port(in.ServerID, in.Index, in.Port)
	if err := a.plug(ctx, p); err != nil || a.o.PlugPatience <= 0 {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, a.o.PlugPatience)
	defer cancel()
	err = a.o.Ports.Await(waiting, p)
	switch {
	case err == nil || waiting.Err() == nil || ctx.Err() != nil: // else it was not this wait that ended
		return err
	case a.o.PlugFatal:
		return fault.Wrap(fault.HostUnfit, err, "The server's port %s did not come up on host %s.", p.ID, a.o.Hostname)
	}
	a.o.Logger.Warn("A port did not come up; its guest starts without.", "server_id", p.ServerID, "port_id", p.ID, "error", err)
	return nil
}

// UnplugPort takes it out again.
func (a *Activities) UnplugPort(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if a.o.Ports != nil {
		defer a.o.PortsChanged()
		if err := a.o.Ports.Unplug(ctx, in.ServerID, in.Index); err != nil {
			return err
		}
	}
	return tidy(dir)
}

func port(serverID string, nic int, p contract.Port) hostnet.Port {
	return hostnet.Port{ServerID: serverID, NIC: nic, ID: p.ID, Network: p.NetworkID, MAC: p.MAC, MTU: p.MTU}
}

func (a *Activities) plug(ctx context.Context, p hostnet.Port) error {
	if a.o.Ports == nil {
		return fault.New(fault.HostUnfit, "Host %s plugs no ports: host.ovsdb does not name its Open vSwitch.", a.o.Hostname)
	}
	defer a.o.PortsChanged()
	return a.o.Ports.Plug(ctx, p)
}

// plugAll plugs what the facts beside a server's domain say. Where they cannot be read the guest was built before they were kept, on
// bridges; or its start fails without its taps.
func (a *Activities) plugAll(ctx context.Context, serverID string) error {
	_, err := a.plugKnown(ctx, serverID)
	return err
}

// plugKnown answers which NICs they are; nil where nothing says so.
func (a *Activities) plugKnown(ctx context.Context, serverID string) (nics map[int]bool, err error) {
	dir, err := a.dir(serverID)
	if err != nil {
		return nil, err
	}
	facts, err := a.facts(dir, serverID)
	if err != nil {
		a.o.Logger.Debug("No ports are plugged for a guest of which nothing is known.", "server_id", serverID, "error", err)
		return nil, nil
	}
	nics = map[int]bool{}
	for i, p := range facts.Ports {
		if p.Plugged() {
			nics[i] = true
			if err := a.plug(ctx, port(serverID, i, p)); err != nil {
				return nil, err
			}
		}
	}
	return nics, nil
}

func (a *Activities) unplugAll(ctx context.Context, serverID string) error {
	if a.o.Ports == nil {
		return nil
	}
	defer a.o.PortsChanged()
	return a.o.Ports.UnplugAll(ctx, serverID)
}

// SettlePorts makes what is plugged on this host equal to what its running guests need, one server after another, each between its
// steps. It is for the start of a host: after a reboot taps are gone that the switch still knows, and a guest may have gone while
// nobody looked. A build whose port it takes away plugs it again with its guest's start.
func (a *Activities) SettlePorts(ctx context.Context) error {
	if a.o.Ports == nil {
		return nil
	}
	plugged, err := a.o.Ports.List(ctx)
	if err != nil {
		return err
	}
	domains, err := a.o.Hypervisor.List(ctx)
	if err != nil {
		return err
	}
	var servers []string
	for _, p := range plugged {
		servers = append(servers, p.ServerID)
	}
	for _, d := range domains {
		if dir, err := a.dir(d.UUID); err == nil && isThere(dir) { // else it is another installation's
			servers = append(servers, d.UUID)
		}
	}
	slices.Sort(servers)
	var wrong error
	for _, id := range slices.Compact(servers) {
		if err := a.settlePorts(ctx, id, plugged); err != nil { // the others are settled all the same
			wrong = errors.Join(wrong, fmt.Errorf("the ports of server %s: %w", id, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return wrong
}

func (a *Activities) settlePorts(ctx context.Context, serverID string, plugged []hostnet.Plugged) error {
	_, leave, err := a.enter(ctx, serverID)
	if err != nil {
		return err
	}
	defer leave()
	switch state, err := a.o.Hypervisor.State(ctx, serverID); {
	case err != nil:
		return err
	case state == hypervisor.Running || state == hypervisor.Paused:
		nics, err := a.plugKnown(ctx, serverID)
		for _, p := range plugged {
			if err == nil && nics != nil && p.ServerID == serverID && !nics[p.NIC] {
				err = a.o.Ports.Unplug(ctx, serverID, p.NIC)
			}
		}
		return err
	}
	return a.unplugAll(ctx, serverID)
}
