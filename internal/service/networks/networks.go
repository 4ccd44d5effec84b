package networks

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// DefaultMTU is a network's MTU where its maker names none.
const DefaultMTU = 1500

// Networks lists the project's networks and the shared ones, for an admin all.
func (r *Repository) Networks(ctx context.Context, f models.NetworkFilter) ([]models.Network, error) {
	f.ProjectID, f.Admin = r.caller.ProjectID, r.caller.Admin()
	found, err := r.store.ListNetworks(ctx, f)
	return found, markerOf(err, f.Marker)
}

// Network is one of those, with its subnets.
func (r *Repository) Network(ctx context.Context, id string) (models.Network, error) {
	n, err := r.store.Network(ctx, id)
	if err == nil && !n.Shared && !r.caller.Owns(n.ProjectID) {
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

// CreateNetwork makes a network of the draft's name, description, project ("" is the caller's) and MTU (0 is DefaultMTU). Only
// admins share one.
func (r *Repository) CreateNetwork(ctx context.Context, draft models.Network) (models.Network, error) {
	if err := r.May("create_network"); err != nil {
		return models.Network{}, err
	}
	if draft.Shared && !r.caller.Admin() {
		return models.Network{}, forbidden("create_network and rule:create_network:shared")
	}
	var err error
	if draft.ProjectID, err = r.ownerOf(draft.ProjectID, "create_network:tenant_id"); err != nil {
		return models.Network{}, err
	}
	if draft.MTU == 0 {
		draft.MTU = DefaultMTU
	}
	if err := ipam.MTU(draft.MTU); err != nil {
		return models.Network{}, err
	}
	n, err := r.store.CreateNetwork(ctx, draft)
	if err != nil {
		return n, fmt.Errorf("create a network: %w", err)
	}
	return n, nil
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
		models.Network{ProjectID: projectID, Name: name, Shared: true, MTU: DefaultMTU},
		models.Subnet{Name: name, CIDR: prefix.String(), GatewayIP: usualGateway(prefix), DNSServers: dns, EnableDHCP: true})
	if err != nil {
		return n, fmt.Errorf("make the default network: %w", err)
	}
	return n, nil
}
