package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// maxInterfaceName is IFNAMSIZ without the closing zero byte.
const maxInterfaceName = unix.IFNAMSIZ - 1

// isOurs tells the bridges that Slipway makes by their name: one without a mark would be left behind by a process that died.
// A bridge of another name is used but never changed nor removed: somebody else's, perhaps with an uplink.
func isOurs(name string) bool { return strings.HasPrefix(name, ids.BridgePrefix) }

// bridges makes and removes the Linux bridges of this host's networks: isolated segments without addresses.
//
// The race to avoid: a start finds its bridge, the last other guest on it goes and the bridge with it, and the start fails.
// So a start holds its bridges by a count from before it looks until libvirt has put the guest's taps on them, and a bridge
// with a count is not removed. A start that fails removes what it leaves unused, in place of the removal that it held up.
// The mutex covers the count and the netlink requests (some 100 µs), never a call to libvirt, so starts do not wait for
// each other.
type bridges struct {
	netns string // path; "" is that of the process which serves the socket
	log   *slog.Logger

	mu   sync.Mutex
	held map[string]int
}

// bridge is a bridge as a domain needs it.
type bridge struct {
	name string
	mtu  int // 0 leaves the kernel's default
}

// hold makes the bridges that are not there and keeps all of them until release is called, exactly once.
func (b *bridges) hold(c *client, want []bridge) (release func(), err error) {
	if len(want) == 0 {
		return func() {}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err = b.inNamespace(c, func(h *netlink.Handle) error {
		for _, br := range want {
			if err := b.ensure(h, br); err != nil {
				return fmt.Errorf("make bridge %s: %w", br.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fault.Wrap(fault.HostUnfit, err, "The host could not make the server's network bridge")
	}
	for _, br := range want {
		b.held[br.name]++
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, br := range want {
			if b.held[br.name]--; b.held[br.name] == 0 {
				delete(b.held, br.name)
			}
		}
	}, nil
}

// removeUnused removes those of the bridges that Slipway made, that carry no interface and that no start holds.
func (b *bridges) removeUnused(ctx context.Context, c *client, of []bridge) error {
	if len(of) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.inNamespace(c, func(h *netlink.Handle) error {
		var links []netlink.Link
		for _, br := range of {
			link, err := h.LinkByName(br.name)
			switch {
			case isNoLink(err):
				continue
			case err != nil:
				return fmt.Errorf("look at bridge %s: %w", br.name, err)
			case b.held[br.name] > 0 || link.Type() != "bridge" || !isOurs(br.name):
				continue
			}
			if links == nil {
				if links, err = listLinks(h); err != nil {
					return fmt.Errorf("list interfaces: %w", err)
				}
			}
			if carriesAny(links, link.Attrs().Index) {
				continue
			}
			if err := h.LinkDel(link); err != nil && !isNoLink(err) {
				return fmt.Errorf("remove bridge %s: %w", br.name, err)
			}
			b.log.DebugContext(ctx, "removed an unused bridge", "bridge", br.name)
		}
		return nil
	})
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "The host could not remove the server's network bridge")
	}
	return nil
}

// listLinks lists the interfaces; the kernel asks to repeat a listing that a change interrupted.
func listLinks(h *netlink.Handle) ([]netlink.Link, error) {
	for tries := 0; ; tries++ {
		links, err := h.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || tries == 10 {
			return links, err
		}
	}
}

func carriesAny(links []netlink.Link, bridge int) bool {
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge {
			return true
		}
	}
	return false
}

func (b *bridges) ensure(h *netlink.Handle, want bridge) error {
	link, err := h.LinkByName(want.name)
	if isNoLink(err) && !isOurs(want.name) {
		return errors.New("there is none, and its name is not one that Slipway makes")
	}
	if isNoLink(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = want.name
		attrs.MTU = want.mtu
		// The kernel makes a bridge with the spanning tree protocol off, so its ports forward at once.
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		link, err = h.LinkByName(want.name)
	}
	if err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("an interface of this name is a %s", link.Type())
	}
	if !isOurs(want.name) {
		return nil
	}
	if want.mtu > 0 && link.Attrs().MTU != want.mtu {
		if err := h.LinkSetMTU(link, want.mtu); err != nil {
			return fmt.Errorf("set its MTU to %d: %w", want.mtu, err)
		}
	}
	if link.Attrs().Flags&net.FlagUp != 0 { // made and finished before
		return nil
	}
	// Before it comes up: the host takes no part in its guests' networks, so no guest may hand it an address by router
	// advertisement, nor reach it at a link-local one.
	knob := filepath.Join("/proc/sys/net/ipv6/conf", want.name, "disable_ipv6")
	if err := os.WriteFile(knob, []byte("1"), 0o644); err != nil && !os.IsNotExist(err) { // absent: a kernel without IPv6
		return fmt.Errorf("disable IPv6 on it: %w", err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	return nil
}

// inNamespace runs f in the network namespace of libvirtd.
func (b *bridges) inNamespace(c *client, f func(*netlink.Handle) error) error {
	path, err := b.namespace(c)
	if err != nil {
		return err
	}
	return netspace.Do(path, f)
}

// namespace is the path of libvirtd's. Where none is named it goes by the process at the other end of the connection, which
// holds in each mount namespace and after every restart of libvirtd.
func (b *bridges) namespace(c *client) (path string, err error) {
	if b.netns != "" {
		return b.netns, nil
	}
	pid, err := c.peer()
	if err != nil || pid == 0 { // of another pid namespace: a libvirtd in a container, say
		return "", err
	}
	path = fmt.Sprintf("/proc/%d/ns/net", pid)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return "", nil // who may not look may not enter either
	}
	if err != nil {
		return "", fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return path, f.Close()
}

func isNoLink(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}
