package ovs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/imds"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/pace"
)

// metadataKey of an Interface's external_ids names the network whose metadata service it leads to.
const metadataKey = "slipway-metadata"

// inside is what the interface is called in the namespace.
const inside = "meta0"

// space has one of a pair of interfaces in its namespace; the switch has the other. Nobody else holds the namespace, so it goes with this
// process, and both interfaces with it: a death leaves nothing but a row of the switch's, which bears its mark.
type space struct {
	ports   *Ports
	network string
	mtu     int
	ns      *os.File
	link    int
}

var _ hostnet.Spaces = (*Ports)(nil)

// Path implements hostnet.Space.
func (s *space) Path() string { return netspace.Path(s.ns) }

// Link implements hostnet.Space.
func (s *space) Link() int { return s.link }

// OpenSpace implements hostnet.Spaces.
func (o *Ports) OpenSpace(ctx context.Context, network string, mtu int) (hostnet.Space, error) {
	if ids.MetadataLink(network) == "" {
		return nil, fault.New(fault.Internal, "%q is no network", network)
	}
	path, err := o.datapath(ctx)
	if err != nil {
		return nil, err
	}
	ns, err := netspace.New()
	if err != nil {
		return nil, unspaced(network, err)
	}
	s := &space{ports: o, network: network, mtu: mtu, ns: ns}
	err = o.in(ctx, func(h *netlink.Handle) error { return s.pair(ctx, h, path.Userspace) })
	if err == nil {
		err = netspace.Do(s.Path(), s.furnish)
	}
	if err != nil {
		return nil, errors.Join(unspaced(network, err), ns.Close())
	}
	if err := s.Mend(ctx); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return s, nil
}

func unspaced(network string, err error) error {
	return fault.Wrap(fault.Unavailable, fmt.Errorf("the namespace of the metadata service on network %s: %w", network, err),
		"The host could not make the interface of a network's metadata service")
}

// leftPatience is how long the interface of a process that has died is waited for to go.
const leftPatience = 5 * time.Second

// pair makes both interfaces at once, the inner one where it belongs.
func (s *space) pair(ctx context.Context, h *netlink.Handle, userspace bool) error {
	mac, err := net.ParseMAC(ids.MetadataMAC)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = ids.MetadataLink(s.network), s.mtu
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerHardwareAddr, pair.PeerNamespace, pair.PeerMTU = inside, mac, netlink.NsFd(s.ns.Fd()), uint32(s.mtu)
	for began := time.Now(); ; pace.Rest(ctx, 20*time.Millisecond, nil) {
		err := h.LinkAdd(pair)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) || ctx.Err() != nil || time.Since(began) > leftPatience {
			return fmt.Errorf("make %s: %w", attrs.Name, err)
		}
	}
	link, err := h.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	if err := noIPv6(attrs.Name); err != nil {
		return err
	}
	return raise(h, link, userspace)
}

// furnish gives the namespace the service's addresses, and every other one to whoever answers for it on the network.
func (s *space) furnish(h *netlink.Handle) error {
	for knob, value := range map[string]string{
		// Who has no room for a connection does not get one that cannot be told whose it is (see imds).
		"ipv4/tcp_syncookies": "0", "ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", "ipv6/conf/" + inside + "/accept_ra": "0",
		"ipv6/conf/" + inside + "/addr_gen_mode": "1",
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", knob), []byte(value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // absent: a kernel without IPv6
			return fmt.Errorf("set %s: %w", knob, err)
		}
	}
	for _, name := range []string{"lo", inside} {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	link, err := h.LinkByName(inside)
	if err != nil {
		return err
	}
	s.link = link.Attrs().Index
	for _, address := range []netip.Prefix{netip.PrefixFrom(imds.AddressV4, 32), netip.PrefixFrom(imds.AddressV6, 64)} {
		flags := 0
		if address.Addr().Is6() {
			flags = unix.IFA_F_NODAD // nobody else has it, and the service is not to wait
		}
		own := &netlink.Addr{IPNet: ipNet(address), Flags: flags}
		if err := h.AddrReplace(link, own); err != nil {
			return fmt.Errorf("give it %s: %w", address, err)
		}
	}
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: s.link, Dst: ipNet(all), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route %s: %w", all, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Mend implements hostnet.Space.
func (s *space) Mend(ctx context.Context) error {
	name := ids.MetadataLink(s.network)
	err := s.ports.in(ctx, func(h *netlink.Handle) error {
		_, err := h.LinkByName(name)
		return err
	})
	if err != nil {
		return unspaced(s.network, fmt.Errorf("%s: %w", name, err))
	}
	return s.ports.addInterface(ctx, name, s.mtu, map[string]string{
		ifaceID: ids.MetadataPort(s.network), ownerKey: s.ports.owner, metadataKey: s.network,
	}, metadataKey, "the metadata service of network "+s.network)
}

// Close implements hostnet.Space. The namespace goes last: what a death between leaves goes with the process.
func (s *space) Close(ctx context.Context) error {
	return errors.Join(s.ports.removePort(ctx, ids.MetadataLink(s.network)), s.ns.Close())
}

// SweepSpaces implements hostnet.Spaces.
func (o *Ports) SweepSpaces(ctx context.Context, keep []string) error {
	rows, err := o.interfaces(ctx, []ovsdb.Condition{o.ours()})
	if err != nil {
		return err
	}
	for _, row := range rows {
		network := pairs(row, "external_ids")[metadataKey]
		if network == "" || slices.Contains(keep, network) {
			continue
		}
		if err := o.removePort(ctx, text(row, "name")); err != nil {
			return err
		}
	}
	return nil
}
