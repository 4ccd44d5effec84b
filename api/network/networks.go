package network

import (
	"context"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allNetworks = resource[models.Network, models.Network]{
	one: "network", many: "networks",
	attributes: networkTable(),
	id:         func(n models.Network) string { return n.ID },
	draft:      networks.NewNetwork,
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.Network, error) {
		return r.Networks(ctx, models.NetworkFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
	},
	find:   (*networks.Repository).Network,
	create: (*networks.Repository).CreateNetworks,
	update: (*networks.Repository).UpdateNetwork,
	remove: (*networks.Repository).DeleteNetwork,
	tagged: func(n models.Network) []string { return n.Tags },
	tags:   func(n *models.Network) *[]string { return &n.Tags },
}

func networkTable() table[models.Network, models.Network] {
	type n = models.Network
	return standard(
		func(o n) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(d *n) told { return told{&d.Name, &d.Description, &d.ProjectID} },

		attribute[n, n]{"admin_state_up", post | put | filter | sorts, boolean, func(d *n, v any) { d.AdminStateUp = v.(bool) }, func(o n) any { return o.AdminStateUp }},
		attribute[n, n]{"status", filter | sorts, anyText, nil, func(n) any { return "ACTIVE" }},
		attribute[n, n]{"shared", post | put | filter, boolean, func(d *n, v any) { d.Shared = v.(bool) }, func(o n) any { return o.Shared }},
		attribute[n, n]{"mtu", post | put | filter | sorts, integer, func(d *n, v any) { d.MTU = v.(int) }, func(o n) any { return o.MTU }},
		attribute[n, n]{"subnets", 0, nil, nil, func(o n) any {
			ids := make([]string, len(o.Subnets))
			for i, s := range o.Subnets {
				ids[i] = s.ID
			}
			return ids
		}},
		attribute[n, n]{"port_security_enabled", post | put | filter, boolean, func(d *n, v any) { d.PortSecurity = v.(bool) }, func(o n) any { return o.PortSecurity }},
		attribute[n, n]{"router:external", post | put | filter, never, nil, func(n) any { return false }},
		attribute[n, n]{"is_default", post | put | filter, never, nil, func(n) any { return false }},
		attribute[n, n]{"availability_zone_hints", post, nothing, nil, func(n) any { return []string{} }},
		attribute[n, n]{"availability_zones", 0, nil, nil, func(n) any { return []string{} }},
	)
}
