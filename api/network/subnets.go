package network

import (
	"context"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allSubnets = resource[models.Subnet, networks.NewSubnet]{
	one: "subnet", many: "subnets",
	attributes: subnetTable(),
	id:         func(n models.Subnet) string { return n.ID },
	draft: func() networks.NewSubnet {
		return networks.NewSubnet{Subnet: models.Subnet{EnableDHCP: true}}
	},
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.Subnet, error) {
		return r.Subnets(ctx, models.SubnetFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
	},
	find:   (*networks.Repository).Subnet,
	create: (*networks.Repository).CreateSubnets,
	update: (*networks.Repository).UpdateSubnet,
	remove: (*networks.Repository).DeleteSubnet,
	tagged: func(n models.Subnet) []string { return n.Tags },
	tags:   func(d *networks.NewSubnet) *[]string { return &d.Tags },
}

func subnetTable() table[models.Subnet, networks.NewSubnet] {
	type (
		n   = models.Subnet
		d   = networks.NewSubnet
		row = attribute[n, d]
	)
	mode := orNone(oneOf(anyText, "['dhcpv6-stateful', 'dhcpv6-stateless', 'slaac']", "dhcpv6-stateful", "dhcpv6-stateless", "slaac"))
	return standard(
		func(o n) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(s *d) told { return told{&s.Name, &s.Description, &s.ProjectID} },

		row{"network_id", post | required | filter | sorts, id, func(s *d, v any) { s.NetworkID = v.(string) }, func(o n) any { return o.NetworkID }},
		row{"ip_version", post | required | filter | sorts, oneOf(integer, "[4, 6]", 4, 6), func(s *d, v any) { s.IPVersion = v.(int) },
			func(o n) any { return versionOf(o.CIDR) }},
		row{"cidr", post | required | filter | sorts, cidr, func(s *d, v any) { s.CIDR = v.(string) }, func(o n) any { return o.CIDR }},
		row{"gateway_ip", post | put | filter | sorts, orNone(address), func(s *d, v any) { s.Gateway = v.(*string); s.NoGateway = s.Gateway == nil },
			func(o n) any { return o.GatewayIP }},
		row{"allocation_pools", post | put, pools, func(s *d, v any) { s.Pools = v.([]ipam.Pool) }, func(o n) any { return append([]ipam.Pool{}, o.Pools...) }},
		row{"dns_nameservers", post | put, nameservers, func(s *d, v any) { s.DNSServers = v.([]string) }, func(o n) any { return append([]string{}, o.DNSServers...) }},
		row{"host_routes", post | put, routes, func(s *d, v any) { s.HostRoutes = v.([]ipam.Route) }, func(o n) any { return append([]ipam.Route{}, o.HostRoutes...) }},
		row{"enable_dhcp", post | put | filter | sorts, boolean, func(s *d, v any) { s.EnableDHCP = v.(bool) }, func(o n) any { return o.EnableDHCP }},
		row{"ipv6_ra_mode", post | filter | sorts, mode, func(s *d, v any) { s.IPv6RAMode = v.(*string) }, func(o n) any { return o.IPv6RAMode }},
		row{"ipv6_address_mode", post | filter | sorts, mode, func(s *d, v any) { s.IPv6AddressMode = v.(*string) }, func(o n) any { return o.IPv6AddressMode }},
		row{"shared", filter, boolean, nil, nil},
		row{"subnetpool_id", post, nothing, nil, func(n) any { return nil }},
		row{"segment_id", post, nothing, nil, func(n) any { return nil }},
		row{"service_types", post | put, nothing, nil, func(n) any { return []string{} }},
	)
}
