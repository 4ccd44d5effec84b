package network

import (
	"context"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allFloatingIPs = resource[models.FloatingIP, models.FloatingIP]{
	one: "floatingip", many: "floatingips", needsEngine: true,
	attributes: floatingTable(),
	id:         func(f models.FloatingIP) string { return f.ID },
	draft:      func() models.FloatingIP { return models.FloatingIP{} },
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.FloatingIP, error) {
		return r.FloatingIPs(ctx, models.OwnedFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
	},
	find:   (*networks.Repository).FloatingIP,
	create: (*networks.Repository).CreateFloatingIPs,
	update: (*networks.Repository).UpdateFloatingIP,
	remove: (*networks.Repository).DeleteFloatingIP,
	tagged: func(f models.FloatingIP) []string { return f.Tags },
	tags:   func(d *models.FloatingIP) *[]string { return &d.Tags },
}

// floatingTable has no name, as Neutron's.
func floatingTable() table[models.FloatingIP, models.FloatingIP] {
	type (
		f   = models.FloatingIP
		row = attribute[f, f]
	)
	orAbsent := func(s *string) any {
		if s == nil {
			return nil
		}
		return *s
	}
	all := standard(
		func(o f) facts {
			return facts{o.ID, "", o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(d *f) told { return told{new(string), &d.Description, &d.ProjectID} },

		row{"floating_network_id", post | required | filter | sorts, id, func(d *f, v any) { d.NetworkID = v.(string) }, func(o f) any { return o.NetworkID }},
		row{"subnet_id", post, orNone(id), func(d *f, v any) {
			if s := v.(*string); s != nil {
				d.Subnet = *s
			}
		}, nil},
		row{"floating_ip_address", post | filter | sorts, orNone(address), func(d *f, v any) {
			if s := v.(*string); s != nil {
				d.IP = *s
			}
		}, func(o f) any { return o.IP }},
		// Another port is another address, unless that is said too.
		row{"port_id", post | put | filter | sorts, orNone(id), func(d *f, v any) { d.PortID, d.FixedIP = v.(*string), nil }, func(o f) any { return orAbsent(o.PortID) }},
		row{"fixed_ip_address", post | put | filter | sorts, orNone(address), func(d *f, v any) { d.FixedIP = v.(*string) }, func(o f) any { return orAbsent(o.FixedIP) }},
		row{"router_id", filter | sorts, anyText, nil, func(o f) any { return orAbsent(o.RouterID) }},
		row{"status", filter | sorts, anyText, nil, func(o f) any { return o.Status() }},
	)
	rows := table[f, f]{}
	for _, a := range all {
		if a.name != "name" {
			rows = append(rows, a)
		}
	}
	return rows
}
