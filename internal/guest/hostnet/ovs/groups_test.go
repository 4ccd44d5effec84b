package ovs

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/ovn"
)

// echo answers TCP at some ports of a guest with what it is sent.
func (g *guest) echo(t *testing.T, address string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		var listener net.Listener
		require.NoError(t, netspace.Do(g.netns, func(*netlink.Handle) (err error) {
			listener, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", address, port))
			return err
		}))
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					_, _ = io.Copy(conn, conn)
				}()
			}
		}()
	}
}

// dial connects from a guest, within a time in which one whose packets pass does so many times over.
func (g *guest) dial(address string, port int) (conn net.Conn, err error) {
	err = netspace.Do(g.netns, func(*netlink.Handle) (err error) {
		conn, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", address, port), 500*time.Millisecond)
		return err
	})
	return conn, err
}

func (g *guest) reaches(address string, port int) bool {
	conn, err := g.dial(address, port)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func TestGroupsSayWhatReachesAGuest(t *testing.T) {
	ctx := t.Context()
	f := newFabric(t)
	one, two := f.host("hv1", "192.0.2.1"), f.host("hv2", "192.0.2.2")
	engine, err := ovn.Open(ctx, ovn.Options{Endpoints: []string{f.central.Northbound}})
	require.NoError(t, err)
	t.Cleanup(engine.Close)
	require.NoError(t, engine.Lead(ctx, uuid.NewString()))
	apply := func(all ...sdn.Desired) {
		t.Helper()
		require.NoError(t, engine.Apply(ctx, all...))
	}
	number := func(n *int) int {
		if n == nil {
			return 0
		}
		return *n
	}
	group := func(id string, rules ...sdn.Rule) sdn.Desired {
		for i := range rules {
			rules[i].ID = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, rules[i].Egress, rules[i].FromGroup, number(rules[i].First))).String()
		}
		return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindGroup, ID: id}, Group: &sdn.Group{ID: id, Rules: rules}}
	}
	tcp := func(port int) sdn.Rule { return sdn.Rule{Protocol: new(6), First: new(port), Last: new(port)} }
	network, subnet := uuid.NewString(), uuid.NewString()
	placed := func(p hostnet.Port, ip, host string, groups ...string) sdn.Desired {
		return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: p.ID}, Port: &sdn.Port{
			ID: p.ID, NetworkID: network, MAC: p.MAC, Host: host, Filtered: true, Groups: groups,
			Addresses: []sdn.Address{{IP: netip.MustParseAddr(ip), SubnetID: subnet, DHCP: true}},
		}}
	}
	web, clients := uuid.NewString(), uuid.NewString()
	server, client, stranger := aPort(1), aPort(2), aPort(3)
	apply(
		sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindNetwork, ID: network}, Network: &sdn.Network{ID: network, MTU: 1442}},
		sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindSubnet, ID: subnet}, Subnet: &sdn.Subnet{
			ID: subnet, NetworkID: network, MTU: 1442, CIDR: netip.MustParsePrefix("10.0.0.0/24"), DHCP: true,
		}},
		group(web, tcp(22), sdn.Rule{Egress: true}), group(clients, sdn.Rule{Egress: true}),
		placed(server, "10.0.0.11", "hv1", web), placed(client, "10.0.0.12", "hv2", clients), placed(stranger, "10.0.0.13", "hv2"),
	)
	within, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for p, m := range map[hostnet.Port]*machine{server: one, client: two, stranger: two} {
		require.NoError(t, m.ports.Plug(ctx, p))
		require.NoError(t, m.ports.Await(within, p))
	}
	gs, gc, gx := startGuest(t, one, server), startGuest(t, two, client), startGuest(t, two, stranger)
	require.Equal(t, "10.0.0.11 1442", gs.dhcp(t))
	require.Equal(t, "10.0.0.12 1442", gc.dhcp(t))
	require.Equal(t, "10.0.0.13 1442", gx.dhcp(t), "in no group a guest has its address, and nothing else")
	gs.echo(t, "10.0.0.11", 22, 80)
	gc.echo(t, "10.0.0.12", 22)
	opens := func(g *guest, port int) {
		t.Helper()
		require.Eventually(t, func() bool { return g.reaches("10.0.0.11", port) }, time.Minute, 20*time.Millisecond)
	}
	shuts := func(g *guest, port int) {
		t.Helper()
		require.Eventually(t, func() bool { return !g.reaches("10.0.0.11", port) }, time.Minute, 20*time.Millisecond)
	}

	opens(gc, 22)
	require.False(t, gc.reaches("10.0.0.11", 80))
	require.False(t, gs.reaches("10.0.0.12", 22), "who may be reached may not thereby reach, in a group that lets nobody in")
	require.False(t, gx.reaches("10.0.0.11", 22), "in no group a guest sends nothing")

	// A connection that stands is none of a change's that is about something else.
	var conn net.Conn
	require.Eventually(t, func() bool {
		conn, err = gc.dial("10.0.0.11", 22)
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	defer conn.Close()
	talks := func() {
		t.Helper()
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err := conn.Write([]byte("still there"))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, len("still there")))
		require.NoError(t, err)
	}
	talks()
	apply(group(web, tcp(22), tcp(80), sdn.Rule{Egress: true}))
	opens(gc, 80)
	talks()
	apply(group(web, tcp(22), sdn.Rule{Egress: true}))
	shuts(gc, 80)
	talks()

	// The ports of a group, wherever they are, and no others.
	others := uuid.NewString()
	ofClients := tcp(80)
	ofClients.FromGroup = clients
	apply(group(others, sdn.Rule{Egress: true}), placed(stranger, "10.0.0.13", "hv2", others), group(web, tcp(22), ofClients, sdn.Rule{Egress: true}))
	opens(gx, 22)
	opens(gc, 80)
	require.False(t, gx.reaches("10.0.0.11", 80))
	apply(placed(stranger, "10.0.0.13", "hv2", others, clients))
	opens(gx, 80)
	apply(placed(client, "10.0.0.12", "hv2", others))
	shuts(gc, 80)
	talks()

	// Who may ask the metadata service is answered, whether connections are tracked or not.
	service := sdn.Port{ID: ids.MetadataPort(network), NetworkID: network, MAC: ids.MetadataMAC, Unguarded: true, Service: true, Addresses: []sdn.Address{
		{IP: netip.MustParseAddr(ids.MetadataV4)},
	}}
	untracked := group(uuid.NewString(), sdn.Rule{Egress: true})
	untracked.Group.Stateless = true
	apply(sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: service.ID}, Port: &service}, untracked)
	meta := &guest{netns: namespace(t)}
	f.vsctl(two, "add-port", "br-int", "meta", "--", "set", "Interface", "meta", "type=internal", "external_ids:iface-id="+service.ID)
	require.Eventually(t, func() bool {
		return exec.Command("ip", "-n", filepath.Base(two.netns), "link", "set", "meta", "netns", filepath.Base(meta.netns)).Run() == nil
	}, time.Minute, 20*time.Millisecond)
	meta.ip(t, "link", "set", "meta", "address", service.MAC, "mtu", "1442", "up")
	meta.ip(t, "address", "add", ids.MetadataV4+"/32", "dev", "meta")
	meta.ip(t, "route", "add", "10.0.0.0/24", "dev", "meta")
	meta.echo(t, ids.MetadataV4, 80, 81)
	for _, in := range [][]string{{others}, {untracked.ID}, {untracked.ID, others}} {
		apply(placed(stranger, "10.0.0.13", "hv2", in...))
		f.northbound("--wait=hv", "sync")
		require.Eventually(t, func() bool { return gx.reaches(ids.MetadataV4, 80) }, time.Minute, 20*time.Millisecond, "%v", in)
	}
	require.False(t, gx.reaches(ids.MetadataV4, 81), "and nothing else is")
}
