package networks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// NewRouter is a router as it is asked for.
type NewRouter struct {
	models.Router // in a project, "" is the caller's
	// Out is its gateway: nil is not said.
	Out *NewGateway
}

// NewGateway asks for a gateway; on no network it asks for none.
type NewGateway struct {
	NetworkID string
	SNAT      *bool        // nil is yes
	Addresses []NewFixedIP // nil is one of each family
}

// routed answers as a Neutron without the extension where nothing routes.
func (r *Repository) routed() error {
	if r.config.Engine != OVN {
		return ipam.Refuse("HTTPNotFound", fault.NotFound, "The resource could not be found.")
	}
	return nil
}

// Routers lists the project's, for an admin all.
func (r *Repository) Routers(ctx context.Context, f models.OwnedFilter) ([]models.Router, error) {
	if err := r.routed(); err != nil {
		return nil, err
	}
	if !r.owned(&f) {
		return nil, nil
	}
	found, err := r.store.ListRouters(ctx, f)
	return found, markerOf(err, f.Marker)
}

// owned narrows a filter to what the caller may see; false is nothing.
func (r *Repository) owned(f *models.OwnedFilter) bool {
	if r.caller.Admin() {
		return true
	}
	f.ProjectID = r.caller.ProjectID
	return f.ProjectID != "" // without a project the filter would select everybody's
}

// Router is one of those.
func (r *Repository) Router(ctx context.Context, id string) (models.Router, error) {
	if err := r.routed(); err != nil {
		return models.Router{}, err
	}
	found, err := r.store.Router(ctx, id)
	if err == nil && !r.caller.Owns(found.ProjectID) {
		return models.Router{}, ipam.Absent("Router", id)
	}
	return found, err
}

// CreateRouters makes routers, all or none.
func (r *Repository) CreateRouters(ctx context.Context, asked ...NewRouter) ([]models.Router, error) {
	if err := r.routed(); err != nil {
		return nil, err
	}
	if err := r.May("create_router"); err != nil {
		return nil, err
	}
	drafts := make([]models.Router, len(asked))
	for i, in := range asked {
		var err error
		if in.ProjectID, err = r.ownerOf(in.ProjectID, "create_router:tenant_id"); err != nil {
			return nil, err
		}
		in.EnableSNAT = true
		out, err := r.leads(ctx, in.Out)
		if err != nil {
			return nil, err
		}
		if err := r.route(&in, out, "create_router"); err != nil {
			return nil, err
		}
		drafts[i] = in.Router
	}
	made, err := r.store.CreateRouters(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d routers: %w", len(asked), err)
	}
	return made, nil
}

// UpdateRouter changes a router of the caller's.
func (r *Repository) UpdateRouter(ctx context.Context, id string, change func(*NewRouter)) (models.Router, error) {
	is, err := r.mayRoute(ctx, id, "update_router")
	if err != nil {
		return models.Router{}, err
	}
	// What is asked of the gateway does not follow from what the router is, so the network is found before the router is held.
	asked := NewRouter{Router: is}
	change(&asked)
	out, err := r.leads(ctx, asked.Out)
	if err != nil {
		return models.Router{}, err
	}
	return r.store.UpdateRouter(ctx, id, func(n *models.Router) error {
		in := NewRouter{Router: *n}
		change(&in)
		if err := r.route(&in, out, "update_router"); err != nil {
			return err
		}
		*n = in.Router
		return nil
	})
}

// mayRoute finds a router to change; it refuses one that is not the caller's.
func (r *Repository) mayRoute(ctx context.Context, id, rule string) (models.Router, error) {
	if err := r.routed(); err != nil {
		return models.Router{}, err
	}
	if err := r.May(rule); err != nil {
		return models.Router{}, err
	}
	return r.Router(ctx, id)
}

// leads is the network that a gateway is asked for on.
func (r *Repository) leads(ctx context.Context, asked *NewGateway) (models.Network, error) {
	if asked == nil || asked.NetworkID == "" {
		return models.Network{}, nil
	}
	return r.Network(ctx, asked.NetworkID)
}

// maxRoutes is Neutron's default (max_routes).
const maxRoutes = 30

// route checks what is asked of a router, n being the network that it is to lead out by, and puts it into its fields. Which address it has outside, and that nothing is translated, is for admins.
func (r *Repository) route(in *NewRouter, n models.Network, rule string) (err error) {
	if in.Routes, err = ipam.Routes("routes", "hostroute", in.Routes); err != nil {
		return err
	}
	for _, route := range in.Routes {
		if strings.Contains(route.Destination, ":") != strings.Contains(route.NextHop, ":") {
			return ipam.BadInput("route '%s via %s' is of two IP versions", route.Destination, route.NextHop)
		}
	}
	if len(in.Routes) > maxRoutes {
		return ipam.Refuse("RoutesExhausted", fault.Invalid,
			"Unable to complete operation for %s. The number of routes exceeds the maximum %d.", in.ID, maxRoutes)
	}
	if in.Out == nil {
		return nil
	}
	has := in.Gateway
	in.Gateway, in.EnableSNAT = nil, true
	if in.Out.NetworkID == "" {
		return nil
	}
	if in.Out.SNAT != nil {
		in.EnableSNAT = *in.Out.SNAT
	}
	switch {
	case !in.EnableSNAT && !r.caller.Admin():
		return forbidden(rule + " and rule:" + rule + ":external_gateway_info:enable_snat")
	case len(in.Out.Addresses) > 0 && !r.caller.Admin() && !r.shown(has, in.Out.Addresses):
		return forbidden(rule + " and rule:" + rule + ":external_gateway_info:external_fixed_ips")
	}
	in.Gateway = &models.Gateway{NetworkID: n.ID}
	in.Gateway.FixedIPs, err = fixedIPs(in.Out.Addresses)
	for _, ip := range in.Gateway.FixedIPs {
		for _, sub := range n.Subnets {
			if sub.GatewayIP != nil && ip.IP == *sub.GatewayIP {
				return models.BadResource("router", "External IP %s is the same as the gateway IP", ip.IP)
			}
		}
	}
	return err
}

// shown says whether addresses are those that a gateway has: what is shown, said again, is no change.
func (r *Repository) shown(has *models.Gateway, said []NewFixedIP) bool {
	return has != nil && !slices.ContainsFunc(said, func(f NewFixedIP) bool {
		return !slices.ContainsFunc(has.FixedIPs, func(ip models.FixedIP) bool { return f.IP != nil && *f.IP == ip.IP })
	})
}

// DeleteRouter removes a router that has no interfaces.
func (r *Repository) DeleteRouter(ctx context.Context, id string) error {
	if _, err := r.mayRoute(ctx, id, "delete_router"); err != nil {
		return err
	}
	return r.store.DeleteRouter(ctx, id)
}

// AddRouterInterface puts a router onto a subnet, or gives it a port; one of the two is "".
func (r *Repository) AddRouterInterface(ctx context.Context, routerID, subnetID, portID string) (models.Interface, error) {
	if _, err := r.mayRoute(ctx, routerID, "add_router_interface"); err != nil {
		return models.Interface{}, err
	}
	switch {
	case subnetID != "" && portID != "":
		return models.Interface{}, models.BadResource("router", "Cannot specify both subnet-id and port-id")
	case portID != "":
		if _, err := r.port(ctx, portID); err != nil {
			return models.Interface{}, err
		}
		return r.store.AddRouterPort(ctx, routerID, portID)
	case subnetID != "":
		sub, err := r.Subnet(ctx, subnetID)
		if err != nil {
			return models.Interface{}, err
		}
		if !r.caller.Owns(sub.ProjectID) {
			return models.Interface{}, models.BadResource("router",
				"Cannot add interface to router because subnet %s is not owned by project making the request", subnetID)
		}
		return r.store.AddRouterSubnet(ctx, routerID, subnetID)
	}
	return models.Interface{}, models.BadResource("router", "Either subnet_id or port_id must be specified")
}

// RemoveRouterInterface takes a router off a port or a subnet; one of the two may be "".
func (r *Repository) RemoveRouterInterface(ctx context.Context, routerID, subnetID, portID string) (models.Interface, error) {
	if _, err := r.mayRoute(ctx, routerID, "remove_router_interface"); err != nil {
		return models.Interface{}, err
	}
	if subnetID == "" && portID == "" {
		return models.Interface{}, models.BadResource("router", "Either subnet_id or port_id must be specified")
	}
	return r.store.RemoveRouterInterface(ctx, routerID, portID, subnetID)
}
