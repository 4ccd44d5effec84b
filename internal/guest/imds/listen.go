package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/guest/netspace"
)

const (
	perGuest, perNetwork = 32, 512 // connections at once

	// unacknowledged is how long an answer is sent again to whoever does not take it.
	unacknowledged = 10 * time.Second

	// saveFrames has the kernel keep the first frame of each connection with its header (TCP_SAVE_SYN, tcp(7); since Linux 5.10).
	saveFrames = 2
)

// listen listens in a namespace, at an address that has its interface for a zone where it needs one.
func listen(ctx context.Context, path string, link int, at netip.Addr) (net.Listener, error) {
	if at.Is6() {
		at = at.WithZone(strconv.Itoa(link)) // by number: names of interfaces are looked up elsewhere
	}
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_SAVE_SYN, saveFrames),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds())))
		})
		return errors.Join(err, failed)
	}}
	var l net.Listener
	err := netspace.Do(path, func(*netlink.Handle) (err error) {
		l, err = config.Listen(ctx, "tcp", netip.AddrPortFrom(at, Port).String())
		return err
	})
	return l, err
}

// listener accepts who can be told, so many at once of each.
type listener struct {
	net.Listener
	network string
	ends    *ends
}

// ends counts the connections of a network by the MACs at their other ends.
type ends struct {
	mu  sync.Mutex
	of  map[string]int
	all int
}

func (e *ends) enter(mac string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of[mac] >= perGuest || e.all >= perNetwork {
		return false
	}
	e.of[mac]++
	e.all++
	return true
}

func (e *ends) leave(mac string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all--
	if e.of[mac]--; e.of[mac] <= 0 {
		delete(e.of, mac)
	}
}

// conn is a connection with who is at its other end.
type conn struct {
	net.Conn
	asker Asker
	leave func()
}

// Close gives its place to another.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// Accept passes over whoever cannot be told, or has too many connections.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		mac, err := firstMAC(c)
		if err != nil || !l.ends.enter(mac) {
			_ = c.Close()
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		return &conn{
			Conn: c, leave: sync.OnceFunc(func() { l.ends.leave(mac) }),
			asker: Asker{Network: l.network, Address: from.Unmap().WithZone(""), MAC: mac, Connected: time.Now()},
		}, nil
	}
}

// firstMAC is where the first frame of a connection came from.
func firstMAC(c net.Conn) (string, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var (
		frame [256]byte
		size  = uint32(len(frame))
		errno syscall.Errno
	)
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_SAVED_SYN, uintptr(unsafe.Pointer(&frame)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	const header = 14 // of Ethernet: to, from, type
	if err == nil && (size < header || frame[12] != 0x08 && frame[12] != 0x86) {
		err = errors.New("it has no Ethernet header")
	}
	if err != nil {
		return "", fmt.Errorf("the first frame of a connection: %w", err)
	}
	return net.HardwareAddr(frame[6:12]).String(), nil
}
