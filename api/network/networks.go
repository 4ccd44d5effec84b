package network

import (
	"context"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// seen is a network as one caller sees it.
type seen struct {
	models.Network
	outside bool // also what it is part of
}

// seeing are networks as a caller sees them.
func seeing[T any](read func(*networks.Repository, context.Context, T) (models.Network, error)) func(*networks.Repository, context.Context, T) (seen, error) {
	return func(r *networks.Repository, ctx context.Context, of T) (seen, error) {
		n, err := read(r, ctx, of)
		return seen{n, r.MaySeeOutside()}, err
	}
}

func seeAll(r *networks.Repository, all []models.Network, err error) ([]seen, error) {
	found := make([]seen, len(all))
	for i, n := range all {
		found[i] = seen{n, r.MaySeeOutside()}
	}
	return found, err
}

var allNetworks = resource[seen, networks.NewNetwork]{
	one: "network", many: "networks",
	attributes: networkTable(),
	id:         func(n seen) string { return n.ID },
	draft:      networks.AnyNetwork,
	list: func(ctx context.Context, r *networks.Repository, q query) ([]seen, error) {
		all, err := r.Networks(ctx, models.NetworkFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
		return seeAll(r, all, err)
	},
	find: seeing((*networks.Repository).Network),
	create: func(r *networks.Repository, ctx context.Context, drafts ...networks.NewNetwork) ([]seen, error) {
		all, err := r.CreateNetworks(ctx, drafts...)
		return seeAll(r, all, err)
	},
	update: func(r *networks.Repository, ctx context.Context, id string, change func(*networks.NewNetwork)) (seen, error) {
		n, err := r.UpdateNetwork(ctx, id, change)
		return seen{n, r.MaySeeOutside()}, err
	},
	remove: (*networks.Repository).DeleteNetwork,
	tagged: func(n seen) []string { return n.Tags },
	tags:   func(n *networks.NewNetwork) *[]string { return &n.Tags },
}

func networkTable() table[seen, networks.NewNetwork] {
	type (
		n   = seen
		d   = networks.NewNetwork
		row = attribute[n, d]
	)
	// Only admins are told what a network is part of.
	outside := func(show func(models.Network) any) func(n) any {
		return func(o n) any {
			if !o.outside {
				return hidden{}
			}
			return show(o.Network)
		}
	}
	return standard(
		func(o n) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(s *d) told { return told{&s.Name, &s.Description, &s.ProjectID} },

		row{"admin_state_up", post | put | filter | sorts, boolean, func(s *d, v any) { s.AdminStateUp = v.(bool) }, func(o n) any { return o.AdminStateUp }},
		row{"status", filter | sorts, anyText, nil, func(n) any { return "ACTIVE" }},
		row{"shared", post | put | filter, boolean, func(s *d, v any) { s.Shared = v.(bool) }, func(o n) any { return o.Shared }},
		row{"mtu", post | put | filter | sorts, integer, func(s *d, v any) { s.MTU = v.(int) }, func(o n) any { return o.MTU }},
		row{"subnets", 0, nil, nil, func(o n) any {
			ids := make([]string, len(o.Subnets))
			for i, s := range o.Subnets {
				ids[i] = s.ID
			}
			return ids
		}},
		row{"port_security_enabled", post | put | filter, boolean, func(s *d, v any) { s.PortSecurity = v.(bool) }, func(o n) any { return o.PortSecurity }},
		row{"router:external", post | put | filter, boolean, func(s *d, v any) { s.Out.External = new(v.(bool)) }, func(o n) any { return o.Network.External() }},
		row{"provider:network_type", post | filter, orNone(text(32)), func(s *d, v any) { s.Out.Type = v.(*string) },
			outside(func(o models.Network) any { return o.Type() })},
		row{"provider:physical_network", post | filter, orNone(text(64)), func(s *d, v any) { s.Out.Physical = v.(*string) },
			outside(func(o models.Network) any { return o.PhysicalNetwork })},
		row{"provider:segmentation_id", post | filter, orNoNumber, func(s *d, v any) { s.Out.Segment = v.(*int) },
			outside(func(o models.Network) any { return o.VLAN })},
		row{"is_default", post | put | filter, never, nil, func(n) any { return false }},
		row{"availability_zone_hints", post, nothing, nil, func(n) any { return []string{} }},
		row{"availability_zones", 0, nil, nil, func(n) any { return []string{} }},
	)
}

// orNoNumber is a *int: null, or a whole number.
func orNoNumber(name string, v any) (any, error) {
	if v == nil {
		return (*int)(nil), nil
	}
	got, err := integer(name, v)
	if err != nil {
		return nil, err
	}
	n, _ := got.(int)
	if _, filters := v.(filtered); filters {
		return n, nil
	}
	return &n, nil
}
