package network

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allRouters = resource[models.Router, networks.NewRouter]{
	one: "router", many: "routers", needsEngine: true,
	attributes: routerTable(),
	id:         func(r models.Router) string { return r.ID },
	draft:      func() networks.NewRouter { return networks.NewRouter{Router: models.Router{AdminStateUp: true}} },
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.Router, error) {
		return r.Routers(ctx, models.OwnedFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
	},
	find:   (*networks.Repository).Router,
	create: (*networks.Repository).CreateRouters,
	update: (*networks.Repository).UpdateRouter,
	remove: (*networks.Repository).DeleteRouter,
	tagged: func(r models.Router) []string { return r.Tags },
	tags:   func(d *networks.NewRouter) *[]string { return &d.Tags },
}

func routerTable() table[models.Router, networks.NewRouter] {
	type (
		r   = models.Router
		d   = networks.NewRouter
		row = attribute[r, d]
	)
	return standard(
		func(o r) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(n *d) told { return told{&n.Name, &n.Description, &n.ProjectID} },

		row{"admin_state_up", post | put | filter | sorts, boolean, func(n *d, v any) { n.AdminStateUp = v.(bool) }, func(o r) any { return o.AdminStateUp }},
		row{"status", filter | sorts, anyText, nil, func(r) any { return "ACTIVE" }},
		row{"external_gateway_info", post | put, gateway, func(n *d, v any) { n.Out = v.(*networks.NewGateway) }, func(o r) any {
			if o.Gateway == nil {
				return nil
			}
			return object{"network_id": o.Gateway.NetworkID, "enable_snat": o.EnableSNAT, "external_fixed_ips": shownAddresses(o.Gateway.FixedIPs)}
		}},
		row{"routes", put, routes, func(n *d, v any) { n.Routes = v.([]ipam.Route) }, func(o r) any { return append([]ipam.Route{}, o.Routes...) }},
	)
}

func shownAddresses(all []models.FixedIP) []object {
	ips := make([]object, len(all))
	for i, ip := range all {
		ips[i] = object{"subnet_id": ip.SubnetID, "ip_address": ip.IP}
	}
	return ips
}

// gateway is a *networks.NewGateway; null and {} ask for none.
func gateway(name string, v any) (any, error) {
	if v == nil {
		return &networks.NewGateway{}, nil
	}
	o, ok := v.(object)
	if !ok {
		return nil, ipam.BadAttribute(name, "'%s' is not a dictionary", rest.Python(v))
	}
	if err := known(o, func(key string) bool {
		return key == "network_id" || key == "enable_snat" || key == "external_fixed_ips"
	}); err != nil {
		return nil, err
	}
	var g networks.NewGateway
	if len(o) == 0 {
		return &g, nil
	}
	of, err := id(name, o["network_id"])
	if err != nil {
		return nil, err
	}
	g.NetworkID, _ = of.(string)
	if said := o["enable_snat"]; said != nil {
		snat, err := boolean(name, said)
		if err != nil {
			return nil, err
		}
		on, _ := snat.(bool)
		g.SNAT = &on
	}
	if said := o["external_fixed_ips"]; said != nil {
		ips, err := fixedIPs(name, said)
		if err != nil {
			return nil, err
		}
		g.Addresses, _ = ips.([]networks.NewFixedIP)
	}
	return &g, nil
}

// mountInterfaces adds what puts routers onto networks.
func (a *API) mountInterfaces(g *echo.Group) {
	expect := rest.Expect(400, 403, 404, 409)
	g.PUT("/routers/:id/add_router_interface", a.routerInterface((*networks.Repository).AddRouterInterface), a.writer("add_router_interface"), expect)
	g.PUT("/routers/:id/remove_router_interface", a.routerInterface((*networks.Repository).RemoveRouterInterface), a.writer("remove_router_interface"), expect)
}

func (a *API) routerInterface(change func(*networks.Repository, context.Context, string, string, string) (models.Interface, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		body, err := rest.Document(c)
		if err != nil {
			return err
		}
		o, err := objectOf(body)
		if err != nil {
			return err
		}
		if err := known(o, func(name string) bool { return name == "subnet_id" || name == "port_id" }); err != nil {
			return err
		}
		of := map[string]string{}
		for name, said := range o {
			v, err := id(name, said)
			if err != nil {
				return err
			}
			of[name], _ = v.(string)
		}
		r, ctx := a.networksFor(c), c.Request().Context()
		done, err := change(r, ctx, c.Param("id"), of["subnet_id"], of["port_id"])
		if err != nil {
			return err
		}
		router, err := r.Router(ctx, c.Param("id"))
		if err != nil {
			return err
		}
		answer := object{
			"id": router.ID, "project_id": router.ProjectID, "tenant_id": router.ProjectID, "port_id": done.PortID, "network_id": done.NetworkID,
			"subnet_ids": append([]string{}, done.SubnetIDs...),
		}
		if n := len(done.SubnetIDs); n > 0 {
			answer["subnet_id"] = done.SubnetIDs[n-1]
		}
		return c.JSON(http.StatusOK, answer)
	}
}
