package models

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

func (w *world) changes(t *testing.T) map[sdn.Ref]sdn.Change {
	t.Helper()
	all, err := w.NetworkChanges(context.Background(), 1000)
	require.NoError(t, err)
	by := map[sdn.Ref]sdn.Change{}
	for _, c := range all {
		by[c.Ref] = c
	}
	require.Len(t, by, len(all))
	return by
}

func (w *world) settle(t *testing.T) {
	t.Helper()
	for _, c := range w.changes(t) {
		require.NoError(t, w.NetworkChangesApplied(context.Background(), c))
	}
	require.Empty(t, w.changes(t))
}

func TestEveryChangeOfANetworkIsKeptWhileThereIsAnEngine(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	network := func() (Network, Subnet) {
		n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "n"})
		require.NoError(t, err)
		s, err := w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "192.0.2.0/24", EnableDHCP: true})
		require.NoError(t, err)
		return n, s
	}
	network()
	require.Empty(t, w.changes(t), "nobody would ever take them")

	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	n, s := network()
	nRef, sRef := sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}, sdn.Ref{Kind: sdn.KindSubnet, ID: s.ID}
	require.Len(t, w.changes(t), 2)
	require.Less(t, w.changes(t)[nRef].Sequence, w.changes(t)[sRef].Sequence)
	w.settle(t)

	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID, Name: "p"})
	require.NoError(t, err)
	pRef := sdn.Ref{Kind: sdn.KindPort, ID: p.ID}
	require.Len(t, w.changes(t), 2, "its project's security group came with it")
	require.Contains(t, w.changes(t), pRef)
	w.settle(t)

	require.NoError(t, w.exec(ctx, `UPDATE ports SET name = 'other', updated_at = now()`))
	require.NoError(t, w.exec(ctx, `UPDATE networks SET description = 'other'`))
	require.Empty(t, w.changes(t), "words")
	require.NoError(t, w.exec(ctx, `UPDATE networks SET mtu = 1400 WHERE id = $1`, n.ID))
	require.Contains(t, w.changes(t), nRef)
	require.NoError(t, w.exec(ctx, `UPDATE subnets SET enable_dhcp = false WHERE id = $1`, s.ID))
	require.Contains(t, w.changes(t), sRef)
	w.settle(t)

	require.NoError(t, w.DeletePort(ctx, p.ID))
	require.Contains(t, w.changes(t), pRef)
	require.NoError(t, w.DeleteNetwork(ctx, n.ID))
	require.Len(t, w.changes(t), 3, "its subnet goes with it")

	require.NoError(t, w.KeepNetworkChanges(ctx, ""))
	network()
	require.Empty(t, w.changes(t))
}

func TestAChangeIsForgottenOnlyAsItWasRead(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	require.NoError(t, w.KeepNetworkChanges(ctx, "ovn"))
	n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "n"})
	require.NoError(t, err)
	ref := sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}
	read := w.changes(t)[ref]
	mtu := func(by interface {
		Exec(context.Context, string, ...any) error
	}, to int) error {
		return by.Exec(ctx, `UPDATE networks SET mtu = $1 WHERE id = $2`, to, n.ID)
	}

	// One that is just being made: whoever forgets the one before does not wait for it, and does not forget it.
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := mtu(execs(func(ctx context.Context, sql string, args ...any) error {
			_, err := tx.Exec(ctx, sql, args...)
			return err
		}), 1300); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return w.NetworkChangesApplied(short, read)
	})
	require.NoError(t, err)
	again := w.changes(t)[ref]
	require.Greater(t, again.Sequence, read.Sequence)
	require.NoError(t, w.NetworkChangesApplied(ctx, read))
	require.NoError(t, w.NetworkChangeFailed(ctx, read, errors.New("old"), time.Hour))
	require.Equal(t, again, w.changes(t)[ref])

	require.NoError(t, w.NetworkChangeFailed(ctx, again, errors.New("no"), time.Hour))
	require.Empty(t, w.changes(t))
	backlog, err := w.NetworkBacklog(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, backlog.Waiting)
	require.EqualValues(t, 1, backlog.Failing)
	marked, err := w.MarkNetworkChanges(ctx, ref, sdn.Ref{Kind: sdn.KindPort, ID: "p"})
	require.NoError(t, err)
	require.Equal(t, []sdn.Ref{{Kind: sdn.KindPort, ID: "p"}}, marked, "the other one waits already")
	none, err := w.OverdueNetworkChanges(ctx, time.Hour, 10)
	require.NoError(t, err)
	require.Empty(t, none)
	overdue, err := w.OverdueNetworkChanges(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, overdue, 2)
	require.Equal(t, []string{"network", n.ID, "no"}, []string{overdue[0].Kind, overdue[0].ID, overdue[0].Refused})
	require.NoError(t, mtu(execs(w.exec), 1301))
	require.Contains(t, w.changes(t), ref, "a change is looked at at once, whatever became of the one before")
}

type execs func(context.Context, string, ...any) error

func (e execs) Exec(ctx context.Context, sql string, args ...any) error { return e(ctx, sql, args...) }

func TestWhatIsDesiredIsReadWithAllThatTakesFromIt(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "h1", 8, 8192, 100)
	n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "n", MTU: 1442})
	require.NoError(t, err)
	s4, err := w.CreateSubnet(ctx, Subnet{
		NetworkID: n.ID, ProjectID: "p1", CIDR: "192.0.2.0/24", GatewayIP: new("192.0.2.1"), DNSServers: []string{"192.0.2.53"}, EnableDHCP: true,
	})
	require.NoError(t, err)
	s6, err := w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "2001:db8::/64"})
	require.NoError(t, err)
	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID})
	require.NoError(t, err)
	require.NoError(t, w.exec(ctx, `UPDATE ports SET host_id = $1 WHERE id = $2`, h.ID, p.ID))

	network := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}, Network: &sdn.Network{ID: n.ID, MTU: 1442}}
	v4 := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindSubnet, ID: s4.ID}, Subnet: &sdn.Subnet{
		ID: s4.ID, NetworkID: n.ID, MTU: 1442, CIDR: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.1"), DHCP: true,
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}}
	v6 := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindSubnet, ID: s6.ID}, Subnet: &sdn.Subnet{
		ID: s6.ID, NetworkID: n.ID, MTU: 1442, CIDR: netip.MustParsePrefix("2001:db8::/64"),
	}}
	port := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: p.ID}, Port: &sdn.Port{
		ID: p.ID, NetworkID: n.ID, MAC: p.MAC, Host: "h1", Filtered: true, Groups: []string{ids.SecurityGroup("p1")},
	}}
	for _, ip := range p.FixedIPs {
		port.Port.Addresses = append(port.Port.Addresses, sdn.Address{IP: netip.MustParseAddr(ip.IP), SubnetID: ip.SubnetID, DHCP: ip.SubnetID == s4.ID})
	}
	service := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: "ovnmeta-" + n.ID}, Port: &sdn.Port{
		ID: "ovnmeta-" + n.ID, NetworkID: n.ID, MAC: "0e:00:a9:fe:a9:fe", Unguarded: true, Service: true,
		Addresses: []sdn.Address{{IP: netip.MustParseAddr("169.254.169.254")}, {IP: netip.MustParseAddr("fe80::a9fe:a9fe")}},
	}}
	absent, elsewhere := sdn.Ref{Kind: sdn.KindPort, ID: "none"}, sdn.Ref{Kind: sdn.KindPort, ID: "ovnmeta-none"}
	single, err := w.NetworkDesired(ctx, network.Ref, v4.Ref, v6.Ref, port.Ref, absent, service.Ref, elsewhere)
	require.NoError(t, err)
	require.Equal(t, []sdn.Desired{network, v4, v6, port, {Ref: absent}, service, {Ref: elsewhere}}, single)
	gone := sdn.Ref{Kind: sdn.KindNetwork, ID: "none"}
	got, err := w.NetworkDesiredAround(ctx, network.Ref, v4.Ref, v6.Ref, port.Ref, absent, gone)
	require.NoError(t, err)
	require.ElementsMatch(t, []sdn.Desired{network, service, v4, v6, port}, got[0])
	require.Equal(t, network, got[0][0])
	require.Equal(t, port, got[0][4], "ports after what they need")
	require.Equal(t, []sdn.Desired{{Ref: gone}, {Ref: elsewhere}}, got[5], "with its network goes the place of its metadata service")
	require.Equal(t, []sdn.Desired{v4, port}, got[1])
	require.Equal(t, []sdn.Desired{v6, port}, got[2])
	require.Equal(t, []sdn.Desired{port}, got[3])
	require.Equal(t, []sdn.Desired{{Ref: absent}}, got[4])

	require.NoError(t, w.exec(ctx, `UPDATE ports SET port_security = false,
		address_pairs = '[{"ip_address": "192.0.2.64/28", "mac_address": "00:00:5e:00:01:01"}, {"ip_address": "192.0.2.99", "mac_address": ""}]' WHERE id = $1`, p.ID))
	require.NoError(t, w.exec(ctx, `UPDATE subnets SET ipv6_address_mode = 'slaac', enable_dhcp = true WHERE id = $1`, s6.ID))
	require.NoError(t, w.exec(ctx, `UPDATE subnets SET host_routes = '[{"destination": "198.51.100.0/24", "nexthop": "192.0.2.9"}]' WHERE id = $1`, s4.ID))
	require.NoError(t, w.exec(ctx, `UPDATE networks SET admin_state_up = false WHERE id = $1`, n.ID))
	single, err = w.NetworkDesired(ctx, v4.Ref, v6.Ref, port.Ref)
	require.NoError(t, err)
	v4.Subnet.Routes = []sdn.Route{{To: netip.MustParsePrefix("198.51.100.0/24"), Through: netip.MustParseAddr("192.0.2.9")}}
	port.Port.Down, port.Port.Unguarded = true, true
	port.Port.Filtered, port.Port.Groups = false, nil
	port.Port.Also = []sdn.Pair{
		{MAC: "00:00:5e:00:01:01", IP: netip.MustParsePrefix("192.0.2.64/28")}, {IP: netip.MustParsePrefix("192.0.2.99/32")},
	}
	require.Equal(t, []sdn.Desired{v4, v6, port}, single, "with SLAAC no DHCP answers")

	refs, err := w.NetworkRefs(ctx, sdn.KindSubnet, "", 10)
	require.NoError(t, err)
	require.Subset(t, refs, []sdn.Ref{v4.Ref, v6.Ref})
	ports, err := w.NetworkRefs(ctx, sdn.KindPort, "", 10)
	require.NoError(t, err)
	require.Equal(t, []sdn.Ref{port.Ref}, ports)
	services, err := w.NetworkRefs(ctx, sdn.KindPort, p.ID, 10)
	require.NoError(t, err)
	require.Contains(t, services, service.Ref)
	for i, after := range services {
		rest, err := w.NetworkRefs(ctx, sdn.KindPort, after.ID, 10)
		require.NoError(t, err)
		require.ElementsMatch(t, services[i+1:], rest)
	}
	behind, err := w.NetworkRefs(ctx, sdn.KindSubnet, refs[0].ID, 10)
	require.NoError(t, err)
	require.Equal(t, refs[1:], behind)
}

func TestAChangeWakesWhoListens(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.KeepNetworkChanges(context.Background(), "ovn"))
	ctx, stop := context.WithCancel(context.Background())
	woke := make(chan struct{}, 10)
	var listening sync.WaitGroup
	listening.Go(func() { _ = w.ListenNetworkChanges(ctx, func() { woke <- struct{}{} }) })
	t.Cleanup(func() { stop(); listening.Wait() })
	select {
	case <-woke:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody woke it")
	}
	_, err := w.CreateNetwork(context.Background(), Network{ProjectID: "p1", Name: "n"})
	require.NoError(t, err)
	select {
	case <-woke:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody woke it")
	}
}
