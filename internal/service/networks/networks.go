package networks

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// DefaultMTU is a network's MTU where its maker names none, or 0.
const DefaultMTU = models.DefaultMTU

// geneve is what OVN puts around a packet between hosts (IPv4, UDP, Geneve with its options, Ethernet).
const geneve = 58

// mtu is what a link of 1500 has left.
func (c Config) mtu() int {
	if c.Engine == OVN {
		return DefaultMTU - geneve
	}
	return DefaultMTU
}

// Networks lists the project's networks, the shared and the external ones, for an admin all.
func (r *Repository) Networks(ctx context.Context, f models.NetworkFilter) ([]models.Network, error) {
	f.ProjectID, f.Admin = r.caller.ProjectID, r.caller.Admin()
	if tellsOutside(f.Match) && !r.MaySeeOutside() {
		return nil, nil
	}
	found, err := r.store.ListNetworks(ctx, f)
	return found, markerOf(err, f.Marker)
}

// Network is one of those, with its subnets.
func (r *Repository) Network(ctx context.Context, id string) (models.Network, error) {
	n, err := r.store.Network(ctx, id)
	if err == nil && !n.Shared && !n.External() && !r.caller.Owns(n.ProjectID) {
		return models.Network{}, ipam.Absent("Network", id)
	}
	return n, err
}

// mayChange refuses to change a network that is not the caller's: a shared one shows, but is its owner's.
func (r *Repository) mayChange(ctx context.Context, id, rule string) error {
	n, err := r.Network(ctx, id)
	if err == nil && !r.caller.Owns(n.ProjectID) {
		return forbidden(rule)
	}
	return err
}

// AnyNetwork is what a network is of which nothing is said.
func AnyNetwork() NewNetwork {
	return NewNetwork{Network: models.Network{AdminStateUp: true, PortSecurity: true}}
}

// CreateNetworks makes networks of drafts (AnyNetwork), all or none. Only admins share one, or have one lead out.
func (r *Repository) CreateNetworks(ctx context.Context, asked ...NewNetwork) ([]models.Network, error) {
	if err := r.May("create_network"); err != nil {
		return nil, err
	}
	drafts := make([]models.Network, len(asked))
	for i, n := range asked {
		if n.Shared && !r.caller.Admin() {
			return nil, forbidden("create_network and rule:create_network:shared")
		}
		if err := r.outside(ctx, &n); err != nil {
			return nil, err
		}
		var err error
		if n.ProjectID, err = r.ownerOf(n.ProjectID, "create_network:tenant_id"); err != nil {
			return nil, err
		}
		if n.Network.External() {
			n.MTU = cmp.Or(n.MTU, DefaultMTU) // nothing is put around its packets
		}
		n.MTU = cmp.Or(n.MTU, r.config.mtu())
		if err := r.checkNetwork(n.Network); err != nil {
			return nil, err
		}
		drafts[i] = n.Network
	}
	made, err := r.store.CreateNetworks(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d networks: %w", len(drafts), err)
	}
	return made, nil
}

func (r *Repository) checkNetwork(n models.Network) error {
	return cmp.Or(ipam.MTU(n.MTU), r.needsEngine(!n.AdminStateUp, "admin_state_up"), r.needsEngine(!n.PortSecurity, "port_security_enabled"))
}

// UpdateNetwork changes a network of the caller's.
func (r *Repository) UpdateNetwork(ctx context.Context, id string, change func(*NewNetwork)) (models.Network, error) {
	if err := r.May("update_network"); err != nil {
		return models.Network{}, err
	}
	if err := r.mayChange(ctx, id, "update_network"); err != nil {
		return models.Network{}, err
	}
	return r.store.UpdateNetwork(ctx, id, func(n *models.Network) error {
		in := NewNetwork{Network: *n}
		change(&in)
		if n.Shared != in.Shared && !r.caller.Admin() {
			return forbidden("update_network and rule:update_network:shared")
		}
		*n = in.Network
		return cmp.Or(staysOutside(in), r.checkNetwork(*n))
	})
}

// DeleteNetwork removes a network with its subnets, unless it has ports.
func (r *Repository) DeleteNetwork(ctx context.Context, id string) error {
	if err := r.May("delete_network"); err != nil {
		return err
	}
	if err := r.mayChange(ctx, id, "delete_network"); err != nil {
		return err
	}
	return r.store.DeleteNetwork(ctx, id)
}

// EnsureDefault makes a network that every project shares, with one subnet of the CIDR: the first address is the gateway's,
// the rest up to the last but one are given to servers. A network of that name and project is left as it is.
func (s *Service) EnsureDefault(ctx context.Context, projectID, name, cidr string, dns ...string) (models.Network, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return models.Network{}, fmt.Errorf("default network %q: %w", cidr, err)
	}
	prefix = prefix.Masked()
	n, err := s.store.EnsureNetwork(ctx,
		models.Network{ProjectID: projectID, Name: name, Shared: true, MTU: s.config.mtu()},
		models.Subnet{Name: name, CIDR: prefix.String(), GatewayIP: usualGateway(prefix), DNSServers: dns, EnableDHCP: true})
	if err != nil {
		return n, fmt.Errorf("make the default network: %w", err)
	}
	return n, nil
}
