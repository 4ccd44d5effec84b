package sdntest

import (
	"net/netip"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

// NewGroup makes up a group with a rule of each kind.
func NewGroup() sdn.Group {
	g := sdn.Group{ID: uuid.NewString()}
	for _, r := range []sdn.Rule{
		{},
		{Egress: true, IPv6: true},
		{Protocol: new(6), First: new(22), Last: new(22), From: netip.MustParsePrefix("198.51.100.0/24")},
		{Protocol: new(17), First: new(5000), Last: new(5010), FromGroup: g.ID},
		{Egress: true, IPv6: true, Protocol: new(58), First: new(128), Last: new(0), From: netip.MustParsePrefix("2001:db8::/64")},
		{Protocol: new(1), First: new(8)},
		{Egress: true, Protocol: new(47), From: netip.MustParsePrefix("0.0.0.0/0")},
	} {
		r.ID = uuid.NewString()
		g.Rules = append(g.Rules, r)
	}
	return g
}
