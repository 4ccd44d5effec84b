package ovn

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/dev/testenv/testca"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/sdntest"
)

// central is an OVN of the test's own.
type central struct {
	*stack.OVN
	programs string
}

func newCentral(t testing.TB) central {
	t.Helper()
	c, err := stack.StartOVN(context.Background(), stack.OVNOptions{Dir: filepath.Join(t.TempDir(), "central"), Programs: testenv.OVN(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	return central{c, testenv.OVN(t)}
}

func (c central) open(t testing.TB) *Engine {
	t.Helper()
	e, err := Open(context.Background(), Options{Endpoints: []string{c.Northbound}})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

func (c central) lead(t testing.TB) *Engine {
	t.Helper()
	e := c.open(t)
	require.NoError(t, e.Lead(context.Background(), uuid.NewString()))
	return e
}

// nbctl is OVN's own command line: what it says is what others see.
func (c central) nbctl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(c.programs, "run"), append([]string{"ovn-nbctl", "--timeout=10", "--db=" + c.Northbound}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

func TestItIsAnEngine(t *testing.T) {
	c := newCentral(t)
	sdntest.Engine(t, func(t *testing.T) sdn.Engine { return c.open(t) })
}

func TestTheRowsSayWhatOVNReads(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewWorld()
	w.V4.Routes = []sdn.Route{{To: netip.MustParsePrefix("198.51.100.0/24"), Through: netip.MustParseAddr("192.0.2.9")}}
	require.NoError(t, e.Apply(ctx, w.All()...))

	require.Equal(t, w.Port.ID, c.nbctl(t, "--bare", "--columns=name", "find", "Logical_Switch_Port", "external_ids:slipway-kind=port"))
	require.Contains(t, c.nbctl(t, "lsp-list", "neutron-"+w.Network.ID), w.Port.ID)
	get := func(table, record, column string) string { return c.nbctl(t, "get", table, record, column) }
	require.Equal(t, `["fa:16:3e:00:00:01 192.0.2.10 2001:db8::10"]`, get("Logical_Switch_Port", w.Port.ID, "addresses"))
	require.Equal(t, `["fa:16:3e:00:00:01 192.0.2.10 2001:db8::10"]`, get("Logical_Switch_Port", w.Port.ID, "port_security"))
	require.Equal(t, `h1`, get("Logical_Switch_Port", w.Port.ID, "options:requested-chassis"))
	require.Equal(t, `[]`, get("Logical_Switch_Port", w.Port.ID, "enabled"))
	require.Equal(t, `"1442"`, get("Logical_Switch", "neutron-"+w.Network.ID, `external_ids:neutron\:mtu`))

	v4 := strings.Trim(get("Logical_Switch_Port", w.Port.ID, "dhcpv4_options"), "[]")
	require.Equal(t, `"192.0.2.0/24"`, get("DHCP_Options", v4, "cidr"))
	options := get("DHCP_Options", v4, "options")
	for _, option := range []string{
		`router="192.0.2.1"`, `server_id="192.0.2.1"`, `mtu="1442"`, `lease_time="43200"`, `dns_server="{192.0.2.53, 192.0.2.54}"`,
		`classless_static_route="{169.254.169.254/32,0.0.0.0, 198.51.100.0/24,192.0.2.9, 0.0.0.0/0,192.0.2.1}"`, `server_mac="fa:16:3e:`,
	} {
		require.Contains(t, options, option)
	}
	v6 := strings.Trim(get("Logical_Switch_Port", w.Port.ID, "dhcpv6_options"), "[]")
	require.Contains(t, get("DHCP_Options", v6, "options"), `server_id="fa:16:3e:`)

	w.V6.Stateless = true
	require.NoError(t, e.Apply(ctx, sdntest.Sub(w.V6)))
	require.Contains(t, get("DHCP_Options", v6, "options"), `dhcpv6_stateless="true"`)

	w.Port.Down, w.Port.Host = true, ""
	w.Port.Also = []sdn.Pair{{IP: netip.MustParsePrefix("192.0.2.99/32")}, {MAC: "00:00:5e:00:01:01", IP: netip.MustParsePrefix("192.0.2.64/28")}}
	require.NoError(t, e.Apply(ctx, sdntest.At(w.Port)))
	require.Equal(t, `false`, get("Logical_Switch_Port", w.Port.ID, "enabled"))
	require.Equal(t, `{}`, get("Logical_Switch_Port", w.Port.ID, "options"))
	require.Equal(t, `["00:00:5e:00:01:01 192.0.2.64/28", "fa:16:3e:00:00:01 192.0.2.10 2001:db8::10 192.0.2.99"]`,
		get("Logical_Switch_Port", w.Port.ID, "port_security"))

	w.Port.Addresses, w.Port.Also = nil, nil
	require.NoError(t, e.Apply(ctx, sdntest.At(w.Port)))
	require.Equal(t, `["fa:16:3e:00:00:01 0.0.0.0"]`, get("Logical_Switch_Port", w.Port.ID, "port_security"), "a port without an address has nobody's")
	require.Equal(t, `[]`, get("Logical_Switch_Port", w.Port.ID, "dhcpv4_options"))

	w.Port.Unguarded = true
	require.NoError(t, e.Apply(ctx, sdntest.At(w.Port)))
	require.Equal(t, `["fa:16:3e:00:00:01", unknown]`, get("Logical_Switch_Port", w.Port.ID, "addresses"))
	require.Equal(t, `[]`, get("Logical_Switch_Port", w.Port.ID, "port_security"))
}

// A network's metadata service has a place on every host, and goes with the network.
func TestAMetadataServiceHasItsPlace(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewWorld()
	name := "ovnmeta-" + w.Network.ID
	place := sdntest.At(sdn.Port{ID: name, NetworkID: w.Network.ID, MAC: "0e:00:a9:fe:a9:fe", Unguarded: true, Service: true, Addresses: []sdn.Address{
		{IP: netip.MustParseAddr("169.254.169.254")}, {IP: netip.MustParseAddr("fe80::a9fe:a9fe")},
	}})
	for range 2 {
		require.NoError(t, e.Apply(ctx, sdntest.Net(w.Network), place))
	}
	get := func(column string) string { return c.nbctl(t, "get", "Logical_Switch_Port", name, column) }
	require.Equal(t, []string{"localport", `["0e:00:a9:fe:a9:fe 169.254.169.254 fe80::a9fe:a9fe"]`, `[]`, `{}`, `[]`, `[]`},
		[]string{get("type"), get("addresses"), get("port_security"), get("options"), get("enabled"), get("dhcpv4_options")})
	known, err := e.Known(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []sdn.Ref{sdntest.Net(w.Network).Ref, place.Ref}, known)
	require.NoError(t, e.Apply(ctx, sdntest.No(sdntest.Net(w.Network).Ref), sdntest.No(place.Ref)))
	known, err = e.Known(ctx)
	require.NoError(t, err)
	require.Empty(t, known)
	require.Empty(t, c.nbctl(t, "--bare", "--columns=name", "find", "Logical_Switch_Port", "type=localport"))

	// A route of the subnet's own to the service stands.
	w.V4.Routes = []sdn.Route{{To: netip.MustParsePrefix("169.254.169.254/32"), Through: netip.MustParseAddr("192.0.2.9")}}
	w.V4.Gateway = netip.Addr{}
	require.NoError(t, e.Apply(ctx, sdntest.Sub(w.V4)))
	require.Equal(t, `"{169.254.169.254/32,192.0.2.9}"`, c.nbctl(t, "get", "DHCP_Options", c.nbctl(t, "--bare", "--columns=_uuid", "find", "DHCP_Options"), "options:classless_static_route"))
}

func TestWhatOthersMadeStays(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewWorld()
	c.nbctl(t, "ls-add", "theirs", "--", "lsp-add", "theirs", "theirs-1", "--", "set", "Logical_Switch", "theirs", "external_ids:a=b")
	require.NoError(t, e.Apply(ctx, w.All()...))
	known, err := e.Known(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, w.Refs(), known)

	// A key of theirs on a row of ours, too.
	c.nbctl(t, "set", "Logical_Switch_Port", w.Port.ID, "external_ids:noted=theirs")
	w.Port.Host = "h2"
	require.Eventually(t, func() bool {
		require.NoError(t, e.Apply(ctx, sdntest.At(w.Port)))
		return c.nbctl(t, "get", "Logical_Switch_Port", w.Port.ID, "external_ids:noted") == "theirs"
	}, time.Minute, 10*time.Millisecond)
	for _, d := range w.All() {
		require.NoError(t, e.Apply(ctx, sdntest.No(d.Ref)))
	}
	require.Equal(t, "theirs", c.nbctl(t, "--bare", "--columns=name", "list", "Logical_Switch"))
	require.Equal(t, "theirs-1", c.nbctl(t, "--bare", "--columns=name", "list", "Logical_Switch_Port"))

	// A row of theirs that has a name which one of ours needs is told of, and stays.
	require.NoError(t, e.Apply(ctx, sdntest.Net(w.Network)))
	c.nbctl(t, "lsp-add", "theirs", w.Port.ID)
	w.Port.Addresses = nil
	err = e.Apply(ctx, sdntest.At(w.Port))
	require.ErrorContains(t, err, "constraint violation")
	require.NotEqual(t, fault.Unavailable, fault.KindOf(err))
	require.NotEmpty(t, c.nbctl(t, "list", "Logical_Switch_Port", w.Port.ID))
}

func TestAChangeIsWholeOrNotAtAll(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewWorld()
	c.nbctl(t, "ls-add", "theirs", "--", "lsp-add", "theirs", w.Port.ID)
	require.ErrorContains(t, e.Apply(ctx, w.All()...), "constraint violation")
	require.Equal(t, "theirs", c.nbctl(t, "--bare", "--columns=name", "list", "Logical_Switch"))
	require.Empty(t, c.nbctl(t, "list", "DHCP_Options"))
}

func TestWhatIsRemovedBehindItsBackIsSeen(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewWorld()
	require.NoError(t, e.Apply(ctx, w.All()...))
	c.nbctl(t, "ls-del", "neutron-"+w.Network.ID)
	differ := func() []sdn.Ref {
		got, err := e.Differing(ctx, w.All()...)
		require.NoError(t, err)
		return got
	}
	require.Eventually(t, func() bool { return len(differ()) == 2 }, time.Minute, 10*time.Millisecond, "the network and its port")
	require.NoError(t, e.Apply(ctx, w.All()...))
	require.Empty(t, differ())

	// The whole database is made anew: who leads has to say so again.
	c.nbctl(t, "--all", "destroy", "Logical_Switch", "--", "--all", "destroy", "DHCP_Options", "--", "clear", "NB_Global", ".", "external_ids")
	require.Eventually(t, func() bool { return len(differ()) > 0 }, time.Minute, 10*time.Millisecond, "the copy follows")
	require.ErrorIs(t, e.Apply(ctx, sdntest.Net(w.Network)), sdn.ErrDeposed)
	require.NoError(t, e.Lead(ctx, uuid.NewString()))
	require.NoError(t, e.Apply(ctx, w.All()...))
	require.Contains(t, c.nbctl(t, "lsp-list", "neutron-"+w.Network.ID), w.Port.ID)
}

func TestADatabaseThatIsAwayIsUnavailable(t *testing.T) {
	ctx := context.Background()
	_, err := Open(ctx, Options{Endpoints: []string{"unix:" + filepath.Join(t.TempDir(), "nothing")}})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))

	c, err := stack.StartOVN(ctx, stack.OVNOptions{Dir: filepath.Join(t.TempDir(), "central"), Programs: testenv.OVN(t)})
	require.NoError(t, err)
	stop := sync.OnceValue(c.Stop)
	t.Cleanup(func() { require.NoError(t, stop()) })
	e := central{c, testenv.OVN(t)}.lead(t)
	require.NoError(t, stop())
	w := sdntest.NewWorld()
	require.Equal(t, fault.Unavailable, fault.KindOf(e.Apply(ctx, w.All()...)))
	require.Equal(t, fault.Unavailable, fault.KindOf(e.Ping(ctx)))
}

func TestTheDatabaseIsAskedOverTLS(t *testing.T) {
	ctx := context.Background()
	programs, dir, ca := testenv.OVN(t), t.TempDir(), testca.New(t)
	run := filepath.Join(programs, "run")
	out, err := exec.Command(run, "ovsdb-tool", "create", filepath.Join(dir, "nb.db"), filepath.Join(programs, "tree/usr/share/ovn/ovn-nb.ovsschema")).CombinedOutput()
	require.NoError(t, err, string(out))
	cert, key, _ := ca.Issue("control", "central", "127.0.0.1")
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(listen.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listen.Close())
	server := exec.Command(run, "ovsdb-server", "--remote=pssl:"+port+":127.0.0.1", "--private-key="+key, "--certificate="+cert, "--ca-cert="+ca.File(pki.CAFile),
		"--unixctl="+filepath.Join(dir, "ctl"), "--no-chdir", filepath.Join(dir, "nb.db"))
	server.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	said := &strings.Builder{}
	server.Stderr = said
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(err, said)
		}
	})
	open := func(secure *tls.Config) (*Engine, error) {
		return Open(ctx, Options{Endpoints: []string{"ssl:127.0.0.1:" + port}, TLS: secure})
	}
	var e *Engine
	require.Eventually(t, func() bool { e, err = open(ca.Client(ca.Holder("control", "worker"))); return err == nil }, 20*time.Second, 50*time.Millisecond)
	defer e.Close()
	require.NoError(t, e.Lead(ctx, uuid.NewString()), "a database that northd has not seen yet")
	require.NoError(t, e.Apply(ctx, sdntest.NewWorld().All()...))
	_, err = open(ca.Client())
	require.Error(t, err, "without a certificate")
	_, err = open(testca.New(t).Client(ca.Holder("control", "worker")))
	require.ErrorContains(t, err, "certificate", "of another CA")
}

// BenchmarkPort is a port's way into the Northbound database and out, beside a thousand others.
func BenchmarkPort(b *testing.B) {
	ctx := context.Background()
	e, w := newCentral(b).lead(b), sdntest.NewWorld()
	require.NoError(b, e.Apply(ctx, w.All()...))
	another := func() sdn.Desired {
		p := w.Port
		p.ID, p.Addresses = uuid.NewString(), []sdn.Address{w.Port.Addresses[0]}
		return sdntest.At(p)
	}
	for range 1000 {
		require.NoError(b, e.Apply(ctx, another()))
	}
	b.ResetTimer()
	for b.Loop() {
		d := another()
		require.NoError(b, e.Apply(ctx, d))
		require.NoError(b, e.Apply(ctx, sdntest.No(d.Ref)))
	}
}
