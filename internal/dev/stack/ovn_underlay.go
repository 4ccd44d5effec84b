package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/slipway-cloud/slipway/internal/guest/netspace"
)

// Underlay is what chassis of one machine have their tunnels' addresses of: RFC 5737's, which nobody else has in their namespaces.
var Underlay = netip.MustParsePrefix("192.0.2.0/24")

// physical is the bridge that has the tunnels' address: the switch's own datapath sends there, and not by the kernel.
const physical = "br-phy"

// underlay makes the bridge and gives it its address, which may be lost with a switch that dies.
func (p *ovnPrograms) underlay(ctx context.Context, encapIP string) error {
	ip, err := netip.ParseAddr(encapIP)
	if err != nil {
		return err
	}
	// The others keep for minutes by which hardware address they reach it, so that is the same after each start.
	mac := append(net.HardwareAddr{0x02, 0x00}, ip.AsSlice()...)
	err = p.once(ctx, "ovs-vsctl", "--timeout=5", "--db="+p.socket("conf"), "--may-exist", "add-br", physical,
		"--", "set", "bridge", physical, "datapath_type=netdev", fmt.Sprintf("other_config:hwaddr=%q", mac.String()))
	if err != nil {
		return err
	}
	return netspace.Do(p.netns, func(h *netlink.Handle) error {
		link, err := h.LinkByName(physical)
		if err != nil {
			return err
		}
		err = h.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(Underlay.Bits(), ip.BitLen())}})
		if err != nil {
			return fmt.Errorf("give %s the address %s: %w", physical, ip, err)
		}
		return h.LinkSetUp(link)
	})
}

// WireEnd is where a wire ends: an interface in a chassis' network namespace and in its bridge of the underlay.
type WireEnd struct {
	Dir       string // of the chassis, which runs
	Interface string
}

// LayWire connects two chassis of this machine, unless they are. A bridge passes on what comes from one wire to the others, so a
// star of wires makes one underlay. It goes with either's namespace.
func LayWire(ctx context.Context, programs string, a, b WireEnd) error {
	of, err := ChassisNetNS(a.Dir)
	if err != nil {
		return err
	}
	to, err := ChassisNetNS(b.Dir)
	if err != nil {
		return err
	}
	err = netspace.Do(of, func(h *netlink.Handle) error {
		if _, err := h.LinkByName(a.Interface); !errors.As(err, new(netlink.LinkNotFoundError)) {
			return err // nil: the other end is there too
		}
		peer, err := netns.GetFromPath(to)
		if err != nil {
			return err
		}
		defer peer.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = a.Interface
		return h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b.Interface, PeerNamespace: netlink.NsFd(int(peer))})
	})
	if err != nil {
		return fmt.Errorf("lay a wire from %s to %s: %w", a.Dir, b.Dir, err)
	}
	for end, path := range map[WireEnd]string{a: of, b: to} {
		err := netspace.Do(path, func(h *netlink.Handle) error {
			link, err := h.LinkByName(end.Interface)
			if err != nil {
				return err
			}
			return h.LinkSetUp(link)
		})
		if err != nil {
			return fmt.Errorf("set %s up: %w", end.Interface, err)
		}
		p := ovnPrograms{dir: end.Dir, folder: programs}
		// The switch takes it in when it can: it may be another process' to start.
		err = p.once(ctx, "ovs-vsctl", "--timeout=10", "--db="+p.socket("conf"), "--no-wait", "--may-exist", "add-port", physical, end.Interface)
		if err != nil {
			return err
		}
	}
	return nil
}

// ChassisNetNS is the path of the network namespace in which a folder's chassis runs.
func ChassisNetNS(dir string) (string, error) {
	pid, err := readPid(filepath.Join(dir, vswitchd+".pid"))
	if err == nil {
		_, err = os.Stat(netnsOf(pid))
	}
	if err != nil {
		return "", fmt.Errorf("find the Open vSwitch of %s: %w", dir, err)
	}
	return netnsOf(pid), nil
}
