package ovs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
)

// blackhole is the bridge that taps belong to where the switch is a process: that reads copies of what a guest sends, and the kernel
// would take the rest for the host's own and answer it. The bridge is down, so it drops it.
const blackhole = "slwdrop"

// makeTap makes a tap that stays when nobody holds it. It gets its mark before it is made to stay, and goes with this process until then:
// there is none without its mark.
func makeTap(h *netlink.Handle, p hostnet.Port, mark string) (err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(p.Tap())
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make it: %w", err)
	}
	// Only root may open it, as libvirt does, which hands it to QEMU; without an owner everybody might.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, 0); err != nil {
		return fmt.Errorf("give it an owner: %w", err)
	}
	link, err := h.LinkByName(p.Tap())
	if err != nil {
		return err
	}
	if err := h.LinkSetAlias(link, mark); err != nil {
		return fmt.Errorf("mark it: %w", err)
	}
	// The host takes no part in its guests' networks: it neither asks for their routers nor answers them.
	if err := noIPv6(p.Tap()); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("make it stay: %w", err)
	}
	return nil
}

// setTap brings a tap to what its port asks for.
func setTap(h *netlink.Handle, p hostnet.Port, userspace bool) error {
	link, err := h.LinkByName(p.Tap())
	if err != nil {
		return err
	}
	if p.MTU > 0 && link.Attrs().MTU != p.MTU {
		if err := h.LinkSetMTU(link, p.MTU); err != nil {
			return fmt.Errorf("set its MTU to %d: %w", p.MTU, err)
		}
	}
	return raise(h, link, userspace)
}

// raise sets an interface of the switch's up, with the host kept out of it.
func raise(h *netlink.Handle, link netlink.Link, userspace bool) error {
	if userspace {
		drop, err := makeBlackhole(h)
		if err != nil {
			return fmt.Errorf("make the bridge %s that keeps guests from the host: %w", blackhole, err)
		}
		if link.Attrs().MasterIndex != drop {
			if err := h.LinkSetMasterByIndex(link, drop); err != nil {
				return fmt.Errorf("keep the host out of it: %w", err)
			}
		}
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set it up: %w", err)
		}
	}
	return nil
}

func makeBlackhole(h *netlink.Handle) (index int, err error) {
	link, err := h.LinkByName(blackhole)
	if isNoLink(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = blackhole
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
			return 0, err
		}
		link, err = h.LinkByName(blackhole)
	}
	if err != nil {
		return 0, err
	}
	if link.Type() != "bridge" || link.Attrs().Flags&net.FlagUp != 0 {
		return 0, fmt.Errorf("an interface of this name is a %s, or is up", link.Type())
	}
	return link.Attrs().Index, nil
}

func noIPv6(name string) error {
	knob := filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
	if err := os.WriteFile(knob, []byte("1"), 0o644); err != nil && !os.IsNotExist(err) { // absent: a kernel without IPv6
		return fmt.Errorf("disable IPv6 on it: %w", err)
	}
	return nil
}

// taps are all of the namespace.
func taps(h *netlink.Handle) (all []netlink.Link, err error) {
	for tries := 0; ; tries++ {
		links, err := h.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) && tries < 10 { // the kernel asks to repeat what a change interrupted
			continue
		}
		for _, l := range links {
			if l.Type() == "tuntap" {
				all = append(all, l)
			}
		}
		return all, err
	}
}

func removeTap(h *netlink.Handle, name, mark string) error {
	link, err := h.LinkByName(name)
	if isNoLink(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if link.Attrs().Alias != mark {
		return nil
	}
	if err := h.LinkDel(link); err != nil && !isNoLink(err) {
		return err
	}
	return nil
}

func isNoLink(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}
