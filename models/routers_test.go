package models

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// ways is a router between a network of the world's and an external one, with a server's port and an address for it.
type ways struct {
	*world
	external, inner Network
	out, in         Subnet
	router          Router
	iface           Interface
	port            Port
	floating        FloatingIP
}

func newWays(t *testing.T) ways {
	t.Helper()
	ctx := context.Background()
	w := ways{world: newWorld(t)}
	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	var err error
	w.external, err = w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "public", PhysicalNetwork: new("public"), VLAN: new(7)})
	require.NoError(t, err)
	w.out, err = w.CreateSubnet(ctx, Subnet{NetworkID: w.external.ID, ProjectID: "p1", CIDR: "198.51.100.0/24", GatewayIP: new("198.51.100.1")})
	require.NoError(t, err)
	w.inner, err = w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "inner", MTU: 1442})
	require.NoError(t, err)
	w.in, err = w.CreateSubnet(ctx, Subnet{NetworkID: w.inner.ID, ProjectID: "p1", CIDR: "192.0.2.0/24", GatewayIP: new("192.0.2.1"), EnableDHCP: true})
	require.NoError(t, err)
	made, err := w.CreateRouters(ctx, []Router{{ProjectID: "p1", Name: "r", AdminStateUp: true, EnableSNAT: true, Gateway: &Gateway{NetworkID: w.external.ID}}}, nil)
	require.NoError(t, err)
	w.router = made[0]
	w.iface, err = w.AddRouterSubnet(ctx, w.router.ID, w.in.ID)
	require.NoError(t, err)
	w.port, err = w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.inner.ID})
	require.NoError(t, err)
	all, err := w.CreateFloatingIPs(ctx, []FloatingIP{{ProjectID: "p1", NetworkID: w.external.ID, PortID: &w.port.ID}}, nil)
	require.NoError(t, err)
	w.floating = all[0]
	return w
}

func (w ways) desired(t *testing.T, kind sdn.Kind, id string) sdn.Desired {
	t.Helper()
	all, err := w.NetworkDesired(context.Background(), sdn.Ref{Kind: kind, ID: id})
	require.NoError(t, err)
	return all[0]
}

func TestARoutersDesiredStateIsWhatItsPortsSay(t *testing.T) {
	ctx := context.Background()
	w := newWays(t)
	require.Equal(t, "198.51.100.2", w.router.Gateway.FixedIPs[0].IP)
	require.Equal(t, "198.51.100.3", w.floating.IP)
	require.Equal(t, w.router.ID, *w.floating.RouterID)

	require.Equal(t, &sdn.Router{
		ID: w.router.ID, Routes: []sdn.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Through: netip.MustParseAddr("198.51.100.1")}},
		Sources: []sdn.Source{{From: netip.MustParsePrefix("192.0.2.0/24"), To: netip.MustParseAddr("198.51.100.2")}},
	}, w.desired(t, sdn.KindRouter, w.router.ID).Router)
	require.Equal(t, &sdn.Physical{Name: "public", VLAN: 7}, w.desired(t, sdn.KindNetwork, w.external.ID).Network.Physical)
	inner := w.desired(t, sdn.KindPort, w.iface.PortID).Port
	require.Equal(t, &sdn.RouterPort{RouterID: w.router.ID, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}, inner.Router)
	require.False(t, inner.Addresses[0].DHCP, "routers are told nothing")
	gateway := func() *sdn.RouterPort { return w.desired(t, sdn.KindPort, w.router.Gateway.port).Port.Router }
	require.True(t, gateway().External)
	require.Empty(t, gateway().Gateways)
	floating := func() *sdn.FloatingIP { return w.desired(t, sdn.KindFloatingIP, w.floating.ID).FloatingIP }
	require.Equal(t, &sdn.FloatingIP{
		ID: w.floating.ID, RouterID: w.router.ID, Outside: netip.MustParseAddr("198.51.100.3"), Inside: netip.MustParseAddr(w.port.FixedIPs[0].IP),
	}, floating())
	var own Port
	require.NoError(t, w.db.Where("floating_ip_id = ?", w.floating.ID).Take(&own).Error)
	require.False(t, w.desired(t, sdn.KindPort, own.ID).Stands(), "nothing is plugged there")

	// Hosts say that they lead out.
	h1, h2 := w.host(t, "h1", 8, 8192, 100), w.host(t, "h2", 8, 8192, 100)
	w.settle(t)
	says := func(h Host, m *hostapi.Machine) {
		require.NoError(t, w.HeartbeatHost(ctx, h.ID, HostHeartbeat{Ready: true, Machine: m}, now()))
	}
	says(h1, &hostapi.Machine{Outside: &hostapi.Outside{Networks: []string{"public"}}})
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindRouter, ID: w.router.ID})
	w.settle(t)
	says(h1, &hostapi.Machine{})
	require.Empty(t, w.changes(t), "what it does not tell stays")
	says(h2, &hostapi.Machine{Outside: &hostapi.Outside{Networks: []string{"dc"}}})
	require.Empty(t, w.changes(t), "no router leads there")
	says(h2, &hostapi.Machine{Outside: &hostapi.Outside{Networks: []string{"dc", "public"}}})
	require.Equal(t, []string{"h1", "h2"}, gateway().Gateways)
	require.NoError(t, w.exec(ctx, `UPDATE ports SET host_id = $1 WHERE id = $2`, h2.ID, w.port.ID))
	require.Equal(t, []string{w.port.ID, own.MAC}, []string{floating().PortID, floating().MAC}, "where its port is")
	says(h1, &hostapi.Machine{Outside: &hostapi.Outside{Networks: []string{"public"}, Gateway: true}})
	require.Equal(t, []string{"h1"}, gateway().Gateways, "set apart")
	known, err := w.PhysicalNetworks(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"dc", "public"}, known)
	around, err := w.NetworkDesiredAround(ctx, sdn.Ref{Kind: sdn.KindRouter, ID: w.router.ID}, sdn.Ref{Kind: sdn.KindSubnet, ID: w.out.ID},
		sdn.Ref{Kind: sdn.KindPort, ID: w.port.ID})
	require.NoError(t, err)
	require.Len(t, around[0], 4, "its ports, and the floating IP")
	require.Len(t, around[1], 3, "the router and its gateway")
	require.Len(t, around[2], 2)

	w.settle(t)
	_, err = w.UpdateRouter(ctx, w.router.ID, func(r *Router) error { r.EnableSNAT = false; return nil })
	require.NoError(t, err)
	require.Empty(t, w.desired(t, sdn.KindRouter, w.router.ID).Router.Sources)
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindRouter, ID: w.router.ID})
}

func TestAFloatingIPLetsGoWithItsAddress(t *testing.T) {
	ctx := context.Background()
	w := newWays(t)
	stands := func() *string {
		f, err := w.FloatingIP(ctx, w.floating.ID)
		require.NoError(t, err)
		require.Equal(t, f.PortID == nil, f.RouterID == nil && f.FixedIP == nil)
		return f.PortID
	}
	require.NotNil(t, stands())
	p, err := w.Port(ctx, w.port.ID)
	require.NoError(t, err)
	require.Equal(t, "DOWN", p.Status())
	listed, err := w.ListPorts(ctx, PortFilter{IDs: []string{w.port.ID}})
	require.NoError(t, err)
	require.Equal(t, []Floats{{PortID: w.port.ID, FixedIP: w.port.FixedIPs[0].IP, IP: w.floating.IP}}, listed[0].Floating)

	_, err = w.CreateFloatingIPs(ctx, []FloatingIP{{ProjectID: "p1", NetworkID: w.external.ID, PortID: &w.port.ID}}, nil)
	requireRefused(t, err, "FloatingIPPortAlreadyAssociated")
	_, err = w.RemoveRouterInterface(ctx, w.router.ID, "", w.in.ID)
	requireRefused(t, err, "RouterInterfaceInUseByFloatingIP")
	_, err = w.UpdateRouter(ctx, w.router.ID, func(r *Router) error { r.Gateway = nil; return nil })
	requireRefused(t, err, "RouterExternalGatewayInUseByFloatingIp")
	requireRefused(t, w.DeleteRouter(ctx, w.router.ID), "RouterInUse")
	requireRefused(t, w.DeletePort(ctx, w.iface.PortID), "ServicePortInUse")
	requireRefused(t, w.DeleteNetwork(ctx, w.external.ID), "NetworkInUse")

	w.settle(t)
	require.NoError(t, w.DeletePort(ctx, w.port.ID))
	require.Nil(t, stands())
	require.Contains(t, w.changes(t), sdn.Ref{Kind: sdn.KindFloatingIP, ID: w.floating.ID})
	require.False(t, w.desired(t, sdn.KindFloatingIP, w.floating.ID).Stands())

	_, err = w.RemoveRouterInterface(ctx, w.router.ID, "", w.in.ID)
	require.NoError(t, err)
	require.NoError(t, w.DeleteFloatingIP(ctx, w.floating.ID))
	require.NoError(t, w.DeleteRouter(ctx, w.router.ID))
	require.NoError(t, w.DeleteNetwork(ctx, w.external.ID))
	require.NoError(t, w.DeleteNetwork(ctx, w.inner.ID))
	var left int64
	require.NoError(t, w.db.Model(&Port{}).Count(&left).Error)
	require.Zero(t, left)
}

func TestAPurgeTakesARouterWithAllThatItServes(t *testing.T) {
	ctx := context.Background()
	w := newWays(t)
	has, err := w.Belongings(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, []string{w.router.ID}, has.Routers)
	require.Equal(t, []string{w.floating.ID}, has.FloatingIPs)
	require.Equal(t, []string{w.port.ID}, has.Ports, "a router's go with it")
	require.NoError(t, w.PurgeRouter(ctx, w.router.ID))
	f, err := w.FloatingIP(ctx, w.floating.ID)
	require.NoError(t, err)
	require.Nil(t, f.PortID)
}

func TestSixtyFourFloatingIPsAtOnceAreSixtyFourAddresses(t *testing.T) {
	ctx := context.Background()
	w := newWays(t)
	got := make(chan string)
	for range 64 {
		go func() {
			made, err := w.CreateFloatingIPs(ctx, []FloatingIP{{ProjectID: "p1", NetworkID: w.external.ID}}, NetworkQuota{QuotaFloatingIPs: 50})
			if err != nil {
				got <- ""
				return
			}
			got <- made[0].IP
		}()
	}
	ips := map[string]bool{}
	for range 64 {
		if ip := <-got; ip != "" {
			require.False(t, ips[ip], ip)
			ips[ip] = true
		}
	}
	require.Len(t, ips, 49, "one it had")
	used, err := w.NetworkUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, 50, used[QuotaFloatingIPs])
	require.Equal(t, 2, used[QuotaPorts], "what is outside is no project's")
}

func requireRefused(t *testing.T, err error, exception string) {
	t.Helper()
	var r *ipam.Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, exception, r.Exception)
}
