package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// machine is one on the network: a network namespace. It has no name: it ends with the test and the processes in it, also when the
// test is killed, so that nothing is ever left to be removed.
type machine struct {
	name, ip string
	ns       netns.NsHandle
}

// network connects machines by a switch, which is a bridge in a namespace of its own.
type network struct {
	t      *testing.T
	bridge *netlink.Handle
	master netlink.Link
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, bridge: handle(t, newNamespace(t))}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "switch"}}
	require.NoError(t, n.bridge.LinkAdd(bridge))
	require.NoError(t, n.bridge.LinkSetUp(bridge))
	n.master = bridge
	return n
}

// machine connects another one, which has a loopback of its own and one address.
func (n *network) machine(name, ip string) machine {
	n.t.Helper()
	m := machine{name: name, ip: ip, ns: newNamespace(n.t)}
	port := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(m.ns)}
	require.NoError(n.t, n.bridge.LinkAdd(port))
	require.NoError(n.t, n.bridge.LinkSetMaster(port, n.master))
	require.NoError(n.t, n.bridge.LinkSetUp(port))
	inside := handle(n.t, m.ns)
	address, err := netlink.ParseAddr(ip + "/24")
	require.NoError(n.t, err)
	for _, link := range []string{"lo", "eth0"} {
		l, err := inside.LinkByName(link)
		require.NoError(n.t, err)
		require.NoError(n.t, inside.LinkSetUp(l))
		if link == "eth0" {
			require.NoError(n.t, inside.AddrAdd(l, address))
		}
	}
	return m
}

// alsoHas gives the machine an address that it alone takes for its own.
func (n *network) alsoHas(m machine, ip string) {
	n.t.Helper()
	inside := handle(n.t, m.ns)
	lo, err := inside.LinkByName("lo")
	require.NoError(n.t, err)
	address, err := netlink.ParseAddr(ip + "/32")
	require.NoError(n.t, err)
	require.NoError(n.t, inside.AddrAdd(lo, address))
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	var made netns.NsHandle
	require.NoError(t, onThread(func() (err error) {
		made, err = netns.New()
		return err
	}))
	t.Cleanup(func() { made.Close() })
	return made
}

func handle(t *testing.T, ns netns.NsHandle) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(ns)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

// onThread does something on a thread that ends with it, whatever namespace it is in then.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// within does something in the machine's namespace. A socket that is made there stays there.
func (m machine) within(do func() error) error {
	return onThread(func() error {
		if err := netns.Set(m.ns); err != nil {
			return fmt.Errorf("going to the machine %s: %w", m.name, err)
		}
		return do()
	})
}

// dial connects from the machine. An address is an IP address: a name would be looked up on another thread.
func (m machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.within(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (m machine) listen(ctx context.Context, address string) (l net.Listener, err error) {
	err = m.within(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		return err
	})
	return l, err
}

// command is a command line that runs in the machine.
func (m machine) command(line ...string) (path string, args []string) {
	return "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), m.ns), "--"}, line...)
}
