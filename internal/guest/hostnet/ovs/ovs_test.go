package ovs

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
)

// fabric is OVN with hosts that reach each other over an underlay of 1500 bytes.
type fabric struct {
	t       *testing.T
	dir     string
	central *stack.OVN
	hub     string // folder of the first host's chassis: the others are wired to it
}

// machine is one host of a fabric.
type machine struct {
	netns   string
	chassis *stack.Chassis
	ports   *Ports
}

func newFabric(t *testing.T) *fabric {
	f := &fabric{t: t, dir: t.TempDir()}
	central, err := stack.StartOVN(t.Context(), stack.OVNOptions{Dir: filepath.Join(f.dir, "central"), Programs: testenv.OVN(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, central.Stop()) })
	f.central = central
	return f
}

func (f *fabric) run(program string, args ...string) string {
	f.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(f.t, err, "%s %v: %s", program, args, out)
	return strings.TrimSpace(string(out))
}

// northbound asks ovn-nbctl, or ovs-vsctl of a host.
func (f *fabric) northbound(args ...string) string {
	f.t.Helper()
	return f.run(filepath.Join(testenv.OVN(f.t), "run"), append([]string{"ovn-nbctl", "--timeout=20", "--db=" + f.central.Northbound}, args...)...)
}

func (f *fabric) vsctl(m *machine, args ...string) string {
	f.t.Helper()
	return f.run(filepath.Join(testenv.OVN(f.t), "run"), append([]string{"ovs-vsctl", "--timeout=20", "--db=" + m.chassis.OVSDB}, args...)...)
}

// host adds one.
func (f *fabric) host(name, address string) *machine {
	m := &machine{netns: namespace(f.t)}
	dir := filepath.Join(f.dir, name)
	chassis, err := stack.StartChassis(f.t.Context(), stack.ChassisOptions{
		Dir: dir, Programs: testenv.OVN(f.t), Hostname: name, Southbound: f.central.Southbound, EncapIP: address, NetNS: m.netns,
	})
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, chassis.Stop()) })
	m.chassis = chassis
	if f.hub == "" {
		f.hub = dir
	} else {
		ends := [2]stack.WireEnd{{Dir: dir, Interface: "wire"}, {Dir: f.hub, Interface: "w-" + name}}
		require.NoError(f.t, stack.LayWire(f.t.Context(), testenv.OVN(f.t), ends[0], ends[1]))
		require.NoError(f.t, stack.LayWire(f.t.Context(), testenv.OVN(f.t), ends[0], ends[1]), "again")
	}
	m.ports = New(Options{
		Endpoint: chassis.OVSDB, Owner: "/var/lib/" + name, NetNS: func(context.Context) (string, error) { return m.netns, nil },
	})
	f.t.Cleanup(func() { require.NoError(f.t, m.ports.Close()) })
	require.Eventually(f.t, func() bool { return m.ports.Probe(f.t.Context()) == nil }, time.Minute, 20*time.Millisecond, "ovn-controller makes br-int")
	return m
}

// namespace is a network namespace that goes with the test.
func namespace(t *testing.T) string {
	t.Helper()
	name := "slipway-test-" + uuid.NewString()[:8]
	require.NoError(t, exec.Command("ip", "netns", "add", name).Run())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	require.NoError(t, exec.Command("ip", "-n", name, "link", "set", "lo", "up").Run())
	return filepath.Join("/run/netns", name)
}

// aPort is a port of a new server.
func aPort(n byte) hostnet.Port {
	return hostnet.Port{ServerID: uuid.NewString(), ID: uuid.NewString(), MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", n), MTU: 1442}
}

// guest is what QEMU is to a tap: it holds it, and hands its frames to a machine that leaves segmentation to it. largest is the
// longest frame that the machine has sent.
type guest struct {
	netns   string
	largest atomic.Int64
	// patience is how long it waits for an answer of the metadata service; 0 is for ever.
	patience time.Duration
	as       atomic.Pointer[net.HardwareAddr] // that its IPv4 frames say they are from; nil is its own
}

// sent looks at a frame behind its virtio header of 10 bytes.
func (g *guest) sent(frame []byte) {
	if n := int64(len(frame)); n > g.largest.Load() {
		g.largest.Store(n)
	}
	if as := g.as.Load(); as != nil && len(frame) > 24 && frame[22] == 0x08 && frame[23] == 0 {
		copy(frame[16:22], *as)
	}
}

// offloads are what virtio has with the usual settings.
const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6

func openTap(t *testing.T, netns, name string) *os.File {
	t.Helper()
	var file *os.File
	require.NoError(t, netspace.Do(netns, func(*netlink.Handle) error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads); err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	}))
	t.Cleanup(func() { file.Close() })
	return file
}

func startGuest(t *testing.T, m *machine, p hostnet.Port) *guest {
	g := &guest{netns: namespace(t)}
	out, in := openTap(t, m.netns, p.Tap()), openTap(t, g.netns, "eth0")
	pump := func(from, to *os.File, sent func([]byte)) {
		buf := make([]byte, 1<<17)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if sent != nil {
				sent(buf[:n])
			}
			if _, err := to.Write(buf[:n]); err != nil && !os.IsTimeout(err) {
				continue // an interface that is down takes none
			}
		}
	}
	go pump(in, out, g.sent)
	go pump(out, in, nil)
	run := func(args ...string) {
		out, err := exec.Command("ip", append([]string{"-n", filepath.Base(g.netns)}, args...)...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	run("link", "set", "eth0", "address", p.MAC, "mtu", fmt.Sprint(p.MTU), "up")
	return g
}

// dhcp asks for the guest's address as any guest would, and takes it.
func (g *guest) dhcp(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface && ip link set $interface mtu $mtu || exit 1
set -- $staticroutes
while [ -n "$2" ]; do
	via="via $2"
	[ "$2" = 0.0.0.0 ] && via=
	ip route add $1 $via dev $interface || exit 1
	shift 2
done
echo "got $ip $mtu"
`), 0o755))
	out, err := exec.Command("nsenter", "--net="+g.netns, "busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-O", "mtu", "-O", "staticroutes", "-t", "10", "-T", "1", "-s", script).CombinedOutput()
	require.NoError(t, err, string(out))
	_, got, found := strings.Cut(string(out), "got ")
	require.True(t, found, string(out))
	got, _, _ = strings.Cut(got, "\n")
	return got
}

// send sends so many bytes by TCP from one guest to another.
func send(t *testing.T, from, to *guest, address string, size int64) {
	t.Helper()
	var listener net.Listener
	require.NoError(t, netspace.Do(to.netns, func(*netlink.Handle) (err error) {
		listener, err = net.Listen("tcp4", address+":7000")
		return err
	}))
	defer listener.Close()
	sum := make(chan [sha256.Size]byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		h := sha256.New()
		_, _ = io.Copy(h, conn)
		sum <- [sha256.Size]byte(h.Sum(nil))
	}()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	var conn net.Conn
	require.NoError(t, netspace.Do(from.netns, func(*netlink.Handle) (err error) {
		conn, err = net.DialTimeout("tcp4", address+":7000", 10*time.Second)
		return err
	}))
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err := conn.Write(data)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	select {
	case got := <-sum:
		require.Equal(t, sha256.Sum256(data), got)
	case <-time.After(30 * time.Second):
		t.Fatal("the bytes did not arrive")
	}
}

func TestGuestsReachEachOtherAcrossHosts(t *testing.T) {
	ctx := t.Context()
	f := newFabric(t)
	one, two := f.host("hv1", "192.0.2.1"), f.host("hv2", "192.0.2.2")
	a, b, other := aPort(1), aPort(2), aPort(3)
	f.northbound("ls-add", "net", "--", "set", "logical_switch", "net", "other_config:subnet=10.0.0.0/24", "--", "ls-add", "elsewhere")
	options := f.northbound("create", "DHCP_Options", "cidr=10.0.0.0/24",
		`options="lease_time"="3600" "server_id"="10.0.0.1" "server_mac"="fa:16:3e:ff:ff:ff" "mtu"="1442"`)
	for p, where := range map[hostnet.Port][3]string{a: {"net", "10.0.0.11", "hv1"}, b: {"net", "10.0.0.12", "hv2"}, other: {"elsewhere", "10.0.0.11", "hv2"}} {
		f.northbound("lsp-add", where[0], p.ID, "--", "lsp-set-addresses", p.ID, p.MAC+" "+where[1], "--", "lsp-set-port-security", p.ID, p.MAC+" "+where[1], "--",
			"lsp-set-options", p.ID, "requested-chassis="+where[2], "--", "lsp-set-dhcpv4-options", p.ID, options)
	}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for p, m := range map[hostnet.Port]*machine{a: one, b: two, other: two} {
		require.NoError(t, m.ports.Plug(ctx, p))
		require.NoError(t, m.ports.Plug(ctx, p), "again")
		require.NoError(t, m.ports.Await(within, p))
	}
	ga, gb, gother := startGuest(t, one, a), startGuest(t, two, b), startGuest(t, two, other)
	require.Equal(t, "10.0.0.11 1442", ga.dhcp(t))
	require.Equal(t, "10.0.0.12 1442", gb.dhcp(t))

	require.Eventually(t, func() bool { return one.ports.Describe(ctx, "hv1").Checks[4].OK }, time.Minute, 20*time.Millisecond)
	found := one.ports.Describe(ctx, "hv1")
	for _, check := range found.Checks {
		require.True(t, check.OK, check)
	}
	require.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+$`, found.Switch.Version)
	require.Equal(t, []any{"hv1", "userspace", "192.0.2.1", []string{"hv2"}}, []any{found.Switch.SystemID, found.Switch.Datapath, found.Switch.EncapIP, found.Switch.Tunnels})
	require.Equal(t, []contract.HostPort{{ServerID: a.ServerID, PortID: a.ID, Tap: a.Tap(), Up: true}}, found.Ports)

	send(t, ga, gb, "10.0.0.12", 8<<20)
	require.Greater(t, ga.largest.Load(), int64(1500), "the guest leaves segmentation to its host, so frames are longer than any wire takes")
	send(t, gb, ga, "10.0.0.11", 8<<20)

	// A guest is a stranger to its host: what it sends to the host's own addresses, or to everybody, nobody there answers.
	ask := func(g *guest, args ...string) string {
		out, _ := exec.Command("nsenter", append([]string{"--net=" + g.netns}, args...)...).CombinedOutput()
		return string(out)
	}
	require.Equal(t, "10.0.0.11 1442", gother.dhcp(t), "the same address in another network")
	require.NoError(t, exec.Command("ip", "-n", filepath.Base(one.netns), "address", "add", "10.0.0.99/32", "dev", "lo").Run())
	require.Contains(t, ask(ga, "busybox", "arping", "-c", "1", "-w", "1", "-I", "eth0", "10.0.0.99"), "Received 0 ")
	require.Contains(t, ask(gother, "busybox", "arping", "-c", "1", "-w", "1", "-I", "eth0", "10.0.0.12"), "Received 0 ")
	require.Contains(t, ask(ga, "busybox", "arping", "-c", "1", "-w", "5", "-I", "eth0", "10.0.0.12"), "fa:16:3e:00:00:02")

	// A switch that dies is started again, and its guests are reached as before.
	pid, err := os.ReadFile(filepath.Join(f.dir, "hv1", "ovs-vswitchd.pid"))
	require.NoError(t, err)
	f.run("kill", "-9", strings.TrimSpace(string(pid)))
	require.Eventually(t, func() bool {
		return strings.Contains(ask(gb, "busybox", "ping", "-c", "1", "-W", "1", "10.0.0.11"), " 1 packets received")
	}, time.Minute, 20*time.Millisecond)

	// Everything goes, and what somebody else has plugged stays.
	f.vsctl(two, "add-port", "br-int", "theirs", "--", "set", "Interface", "theirs", "type=internal")
	require.NoError(t, two.ports.UnplugAll(ctx, b.ServerID))
	require.NoError(t, two.ports.UnplugAll(ctx, b.ServerID), "again")
	require.NoError(t, two.ports.Unplug(ctx, other.ServerID, 0))
	all, err := two.ports.List(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
	require.Contains(t, strings.Fields(f.vsctl(two, "list-ports", "br-int")), "theirs")
	require.NoError(t, netspace.Do(two.netns, func(h *netlink.Handle) error {
		links, err := taps(h)
		for _, l := range links {
			require.NotContains(t, []string{b.Tap(), other.Tap()}, l.Attrs().Name)
		}
		return err
	}))
}

func TestWhatADeathLeavesBehindIsMendedOrGoes(t *testing.T) {
	ctx := t.Context()
	f := newFabric(t)
	m := f.host("hv1", "192.0.2.1")
	p := aPort(1)
	f.northbound("ls-add", "net", "--", "lsp-add", "net", p.ID, "--", "lsp-set-addresses", p.ID, p.MAC)
	within := func() context.Context {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	list := func() []hostnet.Plugged {
		all, err := m.ports.List(ctx)
		require.NoError(t, err)
		return all
	}
	removed := func() {
		t.Helper()
		require.NoError(t, m.ports.Unplug(ctx, p.ServerID, p.NIC))
		require.Empty(t, list())
		require.Empty(t, f.vsctl(m, "list-ports", "br-int"))
	}

	// A tap alone: the host died before the switch knew of it.
	alone := func() {
		require.NoError(t, netspace.Do(m.netns, func(h *netlink.Handle) error { return makeTap(h, p, m.ports.mark(p.ServerID, p.NIC)) }))
	}
	alone()
	require.Equal(t, []hostnet.Plugged{{ServerID: p.ServerID, Tap: p.Tap(), Error: "it is not in the switch"}}, list())
	removed()
	alone()
	require.NoError(t, m.ports.Plug(ctx, p))
	require.NoError(t, m.ports.Await(within(), p))
	require.Equal(t, []hostnet.Plugged{{ServerID: p.ServerID, PortID: p.ID, MTU: p.MTU, Tap: p.Tap(), Up: true}}, list())

	// A port alone: the machine was started again, and its taps went with it.
	require.NoError(t, netspace.Do(m.netns, func(h *netlink.Handle) error { return removeTap(h, p.Tap(), m.ports.mark(p.ServerID, p.NIC)) }))
	require.Eventually(t, func() bool { all := list(); return len(all) == 1 && all[0].Error != "" }, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, m.ports.Plug(ctx, p))
	require.NoError(t, m.ports.Await(within(), p))
	require.Eventually(t, func() bool { all := list(); return len(all) == 1 && all[0].Up && all[0].Error == "" }, 20*time.Second, 20*time.Millisecond)
	removed()

	// It follows what its port is now.
	require.NoError(t, m.ports.Plug(ctx, p))
	changed := p
	changed.MAC, changed.MTU = "fa:16:3e:00:00:77", 1400
	require.NoError(t, m.ports.Plug(ctx, changed))
	require.Equal(t, "1400", f.vsctl(m, "get", "Interface", p.Tap(), "mtu_request"))
	require.Equal(t, `"fa:16:3e:00:00:77"`, f.vsctl(m, "get", "Interface", p.Tap(), "external_ids:attached-mac"))
	require.Equal(t, p.ID, strings.Trim(f.vsctl(m, "get", "Interface", p.Tap(), "external_ids:iface-id"), `"`))
	removed()

	// Others' are not touched, by whatever name.
	require.NoError(t, exec.Command("ip", "-n", filepath.Base(m.netns), "tuntap", "add", p.Tap(), "mode", "tap").Run())
	require.True(t, fault.Is(m.ports.Plug(ctx, p), fault.Conflict))
	require.NoError(t, m.ports.UnplugAll(ctx, p.ServerID))
	require.NoError(t, exec.Command("ip", "-n", filepath.Base(m.netns), "link", "del", p.Tap()).Run(), "it is there still")
	theirs := New(Options{Endpoint: m.chassis.OVSDB, Owner: "/var/lib/another", NetNS: m.ports.netns})
	t.Cleanup(func() { require.NoError(t, theirs.Close()) })
	require.NoError(t, theirs.Plug(ctx, p))
	require.Empty(t, list())
	require.NoError(t, m.ports.UnplugAll(ctx, p.ServerID))
	require.True(t, fault.Is(m.ports.Plug(ctx, p), fault.Conflict))
	require.NoError(t, theirs.UnplugAll(ctx, p.ServerID))

	// A port that OVN does not know never comes up, and says so in time.
	unknown := aPort(9)
	require.NoError(t, m.ports.Plug(ctx, unknown))
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	err := m.ports.Await(short, unknown)
	require.True(t, fault.Is(err, fault.Unavailable), err)
	require.ErrorContains(t, err, "OVN's controller")
	require.NoError(t, m.ports.UnplugAll(ctx, unknown.ServerID))
}
