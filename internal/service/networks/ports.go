package networks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Port is a port as the caller may know it.
type Port struct {
	models.Port
	// Host is the hypervisor's name, "" where the port is bound to none. It is nil for those who may not know: all but admins.
	Host *string
}

// NewPort is a port as it is asked for.
type NewPort struct {
	NetworkID      string
	ProjectID      string // "" is the caller's
	Name           string
	MAC            *string      // nil is made of the port's id
	FixedIPs       []NewFixedIP // nil is the lowest free address of each family, empty is none
	SecurityGroups []string     // the project's, or none
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
	names := map[string]string{}
	if r.caller.Admin() {
		hosts, err := r.store.ListHosts(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the hosts: %w", err)
		}
		for _, h := range hosts {
			names[h.ID] = h.Hostname
		}
	}
	shown := make([]Port, len(ports))
	for i, p := range ports {
		shown[i].Port = p
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

// CreatePort makes a port on a network that the caller sees.
func (r *Repository) CreatePort(ctx context.Context, in NewPort) (Port, error) {
	if err := r.May("create_port"); err != nil {
		return Port{}, err
	}
	if _, err := r.Network(ctx, in.NetworkID); err != nil {
		return Port{}, err
	}
	owner, err := r.ownerOf(in.ProjectID, "create_port:tenant_id")
	if err != nil {
		return Port{}, err
	}
	for _, id := range in.SecurityGroups {
		if id != ids.SecurityGroup(owner) {
			return Port{}, noGroup(id)
		}
	}
	draft := models.Port{NetworkID: in.NetworkID, ProjectID: owner, Name: in.Name}
	if in.MAC != nil {
		if draft.MAC, err = ipam.MAC(*in.MAC); err != nil {
			return Port{}, err
		}
	}
	if in.FixedIPs != nil && len(in.FixedIPs) == 0 {
		draft.IPAllocation = models.NoIPs
	}
	if draft.FixedIPs, err = fixedIPs(in.FixedIPs); err != nil {
		return Port{}, err
	}
	p, err := r.store.CreatePort(ctx, draft)
	if err != nil {
		return Port{}, fmt.Errorf("create a port on network %s: %w", in.NetworkID, err)
	}
	return r.withHost(ctx, p)
}

// fixedIPs refuses what is no address, and one that is asked for twice.
func fixedIPs(in []NewFixedIP) ([]models.FixedIP, error) {
	var wanted []models.FixedIP
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
	p, err := r.port(ctx, id)
	if err != nil {
		return err
	}
	err = r.store.DeletePort(ctx, id)
	if fault.Is(err, fault.Conflict) {
		device := ""
		if p.ServerID != nil {
			device = *p.ServerID
		}
		return &ipam.Refusal{Exception: "PortInUse", Fault: fault.Wrap(fault.Conflict, err,
			"Unable to complete operation on port %s for network %s. Port already has an attached device %s.",
			id, p.NetworkID, device)}
	}
	return err
}
