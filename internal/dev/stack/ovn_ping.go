package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/slipway-cloud/slipway/internal/guest/netspace"
)

// Stand is a port of a network in which nobody stands: an interface in a network namespace takes its place for a while.
type Stand struct {
	Chassis  string // folder of the one that it is plugged into
	Programs string
	PortID   string
	MAC      string
	Address  netip.Prefix
	To       netip.Addr
}

// probe is the name of its interface on the chassis, one at a time: what a killed one has left is taken away by the next.
const probe = "slwping"

// Ping asks an address from there, three times, and writes what ping says. The namespace goes with the process.
func Ping(ctx context.Context, s Stand, out io.Writer) (err error) {
	of, err := ChassisNetNS(s.Chassis)
	if err != nil {
		return err
	}
	p := ovnPrograms{dir: s.Chassis, folder: s.Programs}
	vsctl := func(ctx context.Context, args ...string) error {
		return p.once(ctx, "ovs-vsctl", append([]string{"--timeout=20", "--db=" + p.socket("conf")}, args...)...)
	}
	if err := vsctl(ctx, "--if-exists", "del-port", probe); err != nil {
		return err
	}
	// It is killed when the thread that started it ends, as one does that was in another namespace: this one stays here.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	holder := exec.CommandContext(ctx, "unshare", "--net", "sh", "-c", "echo there; exec sleep 300")
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := holder.Start(); err != nil {
		return err
	}
	defer func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
		err = errors.Join(err, vsctl(context.WithoutCancel(ctx), "--if-exists", "del-port", probe))
	}()
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	inside := netnsOf(holder.Process.Pid)
	err = netspace.Do(of, func(h *netlink.Handle) error {
		peer, err := netns.GetFromPath(inside)
		if err != nil {
			return err
		}
		defer peer.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = probe
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(peer))}
		if err := h.LinkAdd(link); err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
	if err != nil {
		return fmt.Errorf("make an interface: %w", err)
	}
	for _, args := range [][]string{
		{"ip", "link", "set", "eth0", "address", s.MAC, "up"},
		{"ip", "address", "add", s.Address.String(), "dev", "eth0"},
	} {
		if said, err := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + inside}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, said)
		}
	}
	// What is waited for in one call with what it follows from is waited for in vain: the call is one transaction.
	for _, args := range [][]string{
		{"add-port", "br-int", probe, "--", "set", "Interface", probe, "external_ids:iface-id=" + s.PortID},
		{"wait-until", "Interface", probe, `external_ids:ovn-installed="true"`},
	} {
		if err := vsctl(ctx, args...); err != nil {
			return fmt.Errorf("plug port %s: %w", s.PortID, err)
		}
	}
	ping := exec.CommandContext(ctx, "nsenter", "--net="+inside, "busybox", "ping", "-c", "3", "-W", "5", s.To.String())
	ping.Stdout, ping.Stderr = out, out
	if err := ping.Run(); err != nil {
		return fmt.Errorf("%s does not answer: %w", s.To, err)
	}
	return nil
}
