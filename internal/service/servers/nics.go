package servers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// NICs are the network interfaces of a request: none at all, those that are named, or, where none is, one on the only network
// that the project can use.
type NICs struct {
	None  bool
	Named []NIC
}

// NIC is on a network, which may be told the address, or it is a port that the user made.
type NIC struct {
	NetworkID string
	PortID    string
	FixedIP   netip.Addr
	Tag       string
}

// interfaces finds the NICs that a request means (nova/network/neutron.py validate_networks).
func (s Servers) interfaces(ctx context.Context, asked NICs) ([]contract.NICRequest, error) {
	switch {
	case asked.None:
		return nil, nil
	case len(asked.Named) == 0:
		return s.onlyNetwork(ctx)
	}
	var nics []contract.NICRequest
	seen := map[string]bool{}
	for _, n := range asked.Named {
		nic, err := s.nic(ctx, n)
		if err != nil {
			return nil, err
		}
		if nic.PortID != "" && seen[nic.PortID] {
			return nil, invalid("Port ID '%s' was specified twice: you cannot attach a port multiple times.", nic.PortID)
		}
		seen[nic.PortID] = true
		if nic.FixedIP != "" && slices.ContainsFunc(nics, func(other contract.NICRequest) bool {
			return other.NetworkID == nic.NetworkID && other.FixedIP == nic.FixedIP
		}) {
			return nil, invalid("Fixed IP address %s was specified twice for network %s.", nic.FixedIP, nic.NetworkID)
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

// onlyNetwork is the network of a server that names none: the only one that its project can use, if there is one.
func (s Servers) onlyNetwork(ctx context.Context) ([]contract.NICRequest, error) {
	networks, err := s.store.ListNetworks(ctx, models.NetworkFilter{
		ProjectID: s.caller.ProjectID, Match: []models.Match{{Key: "router:external", Values: []string{"false"}}}, Limit: 2,
	})
	if err != nil {
		return nil, fmt.Errorf("list the networks: %w", err)
	}
	switch len(networks) {
	case 0:
		return nil, nil
	case 1:
		if len(networks[0].Subnets) == 0 {
			return nil, withoutSubnet(networks[0].ID)
		}
		return []contract.NICRequest{{NetworkID: networks[0].ID}}, nil
	default:
		return nil, fault.Wrap(fault.Conflict, SeveralNetworks, "Multiple possible networks found, use a Network ID to be more specific.")
	}
}

func withoutSubnet(networkID string) error {
	return invalid("Network %s requires a subnet in order to boot instances on.", networkID)
}

func (s Servers) nic(ctx context.Context, n NIC) (contract.NICRequest, error) {
	nic := contract.NICRequest{NetworkID: n.NetworkID, PortID: n.PortID, Tag: n.Tag}
	if n.PortID != "" {
		if n.FixedIP.IsValid() {
			return nic, invalid("Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", n.FixedIP, n.PortID)
		}
		return nic, s.checkPort(ctx, n.PortID)
	}
	net, err := s.networks.For(s.caller.Caller).Network(ctx, n.NetworkID)
	if err != nil {
		return nic, fault.Absent(err, fault.Invalid, "Network %s could not be found.", n.NetworkID)
	}
	if net.External() {
		return nic, fault.New(fault.Forbidden, "It is not allowed to create an interface on external network %s", n.NetworkID)
	}
	if len(net.Subnets) == 0 {
		return nic, withoutSubnet(n.NetworkID)
	}
	if !n.FixedIP.IsValid() {
		return nic, nil
	}
	nic.FixedIP = n.FixedIP.String()
	return nic, s.checkAddress(ctx, net, n.FixedIP)
}

// checkAddress holds that a network has an address and nobody has it yet.
func (s Servers) checkAddress(ctx context.Context, net models.Network, ip netip.Addr) error {
	if !slices.ContainsFunc(net.Subnets, func(s models.Subnet) bool { return s.Gives(ip) }) {
		return invalid("Fixed IP address %s is not a valid ip address for network %s.", ip, net.ID)
	}
	has, err := s.store.ListPorts(ctx, models.PortFilter{NetworkIDs: []string{net.ID}, IPs: []string{ip.String()}, Limit: 1})
	if err != nil {
		return fmt.Errorf("look up who has %s on network %s: %w", ip, net.ID, err)
	}
	switch {
	case len(has) == 0:
		return nil
	case has[0].ServerID == nil:
		return fault.Wrap(fault.Invalid, AddressInUse, "Fixed IP address %s is already in use by port %s: name the port instead.", ip, has[0].ID)
	}
	return fault.Wrap(fault.Invalid, AddressInUse, "Fixed IP address %s is already in use on instance %s.", ip, *has[0].ServerID)
}

// checkPort holds that a port is the caller's and free.
func (s Servers) checkPort(ctx context.Context, id string) error {
	p, err := s.networks.For(s.caller.Caller).Port(ctx, id)
	if err != nil {
		return fault.Absent(err, fault.Invalid, "Port id %s could not be found.", id)
	}
	if p.ServerID != nil || p.DeviceID != "" {
		return fault.New(fault.Conflict, "Port %s is still in use.", id)
	}
	if len(p.FixedIPs) == 0 && p.IPAllocation != models.NoIPs {
		return invalid("Port %s requires a FixedIP in order to be used.", id)
	}
	return nil
}
