package networks

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// NewNetwork is a network as it is asked for.
type NewNetwork struct {
	models.Network // in a project, "" is the caller's
	Out            Outside
}

// Outside is what is asked of what a network is part of; nil is not said.
type Outside struct {
	External       *bool
	Type, Physical *string
	Segment        *int
}

// MaySeeOutside says whether the caller is told of what networks are part of: admins alone are.
func (r *Repository) MaySeeOutside() bool { return r.caller.Admin() }

// outside checks what is asked of a network that is made, and puts it into its fields (neutron/plugins/ml2/drivers/type_flat.py, type_vlan.py). What
// leads out is for routers and floating IPs: servers are not placed by which hosts lead where, so no network with servers is part of another.
func (r *Repository) outside(ctx context.Context, n *NewNetwork) error {
	external := n.Out.External != nil && *n.Out.External
	segmented := n.Out.Type != nil || n.Out.Physical != nil || n.Out.Segment != nil
	if err := cmp.Or(r.needsEngine(external, "router:external"), r.needsEngine(segmented, "provider:network_type")); err != nil {
		return err
	}
	switch {
	case external && !r.caller.Admin():
		return forbidden("create_network and rule:create_network:router:external")
	case segmented && !r.caller.Admin():
		return forbidden("create_network and rule:create_network:provider:network_type")
	case !external && !segmented:
		return nil
	}
	if n.Out.Type == nil {
		if segmented {
			return ipam.BadInput("network_type required")
		}
		return ipam.BadAttribute("router:external", "an external network has a provider:network_type (flat or vlan) and a provider:physical_network, by which hosts lead out")
	}
	switch kind := *n.Out.Type; {
	case kind == models.TypeGeneve && !external && n.Out.Physical == nil && n.Out.Segment == nil:
		return nil
	case kind != models.TypeFlat && kind != models.TypeVLAN:
		return ipam.BadInput("network_type value '%s' not supported", kind)
	case n.Out.Physical == nil:
		return ipam.BadInput("physical_network required for %s provider network", kind)
	case kind == models.TypeFlat && n.Out.Segment != nil:
		return ipam.BadInput("segmentation_id prohibited for flat provider network")
	case kind == models.TypeVLAN && n.Out.Segment == nil:
		return ipam.BadInput("segmentation_id required for vlan provider network")
	case kind == models.TypeVLAN && (*n.Out.Segment < 1 || *n.Out.Segment > 4094):
		return ipam.BadInput("segmentation_id out of range (1 through 4094)")
	case !external:
		return ipam.BadAttribute("provider:network_type", "only external networks are %s: servers are not placed by which hosts lead out", kind)
	}
	known, err := r.store.PhysicalNetworks(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(known, *n.Out.Physical) {
		return ipam.BadInput("physical_network '%s' unknown for %s provider network", *n.Out.Physical, *n.Out.Type)
	}
	n.PhysicalNetwork, n.VLAN = n.Out.Physical, n.Out.Segment
	return nil
}

// staysOutside refuses to make a network another kind of network.
func staysOutside(n NewNetwork) error {
	if n.Out.External != nil && *n.Out.External != n.Network.External() {
		return ipam.BadAttribute("router:external", "a network is made external or not, and stays so")
	}
	return nil
}

// tellsOutside says whether a filter selects by what only admins are told.
func tellsOutside(match []models.Match) bool {
	return slices.ContainsFunc(match, func(m models.Match) bool { return strings.HasPrefix(m.Key, "provider:") })
}
