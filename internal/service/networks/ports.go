package networks

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Port is a port as the caller may know it.
type Port struct {
	models.Port
	// Host is the hypervisor's name, "" where the port is bound to none. It is nil for those who may not know: all but admins.
	Host    *string
	VIFType string // how it is plugged there
}

// NewPort is a port as it is asked for.
type NewPort struct {
	models.Port              // in a project, "" is the caller's; without a MAC one is made of its id
	Addresses   []NewFixedIP // nil is the lowest free address of each family, empty is none
	Secure      *bool        // port security; nil is as the network says
	Groups      *[]string    // security groups of the project; nil is its default
}

// NewFixedIP asks for an address, for one of a subnet, or for both.
type NewFixedIP struct {
	SubnetID string  // "" is the address's
	IP       *string // nil is the subnet's lowest free one
}

// Ports lists the project's, for an admin all; ProjectID of the filter is the owner that is asked for.
func (r *Repository) Ports(ctx context.Context, f models.PortFilter) ([]Port, error) {
	if own := r.caller.ProjectID; !r.caller.Admin() {
		if own == "" || f.ProjectID != "" && f.ProjectID != own { // without a project the filter would select everybody's
			return nil, nil
		}
		if slices.ContainsFunc(f.Match, func(m models.Match) bool { return m.Key == "binding:host_id" }) {
			return nil, nil // that is told to admins
		}
		f.ProjectID = own
	}
	for _, ip := range f.IPs {
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, ipam.BadAttribute("fixed_ips", "'%s' is not a valid IP address", ip)
		}
	}
	found, err := r.store.ListPorts(ctx, f)
	if err != nil {
		return nil, markerOf(err, f.Marker)
	}
	return r.withHosts(ctx, found...)
}

// Port is one of those.
func (r *Repository) Port(ctx context.Context, id string) (Port, error) {
	p, err := r.port(ctx, id)
	if err != nil {
		return Port{}, err
	}
	return r.withHost(ctx, p)
}

func (r *Repository) port(ctx context.Context, id string) (models.Port, error) {
	p, err := r.store.Port(ctx, id)
	if err == nil && !r.caller.Owns(p.ProjectID) {
		return models.Port{}, ipam.Absent("Port", id)
	}
	return p, err
}

func (r *Repository) withHost(ctx context.Context, p models.Port) (Port, error) {
	one, err := r.withHosts(ctx, p)
	if err != nil {
		return Port{}, err
	}
	return one[0], nil
}

func (r *Repository) withHosts(ctx context.Context, ports ...models.Port) ([]Port, error) {
	var bound []string
	for _, p := range ports {
		if p.HostID != nil && r.caller.Admin() {
			bound = append(bound, *p.HostID)
		}
	}
	var names map[string]string
	if len(bound) > 0 {
		var err error
		if names, err = r.store.Hostnames(ctx, bound); err != nil {
			return nil, err
		}
	}
	shown := make([]Port, len(ports))
	for i, p := range ports {
		shown[i].Port, shown[i].VIFType = p, contract.VIFName(r.config.VIFType)
		switch {
		case !r.caller.Admin():
		case p.HostID == nil:
			shown[i].Host = new(string)
		default:
			shown[i].Host = new(names[*p.HostID])
		}
	}
	return shown, nil
}

// CreatePorts makes ports on networks that the caller sees, all or none.
func (r *Repository) CreatePorts(ctx context.Context, asked ...NewPort) ([]Port, error) {
	if err := r.May("create_port"); err != nil {
		return nil, err
	}
	drafts := make([]models.Port, len(asked))
	for i, in := range asked {
		n, err := r.Network(ctx, in.NetworkID)
		if err != nil {
			return nil, err
		}
		if n.External() {
			return nil, ipam.BadInput("network %s is external: its addresses are for routers and floating IPs", n.ID)
		}
		if in.ProjectID, err = r.ownerOf(in.ProjectID, "create_port:tenant_id"); err != nil {
			return nil, err
		}
		in.PortSecurity = n.PortSecurity
		if in.Addresses != nil && len(in.Addresses) == 0 {
			in.IPAllocation = models.NoIPs
		}
		if in.Groups != nil {
			if in.Grouped, in.FurtherGroups, err = r.groupsOf(ctx, in.ProjectID, nil, *in.Groups); err != nil {
				return nil, err
			}
		}
		if err := r.apply(&in, n, models.Port{}, "create_port"); err != nil {
			return nil, err
		}
		drafts[i] = in.Port
	}
	made, err := r.store.CreatePorts(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d ports: %w", len(asked), err)
	}
	return r.withHosts(ctx, made...)
}

// UpdatePort changes a port of the caller's. What change leaves nil of a NewPort stays.
func (r *Repository) UpdatePort(ctx context.Context, id string, change func(*NewPort)) (Port, error) {
	if err := r.May("update_port"); err != nil {
		return Port{}, err
	}
	was, err := r.port(ctx, id)
	if err != nil {
		return Port{}, err
	}
	asked := NewPort{Port: was}
	change(&asked)
	if asked.Groups != nil { // which are looked up before the port is held
		if asked.Grouped, asked.FurtherGroups, err = r.groupsOf(ctx, was.ProjectID, was.FurtherGroups, *asked.Groups); err != nil {
			return Port{}, err
		}
	}
	p, err := r.store.UpdatePort(ctx, id, func(p *models.Port) error {
		before := *p
		in := NewPort{Port: *p}
		change(&in)
		if in.Groups != nil {
			in.Grouped, in.FurtherGroups = asked.Grouped, asked.FurtherGroups
		}
		if before.ServerID != nil { // what is shown of a server's port, said again, is no change
			if in.DeviceID == *before.ServerID {
				in.DeviceID = before.DeviceID
			}
			if in.DeviceOwner == models.ComputeOwner {
				in.DeviceOwner = before.DeviceOwner
			}
		}
		if in.MAC == before.MAC {
			in.MAC = ""
		}
		if err := r.apply(&in, *before.Network, before, "update_port"); err != nil {
			return err
		}
		in.MAC = cmp.Or(in.MAC, before.MAC)
		*p = in.Port
		return r.boundStays(before, *p)
	})
	if err != nil {
		return Port{}, err
	}
	return r.withHost(ctx, p)
}

// boundStays refuses to change what a server's guest was told of its port and would go on using, and what a router is or a floating IP stands on.
func (r *Repository) boundStays(before, after models.Port) error {
	lost, fresh := before.Readdressed(after.FixedIPs)
	switch {
	case before.RouterID != nil, before.FloatingIPID != nil:
		if after.MAC != before.MAC || after.DeviceID != before.DeviceID || after.DeviceOwner != before.DeviceOwner || len(lost)+len(fresh) > 0 {
			return models.PortInUse(before)
		}
		return nil
	case before.ServerID == nil:
		return nil
	case after.MAC != before.MAC:
		return ipam.Refuse("PortBound", fault.Conflict, "Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.",
			before.ID, contract.VIFName(r.config.VIFType), before.MAC, after.MAC)
	case after.DeviceID != before.DeviceID, after.DeviceOwner != before.DeviceOwner, len(lost)+len(fresh) > 0 && r.config.Engine != OVN:
		return models.PortInUse(before)
	}
	return nil
}

// apply checks what is asked of a port, as it was before (a new one was nothing), and puts it into its fields. What lets a guest speak for others
// on the network is for the network's owner.
func (r *Repository) apply(in *NewPort, n models.Network, before models.Port, rule string) (err error) {
	if in.MAC != "" {
		if !r.caller.Owns(n.ProjectID) {
			return forbidden(rule + " and rule:" + rule + ":mac_address")
		}
		if in.MAC, err = ipam.MAC(in.MAC); err != nil {
			return err
		}
		if in.MAC == ids.MetadataMAC { // whose port would be taken for the service
			return ipam.BadAttribute("mac_address", "'%s' is the metadata service's on every network", in.MAC)
		}
	}
	if in.Addresses != nil {
		if in.FixedIPs, err = fixedIPs(in.Addresses); err != nil {
			return err
		}
	}
	if in.Secure != nil && *in.Secure != in.PortSecurity {
		if !r.caller.Owns(n.ProjectID) {
			return forbidden(rule + " and rule:" + rule + ":port_security_enabled")
		}
		in.PortSecurity = *in.Secure
	}
	if err := addressPairs(in.AddressPairs); err != nil {
		return err
	}
	if len(in.AddressPairs) > 0 && !slices.Equal(before.AddressPairs, in.AddressPairs) && !r.caller.Owns(n.ProjectID) {
		return forbidden(rule + " and rule:" + rule + ":allowed_address_pairs")
	}
	return cmp.Or(r.needsEngine(!in.AdminStateUp, "admin_state_up"), r.needsEngine(!in.PortSecurity, "port_security_enabled"),
		r.needsEngine(len(in.AddressPairs) > 0, "allowed_address_pairs"), untold(in.DHCPOptions),
		secured(&in.Port, len(before.SecurityGroups()) > 0, in.Groups != nil))
}

// untold refuses options that no engine tells guests yet.
func untold(options []models.DHCPOption) error {
	if len(options) > 0 {
		return ipam.BadAttribute("extra_dhcp_opts", "no guest is told of them")
	}
	return nil
}

// maxAddressPairs is Neutron's default (max_allowed_address_pair).
const maxAddressPairs = 10

// addressPairs brings them into their usual form, and refuses what is none.
func addressPairs(pairs []models.AddressPair) error {
	if len(pairs) > maxAddressPairs {
		return ipam.Refuse("AllowedAddressPairExhausted", fault.Invalid, "The number of allowed address pair exceeds the maximum %d.", maxAddressPairs)
	}
	for i, p := range pairs {
		if p.MAC != "" {
			mac, err := ipam.MAC(p.MAC)
			if err != nil {
				return err
			}
			if mac == ids.MetadataMAC {
				return ipam.BadAttribute("allowed_address_pairs", "'%s' is the metadata service's on every network", mac)
			}
			pairs[i].MAC = mac
		}
		if _, err := netip.ParsePrefix(p.IP); err != nil {
			if _, err := ipam.Address("allowed_address_pairs", p.IP); err != nil {
				return err
			}
		}
		if slices.Contains(pairs[:i], pairs[i]) {
			return ipam.Refuse("DuplicateAddressPairInRequest", fault.Invalid, "Request contains duplicate address pair: mac_address %s ip_address %s.", pairs[i].MAC, p.IP)
		}
	}
	return nil
}

// maxFixedIPs of a port.
const maxFixedIPs = 16

// fixedIPs refuses what is no address, and one that is asked for twice.
func fixedIPs(in []NewFixedIP) ([]models.FixedIP, error) {
	if len(in) > maxFixedIPs {
		return nil, ipam.BadInput("Exceeded maximum amount of fixed ips per port")
	}
	wanted := []models.FixedIP{}
	for _, f := range in {
		one := models.FixedIP{SubnetID: strings.ToLower(f.SubnetID)}
		if f.IP != nil {
			ip, err := ipam.Address("fixed_ips", *f.IP)
			if err != nil {
				return nil, err
			}
			one.IP = ip.String()
			if slices.ContainsFunc(wanted, func(other models.FixedIP) bool { return other.IP == one.IP }) {
				return nil, ipam.BadAttribute("fixed_ips", "Duplicate IP address '%s'", one.IP)
			}
		}
		wanted = append(wanted, one)
	}
	return wanted, nil
}

// DeletePort removes a port that no server uses.
func (r *Repository) DeletePort(ctx context.Context, id string) error {
	if err := r.May("delete_port"); err != nil {
		return err
	}
	if _, err := r.port(ctx, id); err != nil {
		return err
	}
	return r.store.DeletePort(ctx, id)
}
