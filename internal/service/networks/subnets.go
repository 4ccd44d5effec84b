package networks

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// NewSubnet is a subnet as it is asked for.
type NewSubnet struct {
	models.Subnet         // in a project, "" is the caller's
	IPVersion     int     // 0 is the CIDR's
	Gateway       *string // nil is the first address after the network's own
	NoGateway     bool
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

// CreateSubnets makes subnets of networks of the caller's, all or none.
func (r *Repository) CreateSubnets(ctx context.Context, asked ...NewSubnet) ([]models.Subnet, error) {
	if err := r.May("create_subnet"); err != nil {
		return nil, err
	}
	drafts := make([]models.Subnet, len(asked))
	for i, in := range asked {
		cidr, err := ipam.CIDR(in.CIDR)
		if err != nil {
			return nil, err
		}
		if in.IPVersion != 0 {
			if err := ipam.SameVersion(in.IPVersion, "cidr", in.CIDR, cidr.Addr()); err != nil {
				return nil, err
			}
		}
		if err := r.checkSubnet(in.Subnet); err != nil {
			return nil, err
		}
		if err := r.mayChange(ctx, in.NetworkID, "create_subnet"); err != nil {
			return nil, err
		}
		if in.ProjectID, err = r.ownerOf(in.ProjectID, "create_subnet:tenant_id"); err != nil {
			return nil, err
		}
		in.GatewayIP = in.Gateway
		if in.Gateway == nil && !in.NoGateway {
			in.GatewayIP = usualGateway(cidr)
		}
		drafts[i] = in.Subnet
	}
	made, err := r.store.CreateSubnets(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d subnets: %w", len(asked), err)
	}
	return made, nil
}

func (r *Repository) checkSubnet(n models.Subnet) error {
	// A port would have another address than its guest makes.
	made := func(attribute string, mode *string) error {
		if mode != nil && *mode != "dhcpv6-stateful" {
			return ipam.BadAttribute(attribute, "'%s' is not offered: every port is given its addresses", *mode)
		}
		return nil
	}
	return cmp.Or(made("ipv6_address_mode", n.IPv6AddressMode), r.needsEngine(n.IPv6RAMode != nil, "ipv6_ra_mode"),
		r.needsEngine(n.IPv6AddressMode != nil, "ipv6_address_mode"), made("ipv6_ra_mode", n.IPv6RAMode))
}

// UpdateSubnet changes a subnet of the caller's.
func (r *Repository) UpdateSubnet(ctx context.Context, id string, change func(*NewSubnet)) (models.Subnet, error) {
	if err := r.May("update_subnet"); err != nil {
		return models.Subnet{}, err
	}
	if err := r.mayChangeSubnet(ctx, id, "update_subnet"); err != nil {
		return models.Subnet{}, err
	}
	return r.store.UpdateSubnet(ctx, id, func(n *models.Subnet) error {
		in := NewSubnet{Subnet: *n, Gateway: n.GatewayIP}
		change(&in)
		*n = in.Subnet
		n.GatewayIP = in.Gateway
		return r.checkSubnet(*n)
	})
}

func (r *Repository) mayChangeSubnet(ctx context.Context, id, rule string) error {
	s, err := r.Subnet(ctx, id)
	if err == nil && !r.caller.Owns(s.ProjectID) {
		return forbidden(rule)
	}
	return err
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
	if err := r.mayChangeSubnet(ctx, id, "delete_subnet"); err != nil {
		return err
	}
	return r.store.DeleteSubnet(ctx, id)
}
