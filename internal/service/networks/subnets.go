package networks

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// NewSubnet is a subnet as it is asked for.
type NewSubnet struct {
	NetworkID  string
	ProjectID  string // "" is the caller's
	Name       string
	CIDR       string
	IPVersion  int     // 0 is the CIDR's
	GatewayIP  *string // nil is the first address after the network's own
	NoGateway  bool
	PoolStart  string // both empty: what the gateway leaves
	PoolEnd    string
	DNSServers []string
	NoDHCP     bool
}

// Subnets lists those of the networks that the caller sees.
func (r *Repository) Subnets(ctx context.Context, f models.SubnetFilter) ([]models.Subnet, error) {
	f.ProjectID, f.Admin = r.caller.ProjectID, r.caller.Admin()
	found, err := r.store.ListSubnets(ctx, f)
	return found, markerOf(err, f.Marker)
}

// Subnet is one of its own, or of a network that the caller sees.
func (r *Repository) Subnet(ctx context.Context, id string) (models.Subnet, error) {
	s, err := r.store.Subnet(ctx, id)
	if err == nil && !r.caller.Owns(s.ProjectID) {
		if _, err := r.Network(ctx, s.NetworkID); err != nil {
			return models.Subnet{}, ipam.Absent("Subnet", id)
		}
	}
	return s, err
}

// CreateSubnet makes a subnet of a network of the caller's.
func (r *Repository) CreateSubnet(ctx context.Context, in NewSubnet) (models.Subnet, error) {
	if err := r.May("create_subnet"); err != nil {
		return models.Subnet{}, err
	}
	cidr, err := ipam.CIDR(in.CIDR)
	if err != nil {
		return models.Subnet{}, err
	}
	if in.IPVersion != 0 {
		if err := ipam.SameVersion(in.IPVersion, "cidr", in.CIDR, cidr.Addr()); err != nil {
			return models.Subnet{}, err
		}
	}
	if err := r.mayChange(ctx, in.NetworkID, "create_subnet"); err != nil {
		return models.Subnet{}, err
	}
	owner, err := r.ownerOf(in.ProjectID, "create_subnet:tenant_id")
	if err != nil {
		return models.Subnet{}, err
	}
	gateway := in.GatewayIP
	if gateway == nil && !in.NoGateway {
		gateway = usualGateway(cidr)
	}
	s, err := r.store.CreateSubnet(ctx, models.Subnet{
		NetworkID: in.NetworkID, ProjectID: owner, Name: in.Name, CIDR: in.CIDR, GatewayIP: gateway,
		PoolStart: in.PoolStart, PoolEnd: in.PoolEnd, DNSServers: in.DNSServers, EnableDHCP: !in.NoDHCP,
	})
	if err != nil {
		return s, fmt.Errorf("create a subnet of network %s: %w", in.NetworkID, err)
	}
	return s, nil
}

// usualGateway is the first address after the network's own, where there is one.
func usualGateway(cidr netip.Prefix) *string {
	if cidr.IsSingleIP() {
		return nil
	}
	return new(cidr.Addr().Next().String())
}

// DeleteSubnet removes a subnet, unless a port has an address of it.
func (r *Repository) DeleteSubnet(ctx context.Context, id string) error {
	if err := r.May("delete_subnet"); err != nil {
		return err
	}
	s, err := r.Subnet(ctx, id)
	if err != nil {
		return err
	}
	if !r.caller.Owns(s.ProjectID) {
		return forbidden("delete_subnet")
	}
	return r.store.DeleteSubnet(ctx, id)
}
