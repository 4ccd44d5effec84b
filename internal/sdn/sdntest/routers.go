package sdntest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Routed is a world with a way out: a router with a gateway on an external network, and an address there for the world's port.
type Routed struct {
	World
	External       sdn.Network
	Router         sdn.Router
	Inner, Gateway sdn.Port
	Floating       sdn.FloatingIP
}

// NewRouted makes one up.
func NewRouted() Routed {
	r := Routed{World: NewWorld(), Router: sdn.Router{ID: uuid.NewString()}}
	r.External = sdn.Network{ID: uuid.NewString(), MTU: 1500, Physical: &sdn.Physical{Name: "public", VLAN: 7}}
	r.Router.Routes = []sdn.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Through: netip.MustParseAddr("198.51.100.1")}}
	r.Router.Sources = []sdn.Source{{From: netip.MustParsePrefix("192.0.2.0/24"), To: netip.MustParseAddr("198.51.100.10")}}
	r.Inner = sdn.Port{
		ID: uuid.NewString(), NetworkID: r.Network.ID, MAC: "fa:16:3e:00:01:01",
		Addresses: []sdn.Address{{IP: netip.MustParseAddr("192.0.2.1"), SubnetID: r.V4.ID}, {IP: netip.MustParseAddr("2001:db8::1"), SubnetID: r.V6.ID}},
		Router: &sdn.RouterPort{
			RouterID: r.Router.ID, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
			Tells: &sdn.Announcement{Addresses: sdn.DHCPStateful, MTU: 1442, DNS: netip.MustParseAddr("2001:db8::53")},
		},
	}
	r.Gateway = sdn.Port{
		ID: uuid.NewString(), NetworkID: r.External.ID, MAC: "fa:16:3e:00:01:02",
		Addresses: []sdn.Address{{IP: netip.MustParseAddr("198.51.100.10"), SubnetID: uuid.NewString()}},
		Router: &sdn.RouterPort{
			RouterID: r.Router.ID, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.10/24")}, External: true, Gateways: []string{"h1", "h2", "h3"},
		},
	}
	r.Floating = sdn.FloatingIP{
		ID: uuid.NewString(), RouterID: r.Router.ID, Outside: netip.MustParseAddr("198.51.100.20"), Inside: netip.MustParseAddr("192.0.2.10"),
	}
	return r
}

// All is the world with its way out.
func (r Routed) All() []sdn.Desired {
	return append(r.World.All(), Net(r.External), Routes(r.Router), At(r.Inner), At(r.Gateway), Floats(r.Floating))
}

// Refs of its resources.
func (r Routed) Refs() (all []sdn.Ref) {
	for _, d := range r.All() {
		all = append(all, d.Ref)
	}
	return all
}

// Routes is a router that is wanted.
func Routes(r sdn.Router) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindRouter, ID: r.ID}, Revision: 1, Router: &r}
}

// Floats is a floating IP that is wanted.
func Floats(f sdn.FloatingIP) sdn.Desired {
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindFloatingIP, ID: f.ID}, Revision: 1, FloatingIP: &f}
}

// routers is the part of the contract that is about ways out.
func routers(t *testing.T, lead func(t *testing.T) sdn.Engine) {
	ctx := context.Background()
	t.Run("a router comes with its ports, and goes with them", func(t *testing.T) {
		e, w := lead(t), NewRouted()
		require.ElementsMatch(t, w.Refs(), differ(t, e, w.All()...))
		for range 2 {
			require.NoError(t, e.Apply(ctx, w.All()...))
			require.Empty(t, differ(t, e, w.All()...))
		}
		known, err := e.Known(ctx)
		require.NoError(t, err)
		require.Subset(t, known, w.Refs())

		w.Router.Sources = nil
		w.Router.Routes = []sdn.Route{{To: w.Router.Routes[0].To, Through: netip.MustParseAddr("198.51.100.2")}}
		gateway, inner := *w.Gateway.Router, *w.Inner.Router
		gateway.Gateways, inner.Networks, inner.Tells = []string{"h4"}, inner.Networks[:1], nil
		w.Gateway.Router, w.Inner.Router, w.Inner.Addresses = &gateway, &inner, w.Inner.Addresses[:1]
		w.Floating.PortID, w.Floating.MAC = w.Port.ID, "fa:16:3e:00:01:03"
		w.External.Physical = &sdn.Physical{Name: "public"}
		changed := []sdn.Desired{Net(w.External), Routes(w.Router), At(w.Inner), At(w.Gateway), Floats(w.Floating)}
		require.Len(t, differ(t, e, w.All()...), len(changed))
		for range 2 {
			for _, d := range changed {
				require.NoError(t, e.Apply(ctx, d))
			}
			require.Empty(t, differ(t, e, w.All()...))
		}
		other := NewRouted()
		require.NoError(t, e.Apply(ctx, other.All()...))
		w.Floating.RouterID = other.Router.ID // it moves
		require.Equal(t, []sdn.Ref{Floats(w.Floating).Ref}, differ(t, e, w.All()...))
		require.NoError(t, e.Apply(ctx, Floats(w.Floating)))
		require.Empty(t, differ(t, e, append(w.All(), other.All()...)...))

		for _, of := range []Routed{w, other} { // in both orders
			refs := of.Refs()
			for i := range refs {
				ref := refs[i]
				if of.Router.ID == w.Router.ID {
					ref = refs[len(refs)-1-i]
				}
				require.NoError(t, e.Apply(ctx, No(ref)))
			}
		}
		known, err = e.Known(ctx)
		require.NoError(t, err)
		for _, ref := range append(w.Refs(), other.Refs()...) {
			require.NotContains(t, known, ref)
			require.Empty(t, differ(t, e, No(ref)))
		}
	})
	t.Run("what a router has waits for it", func(t *testing.T) {
		e, w := lead(t), NewRouted()
		var missing *sdn.Missing
		require.ErrorAs(t, e.Apply(ctx, Net(w.External), At(w.Gateway)), &missing)
		require.Equal(t, []sdn.Ref{Routes(w.Router).Ref}, missing.Refs)
		require.ErrorAs(t, e.Apply(ctx, Floats(w.Floating)), &missing)
		require.Equal(t, []sdn.Ref{Routes(w.Router).Ref}, missing.Refs)
		require.ElementsMatch(t, w.Refs(), differ(t, e, w.All()...), "all or nothing")
	})
}
