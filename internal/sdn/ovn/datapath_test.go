package ovn

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet/ovs"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/sdntest"
)

// wired is a host whose switch leads outside.
type wired struct {
	t              *testing.T
	chassis        *stack.Chassis
	programs       string
	host, external string // network namespaces
	stop           func() error
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", program, args, out)
	return strings.TrimSpace(string(out))
}

// namespace is the name of a network namespace that goes with the test.
func namespace(t *testing.T) string {
	t.Helper()
	name := "slipway-test-" + uuid.NewString()[:8]
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	run(t, "ip", "-n", name, "link", "set", "lo", "up")
	return name
}

func at(name string) string { return filepath.Join("/run/netns", name) }

// outside is a namespace with a switch, where 198.51.100.1 is.
func outside(t *testing.T) string {
	t.Helper()
	ns := namespace(t)
	for _, bridge := range []string{"outside", "underlay"} {
		run(t, "ip", "-n", ns, "link", "add", bridge, "type", "bridge")
		run(t, "ip", "-n", ns, "link", "set", bridge, "up")
	}
	run(t, "ip", "-n", ns, "address", "add", "198.51.100.1/24", "dev", "outside")
	return ns
}

// newWired starts a host whose switch has a wire to the switch outside. Others find it at its address, over another wire to there.
func newWired(t *testing.T, c central, external, name, address string) wired {
	t.Helper()
	w := wired{t: t, programs: c.programs, host: namespace(t), external: external}
	chassis, err := stack.StartChassis(t.Context(), stack.ChassisOptions{
		Dir: filepath.Join(t.TempDir(), name), Programs: c.programs, Hostname: name, Southbound: c.Southbound, EncapIP: address, NetNS: at(w.host),
	})
	require.NoError(t, err)
	w.stop = sync.OnceValue(chassis.Stop)
	t.Cleanup(func() { require.NoError(t, w.stop()) })
	w.chassis = chassis
	for _, wire := range []string{"out", "wire"} {
		run(t, "ip", "-n", external, "link", "add", name+wire, "type", "veth", "peer", "name", wire, "netns", w.host)
		run(t, "ip", "-n", w.host, "link", "set", wire, "up")
	}
	run(t, "ip", "-n", external, "link", "set", name+"out", "master", "outside", "up")
	// The tunnels' address is on br-phy, which is there.
	run(t, "ip", "-n", external, "link", "set", name+"wire", "master", "underlay", "up")
	for bridge, port := range map[string]string{"br-ex": "out", "br-phy": "wire"} {
		w.vsctl("--may-exist", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "--", "add-port", bridge, port)
	}
	w.vsctl("set", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings=public:br-ex")
	require.Eventually(t, func() bool { return strings.Contains(w.vsctl("list-br"), "br-int") }, time.Minute, 20*time.Millisecond)
	return w
}

func (w wired) vsctl(args ...string) string {
	w.t.Helper()
	return run(w.t, filepath.Join(w.programs, "run"), append([]string{"ovs-vsctl", "--timeout=20", "--db=" + w.chassis.OVSDB}, args...)...)
}

// guest has a port, and the namespace's name.
func (w wired) guest(p sdn.Port, nic, address, gateway string) string {
	w.t.Helper()
	ns := namespace(w.t)
	w.vsctl("add-port", "br-int", nic, "--", "set", "Interface", nic, "type=internal", "external_ids:iface-id="+p.ID)
	require.Eventually(w.t, func() bool {
		return exec.Command("ip", "-n", w.host, "link", "set", nic, "netns", ns).Run() == nil
	}, time.Minute, 20*time.Millisecond)
	run(w.t, "nsenter", "--net="+at(ns), "sh", "-c", "echo 2 > /proc/sys/net/ipv6/conf/"+nic+"/accept_ra")
	run(w.t, "ip", "-n", ns, "link", "set", nic, "address", p.MAC, "mtu", "1442", "up")
	run(w.t, "ip", "-n", ns, "address", "add", address, "dev", nic)
	run(w.t, "ip", "-n", ns, "route", "add", "default", "via", gateway)
	return ns
}

func (w wired) reaches(from, address string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		return exec.Command("nsenter", "--net="+at(from), "busybox", "ping", "-c", "1", "-W", "1", address).Run() == nil
	}, time.Minute, 50*time.Millisecond, "%s from %s", address, from)
}

// greets answers who connects at an address with a name and with who that is.
func (w wired) greets(ns, name string) {
	w.t.Helper()
	var l net.Listener
	require.NoError(w.t, netspace.Do(at(ns), func(*netlink.Handle) (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:7000")
		return err
	}))
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			peer, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			_, _ = io.WriteString(conn, name+" to "+peer)
			conn.Close()
		}
	}()
}

// asks connects, and returns what is said; "" where nobody is.
func (w wired) asks(from, address string) string {
	var said []byte
	_ = netspace.Do(at(from), func(*netlink.Handle) error {
		conn, err := net.DialTimeout("tcp4", address+":7000", 2*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		said, err = io.ReadAll(conn)
		return err
	})
	return string(said)
}

func TestARouterLeadsBetweenNetworksAndOut(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	h := newWired(t, c, outside(t), "h1", "192.0.2.201")
	switched := ovs.New(ovs.Options{Endpoint: h.chassis.OVSDB})
	t.Cleanup(func() { require.NoError(t, switched.Close()) })
	leads, apart, err := switched.Outside(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"public"}, leads, "what it tells of itself")
	require.False(t, apart)

	e, w := c.lead(t), sdntest.NewRouted()
	w.External.Physical = &sdn.Physical{Name: leads[0]}
	w.Gateway.Router.Gateways = []string{"h1"}
	second := sdn.Network{ID: uuid.NewString(), MTU: 1442}
	door := sdn.Port{
		ID: uuid.NewString(), NetworkID: second.ID, MAC: "fa:16:3e:00:02:01", Addresses: []sdn.Address{{IP: netip.MustParseAddr("203.0.113.1")}},
		Router: &sdn.RouterPort{RouterID: w.Router.ID, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}},
	}
	other := sdn.Port{ID: uuid.NewString(), NetworkID: second.ID, MAC: "fa:16:3e:00:02:02", Host: "h1", Addresses: []sdn.Address{{IP: netip.MustParseAddr("203.0.113.10")}}}
	w.Router.Sources = append(w.Router.Sources, sdn.Source{From: netip.MustParsePrefix("203.0.113.0/24"), To: netip.MustParseAddr("198.51.100.10")})
	require.NoError(t, e.Apply(ctx, append(w.All(), sdntest.Net(second), sdntest.At(door), sdntest.At(other))...))
	one, two := h.guest(w.Port, "guest1", "192.0.2.10/24", "192.0.2.1"), h.guest(other, "guest2", "203.0.113.10/24", "203.0.113.1")

	h.reaches(one, "203.0.113.10")
	h.greets(two, "two")
	require.Eventually(t, func() bool { return h.asks(one, "203.0.113.10") == "two to 192.0.2.10" }, time.Minute, 50*time.Millisecond, "as it is")
	h.greets(h.external, "outside")
	require.Eventually(t, func() bool { return h.asks(two, "198.51.100.1") == "outside to 198.51.100.10" }, time.Minute, 50*time.Millisecond, "as the gateway")
	require.Eventually(t, func() bool { return h.asks(one, "198.51.100.1") == "outside to 198.51.100.20" }, time.Minute, 50*time.Millisecond, "as its own")

	// A floating IP at the gateway, and then, for another port, where that one is.
	h.greets(one, "one")
	h.reaches(h.external, "198.51.100.20")
	require.Eventually(t, func() bool { return h.asks(h.external, "198.51.100.20") == "one to 198.51.100.1" }, time.Minute, 50*time.Millisecond)
	w.Floating.Inside, w.Floating.PortID, w.Floating.MAC = netip.MustParseAddr("203.0.113.10"), other.ID, "fa:16:3e:00:02:03"
	require.NoError(t, e.Apply(ctx, sdntest.Floats(w.Floating)))
	require.Eventually(t, func() bool { return h.asks(h.external, "198.51.100.20") == "two to 198.51.100.1" }, time.Minute, 50*time.Millisecond)
	run(t, "ip", "-n", h.external, "neighbor", "flush", "dev", "outside")
	require.Eventually(t, func() bool {
		return h.asks(h.external, "198.51.100.20") == "two to 198.51.100.1" &&
			strings.Contains(run(t, "ip", "-n", h.external, "neighbor", "show", "198.51.100.20"), "fa:16:3e:00:02:03")
	}, time.Minute, 50*time.Millisecond, "where the port is")
	require.Eventually(t, func() bool { return h.asks(one, "198.51.100.1") == "outside to 198.51.100.10" }, time.Minute, 50*time.Millisecond, "as the gateway again")

	// The router tells of itself.
	require.Eventually(t, func() bool {
		return strings.Contains(run(t, "ip", "-n", one, "-6", "route", "show", "default"), "via fe80:")
	}, time.Minute, 50*time.Millisecond)
	require.NotContains(t, run(t, "ip", "-n", one, "-6", "address", "show", "scope", "global"), "2001:db8:", "it makes itself no address")

	require.NoError(t, e.Apply(ctx, sdntest.No(sdntest.Floats(w.Floating).Ref)))
	require.Eventually(t, func() bool { return h.asks(h.external, "198.51.100.20") == "" }, time.Minute, 50*time.Millisecond)
}

func TestAnotherHostTakesOverAGateway(t *testing.T) {
	ctx := context.Background()
	c, out := newCentral(t), outside(t)
	e, w := c.lead(t), sdntest.NewRouted()
	order := chassis(w.Gateway.ID, w.Gateway.Router.Gateways)
	require.Len(t, order, 3)
	hosts := map[string]wired{}
	for i, name := range order {
		hosts[name] = newWired(t, c, out, name, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 201)}).String())
	}
	last := hosts[order[2]]
	w.External.Physical, w.Port.Host = &sdn.Physical{Name: "public"}, order[2]
	require.NoError(t, e.Apply(ctx, w.All()...))
	guest := last.guest(w.Port, "guest1", "192.0.2.10/24", "192.0.2.1")
	last.greets(out, "outside")
	require.Eventually(t, func() bool { return last.asks(guest, "198.51.100.1") == "outside to 198.51.100.20" }, time.Minute, 50*time.Millisecond)
	require.NoError(t, hosts[order[0]].stop())
	began := time.Now()
	require.Eventually(t, func() bool { return last.asks(guest, "198.51.100.1") == "outside to 198.51.100.20" }, 2*time.Minute, 50*time.Millisecond)
	t.Logf("back after %s", time.Since(began).Round(100*time.Millisecond))
}
