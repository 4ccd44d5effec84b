// Package sdntest is what every network engine has to do, as tests.
package sdntest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

// World is a network with a subnet of each family and a port, that no other test has.
type World struct {
	Network sdn.Network
	V4, V6  sdn.Subnet
	Port    sdn.Port
}

// NewWorld makes one up.
func NewWorld() World {
	w := World{Network: sdn.Network{ID: uuid.NewString(), MTU: 1442}}
	w.V4 = sdn.Subnet{
		ID: uuid.NewString(), NetworkID: w.Network.ID, MTU: 1442, CIDR: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.1"),
		DHCP: true, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
	}
	w.V6 = sdn.Subnet{ID: uuid.NewString(), NetworkID: w.Network.ID, MTU: 1442, CIDR: netip.MustParsePrefix("2001:db8::/64"), DHCP: true}
	w.Port = sdn.Port{ID: uuid.NewString(), NetworkID: w.Network.ID, MAC: "fa:16:3e:00:00:01", Host: "h1", Addresses: []sdn.Address{
		{IP: netip.MustParseAddr("192.0.2.10"), SubnetID: w.V4.ID, DHCP: true},
		{IP: netip.MustParseAddr("2001:db8::10"), SubnetID: w.V6.ID, DHCP: true},
	}}
	return w
}

// Refs of the world's resources.
func (w World) Refs() []sdn.Ref {
	return []sdn.Ref{Net(w.Network).Ref, Sub(w.V4).Ref, Sub(w.V6).Ref, At(w.Port).Ref}
}

// All is the world.
func (w World) All() []sdn.Desired {
	return []sdn.Desired{Net(w.Network), Sub(w.V4), Sub(w.V6), At(w.Port)}
}

// Net is a network that is wanted.
func Net(n sdn.Network) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}, Revision: 1, Network: &n}
}

// Sub is a subnet that is wanted.
func Sub(s sdn.Subnet) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindSubnet, ID: s.ID}, Revision: 1, Subnet: &s}
}

// At is a port that is wanted.
func At(p sdn.Port) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: p.ID}, Revision: 1, Port: &p}
}

// Grp is a group that is wanted.
func Grp(g sdn.Group) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindGroup, ID: g.ID}, Revision: 1, Group: &g}
}

// No is a resource that is not.
func No(ref sdn.Ref) sdn.Desired { return sdn.Desired{Ref: ref, Revision: 2} }

func differ(t *testing.T, e sdn.Engine, all ...sdn.Desired) []sdn.Ref {
	t.Helper()
	got, err := e.Differing(context.Background(), all...)
	require.NoError(t, err)
	return got
}

// Engine holds what open gives to the contract of sdn.Engine. Each call of open is another connection to the same.
func Engine(t *testing.T, open func(t *testing.T) sdn.Engine) {
	ctx := context.Background()
	lead := func(t *testing.T) sdn.Engine {
		e := open(t)
		require.NoError(t, e.Lead(ctx, uuid.NewString()))
		return e
	}
	t.Run("what is applied is there, and is gone when it shall be", func(t *testing.T) {
		e, w := lead(t), NewWorld()
		require.ElementsMatch(t, w.Refs(), differ(t, e, w.All()...))
		for range 2 {
			require.NoError(t, e.Apply(ctx, w.All()...))
			require.Empty(t, differ(t, e, w.All()...))
		}
		known, err := e.Known(ctx)
		require.NoError(t, err)
		require.Subset(t, known, w.Refs())

		w.Port.Host, w.V4.DNS = "h2", nil
		require.ElementsMatch(t, []sdn.Ref{At(w.Port).Ref, Sub(w.V4).Ref}, differ(t, e, w.All()...))
		require.NoError(t, e.Apply(ctx, At(w.Port)))
		require.Equal(t, []sdn.Ref{Sub(w.V4).Ref}, differ(t, e, w.All()...))
		require.NoError(t, e.Apply(ctx, Sub(w.V4)))
		require.Empty(t, differ(t, e, w.All()...))

		for range 2 {
			require.NoError(t, e.Apply(ctx, No(At(w.Port).Ref)))
			require.Equal(t, []sdn.Ref{At(w.Port).Ref}, differ(t, e, w.All()...))
		}
		require.NoError(t, e.Apply(ctx, No(Sub(w.V4).Ref), No(Sub(w.V6).Ref), No(Net(w.Network).Ref)))
		known, err = e.Known(ctx)
		require.NoError(t, err)
		for _, ref := range w.Refs() {
			require.NotContains(t, known, ref)
			require.Empty(t, differ(t, e, No(ref)))
		}
	})
	t.Run("a port waits for its network and for the subnets whose DHCP answers it", func(t *testing.T) {
		e, w := lead(t), NewWorld()
		var missing *sdn.Missing
		require.ErrorAs(t, e.Apply(ctx, At(w.Port)), &missing)
		require.ElementsMatch(t, []sdn.Ref{Net(w.Network).Ref, Sub(w.V4).Ref, Sub(w.V6).Ref}, missing.Refs)
		require.NotEmpty(t, differ(t, e, At(w.Port)))
		require.NoError(t, e.Apply(ctx, Net(w.Network), Sub(w.V4)))
		require.ErrorAs(t, e.Apply(ctx, At(w.Port)), &missing)
		require.Equal(t, []sdn.Ref{Sub(w.V6).Ref}, missing.Refs)
		w.Port.Addresses[1].DHCP = false
		require.NoError(t, e.Apply(ctx, At(w.Port)))
	})
	t.Run("a subnet without DHCP is nothing of the engine's", func(t *testing.T) {
		e, w := lead(t), NewWorld()
		w.V4.DHCP, w.Port.Addresses[0].DHCP = false, false
		require.NoError(t, e.Apply(ctx, w.All()...))
		require.Empty(t, differ(t, e, w.All()...))
		known, err := e.Known(ctx)
		require.NoError(t, err)
		require.NotContains(t, known, Sub(w.V4).Ref)
	})
	t.Run("a port is in its groups, and each is as it shall be", func(t *testing.T) {
		e, w := lead(t), NewWorld()
		one, two := NewGroup(), NewGroup()
		two.Rules[0].FromGroup = one.ID
		require.NoError(t, e.Apply(ctx, w.All()...))
		w.Port.Filtered, w.Port.Groups = true, []string{one.ID, two.ID}
		var missing *sdn.Missing
		require.ErrorAs(t, e.Apply(ctx, At(w.Port)), &missing)
		require.ElementsMatch(t, []sdn.Ref{Grp(one).Ref, Grp(two).Ref}, missing.Refs)
		all := []sdn.Desired{Grp(two), Grp(one), At(w.Port)} // a group may be named before it is there
		require.Len(t, differ(t, e, all...), 3)
		for range 2 {
			require.NoError(t, e.Apply(ctx, all...))
			require.Empty(t, differ(t, e, all...))
		}
		known, err := e.Known(ctx)
		require.NoError(t, err)
		require.Subset(t, known, []sdn.Ref{Grp(one).Ref, Grp(two).Ref})

		one.Rules, two.Stateless = one.Rules[:1], true
		require.ElementsMatch(t, []sdn.Ref{Grp(one).Ref, Grp(two).Ref}, differ(t, e, Grp(one), Grp(two), At(w.Port)))
		require.NoError(t, e.Apply(ctx, Grp(one), Grp(two)))
		require.Empty(t, differ(t, e, Grp(one), Grp(two), At(w.Port)))

		w.Port.Groups = []string{two.ID}
		require.Equal(t, []sdn.Ref{At(w.Port).Ref}, differ(t, e, Grp(one), Grp(two), At(w.Port)))
		require.NoError(t, e.Apply(ctx, At(w.Port)))
		require.NoError(t, e.Apply(ctx, No(Grp(one).Ref)))
		require.Empty(t, differ(t, e, No(Grp(one).Ref), Grp(two), At(w.Port)))
		w.Port.Filtered, w.Port.Groups = false, nil
		require.NoError(t, e.Apply(ctx, At(w.Port), No(Grp(two).Ref)))
		require.Empty(t, differ(t, e, No(Grp(one).Ref), No(Grp(two).Ref), At(w.Port)))
	})
	routers(t, lead)
	t.Run("who led before is not obeyed", func(t *testing.T) {
		before, w := lead(t), NewWorld()
		after := lead(t)
		require.ErrorIs(t, before.Apply(ctx, w.All()...), sdn.ErrDeposed)
		require.NotEmpty(t, differ(t, after, Net(w.Network)))
		require.NoError(t, after.Apply(ctx, w.All()...))
		require.NoError(t, after.Ping(ctx))
	})
}
