package models

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

func TestPortsOfBeforeGetTheirDefaultGroup(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "n"})
	require.NoError(t, err)
	before, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID})
	require.NoError(t, err)
	usual := sdn.Ref{Kind: sdn.KindGroup, ID: ids.SecurityGroup("p1")}
	refs, err := w.NetworkRefs(ctx, sdn.KindGroup, "", 10)
	require.NoError(t, err)
	require.Empty(t, refs, "it means nothing where no engine is")
	require.Equal(t, []GroupRef{{usual.ID, DefaultGroup}}, before.SecurityGroups())

	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	var made sync.WaitGroup
	for range 4 {
		made.Go(func() { _ = w.EnsureDefaultGroups(ctx) })
	}
	made.Wait()
	refs, err = w.NetworkRefs(ctx, sdn.KindGroup, "", 10)
	require.NoError(t, err)
	require.Equal(t, []sdn.Ref{usual}, refs)
	g, err := w.SecurityGroup(ctx, usual.ID)
	require.NoError(t, err)
	require.Len(t, g.Rules, 4)

	// With an engine a port brings its project's with it.
	_, err = w.EnsureProject(ctx, Project{ID: "p2", Name: "p2", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	other, err := w.CreateNetwork(ctx, Network{ProjectID: "p2", Name: "n"})
	require.NoError(t, err)
	_, err = w.CreatePort(ctx, Port{ProjectID: "p2", NetworkID: other.ID})
	require.NoError(t, err)
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindGroup, ID: ids.SecurityGroup("p2")})

	// It goes with its project, which another one holds up.
	more, err := w.CreateSecurityGroups(ctx, []SecurityGroup{{ProjectID: "p2", Name: "web", Stateful: true}}, nil)
	require.NoError(t, err)
	ports, err := w.ListPorts(ctx, PortFilter{ProjectID: "p2"})
	require.NoError(t, err)
	require.NoError(t, w.DeletePort(ctx, ports[0].ID))
	require.NoError(t, w.DeleteNetwork(ctx, other.ID))
	require.ErrorContains(t, w.DeleteProject(ctx, "p2"), "owns 1 security group")
	has, err := w.Belongings(ctx, "p2")
	require.NoError(t, err)
	require.Equal(t, []string{more[0].ID}, has.SecurityGroups)
	require.NoError(t, w.DeleteSecurityGroup(ctx, more[0].ID))
	require.NoError(t, w.DeleteProject(ctx, "p2"))
}

func TestAGroupIsReadAsTheEngineShallHaveIt(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	made, err := w.CreateSecurityGroups(ctx, []SecurityGroup{{ProjectID: "p1", Name: "web"}, {ProjectID: "p1", Name: "db", Stateful: true}}, nil)
	require.NoError(t, err)
	web, db := made[0], made[1]
	ref := sdn.Ref{Kind: sdn.KindGroup, ID: web.ID}
	w.settle(t)
	rules, err := w.CreateSecurityGroupRules(ctx, []SecurityGroupRule{
		{ProjectID: "p1", SecurityGroupID: web.ID, Direction: Ingress, Ethertype: IPv4, Protocol: new("tcp"), PortRangeMin: new(22), PortRangeMax: new(23), RemoteIPPrefix: new("10.0.0.0/8")},
		{ProjectID: "p1", SecurityGroupID: web.ID, Direction: Ingress, Ethertype: IPv6, Protocol: new("58"), RemoteGroupID: &db.ID},
	}, nil)
	require.NoError(t, err)
	require.Contains(t, w.changes(t), ref)
	require.Len(t, w.changes(t), 1, "the group alone")
	got, err := w.NetworkDesired(ctx, ref, sdn.Ref{Kind: sdn.KindGroup, ID: "none"})
	require.NoError(t, err)
	require.Equal(t, sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindGroup, ID: "none"}}, got[1])
	require.True(t, got[0].Group.Stateless)
	require.ElementsMatch(t, []sdn.Rule{
		{ID: web.Rules[0].ID, Egress: true}, {ID: web.Rules[1].ID, Egress: true, IPv6: true},
		{ID: rules[0].ID, Protocol: new(6), First: new(22), Last: new(23), From: netip.MustParsePrefix("10.0.0.0/8")},
		{ID: rules[1].ID, IPv6: true, Protocol: new(58), FromGroup: db.ID},
	}, got[0].Group.Rules)

	n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "n"})
	require.NoError(t, err)
	p, err := first(w.CreatePorts(ctx, []Port{{
		ProjectID: "p1", NetworkID: n.ID, AdminStateUp: true, PortSecurity: true, FurtherGroups: []GroupRef{{ID: web.ID}},
	}}, nil))
	require.NoError(t, err)
	require.Equal(t, []GroupRef{{web.ID, "web"}}, p.SecurityGroups())
	w.settle(t)
	_, err = w.UpdateSecurityGroup(ctx, web.ID, func(g *SecurityGroup) error { g.Description = "words"; return nil })
	require.NoError(t, err)
	require.Empty(t, w.changes(t))
	_, err = w.UpdatePort(ctx, p.ID, func(p *Port) error { p.FurtherGroups = append(p.FurtherGroups, GroupRef{ID: db.ID}); return nil })
	require.NoError(t, err)
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindPort, ID: p.ID})
	require.Equal(t, fault.Conflict, fault.KindOf(w.DeleteSecurityGroup(ctx, db.ID)))
	_, err = w.UpdatePort(ctx, p.ID, func(p *Port) error { p.FurtherGroups = []GroupRef{{ID: "gone"}}; return nil })
	require.ErrorContains(t, err, "Security group gone does not exist")
	_, err = w.CreatePorts(ctx, []Port{{ProjectID: "p1", NetworkID: n.ID, PortSecurity: true, FurtherGroups: []GroupRef{{ID: "gone"}}}}, nil)
	require.ErrorContains(t, err, "Security group gone does not exist")

	require.NoError(t, w.DeletePort(ctx, p.ID))
	w.settle(t)
	require.NoError(t, w.DeleteSecurityGroup(ctx, db.ID))
	require.Contains(t, w.changes(t), ref, "a rule of it named the group that went")
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindGroup, ID: db.ID})
}
