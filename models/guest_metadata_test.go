package models

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// housed is a server that is being built on a host.
func (w *world) housed(t *testing.T, name string) Server {
	t.Helper()
	return w.read(t, w.placed(t, w.host(t, "hv-"+name, 8, 8192, 100)).ID)
}

func TestAGuestIsTheServerWhoseOwnAddressItHas(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, other := w.housed(t, "web"), w.housed(t, "db")
	like := w.network.Subnets[0]
	twin, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "twin"})
	require.NoError(t, err)
	_, err = w.CreateSubnet(ctx, Subnet{NetworkID: twin.ID, ProjectID: "p1", CIDR: like.CIDR, GatewayIP: like.GatewayIP, Pools: like.Pools})
	require.NoError(t, err)
	bind := func(v Server, network string, nic int) Port {
		p, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: network, Index: nic, Hostname: v.Host.Hostname})
		require.NoError(t, err)
		return p
	}
	p, q := bind(v, w.network.ID, 0), bind(other, twin.ID, 0)
	require.Equal(t, p.FixedIPs[0].IP, q.FixedIPs[0].IP, "the same address on both networks")
	ip := netip.MustParseAddr(p.FixedIPs[0].IP)
	at := func(host, network string, ip netip.Addr) string {
		found, err := w.PortAt(ctx, host, network, ip)
		if err != nil {
			require.True(t, fault.Is(err, fault.NotFound), err)
			return ""
		}
		require.NotEmpty(t, found.MAC)
		return *found.ServerID
	}
	require.Equal(t, v.ID, at(*v.HostID, w.network.ID, ip))
	require.Equal(t, other.ID, at(*other.HostID, twin.ID, ip))
	require.Empty(t, at(*other.HostID, w.network.ID, ip), "a host learns of nothing but its own")
	require.Empty(t, at(*v.HostID, twin.ID, ip))
	require.Empty(t, at(*v.HostID, w.network.ID, ip.Next()))

	mac, err := netip.ParseAddr("fe80::" + linkLocalTail(p.MAC))
	require.NoError(t, err)
	require.Equal(t, v.ID, at(*v.HostID, w.network.ID, mac))
	require.Empty(t, at(*v.HostID, w.network.ID, netip.MustParseAddr("fe80::1")))

	pair := netip.MustParseAddr("192.0.2.77")
	_, err = w.UpdatePort(ctx, p.ID, func(p *Port) error {
		p.AddressPairs = []AddressPair{{IP: pair.String()}}
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, at(*v.HostID, w.network.ID, pair), "what it may send as is not its own")
	found, err := w.PortAt(ctx, *v.HostID, w.network.ID, ip)
	require.NoError(t, err)
	require.True(t, found.PortSecurity)

	require.NoError(t, w.exec(ctx, `DELETE FROM placements WHERE server_id = $1`, v.ID))
	require.Empty(t, at(*v.HostID, w.network.ID, ip))
}

// linkLocalTail is the interface id of a MAC (RFC 4291, appendix A).
func linkLocalTail(mac string) string {
	first := map[byte]string{'a': "8", '8': "a"}[mac[1]] // fa and f8 differ in the bit that is turned
	return string(mac[0]) + first + mac[3:5] + ":" + mac[6:8] + "ff:fe" + mac[9:11] + ":" + mac[12:14] + mac[15:17]
}

func TestAGuestsPasswordIsKeptOnceAndGoesWithItsServer(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, other := w.housed(t, "web"), w.housed(t, "db")
	p, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, Hostname: v.Host.Hostname})
	require.NoError(t, err)
	posted := func() string {
		password, err := w.GuestPassword(ctx, v.ID)
		require.NoError(t, err)
		return password
	}
	require.Empty(t, posted())
	requireFault(t, w.KeepGuestPassword(ctx, *other.HostID, p.ID, "c2Vj"), fault.NotFound, "Port "+p.ID+" could not be found.")
	for range 2 {
		require.NoError(t, w.KeepGuestPassword(ctx, *v.HostID, p.ID, "c2Vj"), "the same again, whose answer was lost")
	}
	require.True(t, fault.Is(w.KeepGuestPassword(ctx, *v.HostID, p.ID, "other"), fault.Conflict))
	require.Equal(t, "c2Vj", posted())
	require.NoError(t, w.ClearGuestPassword(ctx, v.ID))
	require.Empty(t, posted())
	require.NoError(t, w.KeepGuestPassword(ctx, *v.HostID, p.ID, "other"))
	require.NoError(t, w.ForgetServerSpec(ctx, v.ID))
	require.Equal(t, "other", posted(), "the server is there")
	require.NoError(t, w.exec(ctx, `UPDATE servers SET deleted_at = now(), status = 'DELETED', vm_state = 'deleted' WHERE id = $1`, v.ID))
	require.NoError(t, w.ForgetServerSpec(ctx, v.ID))
	require.Empty(t, posted())
}
