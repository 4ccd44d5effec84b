package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
)

// maxIdle bounds the connections that are kept for the next call. Each costs libvirtd a client and us two goroutines; one
// that is not idle in time is opened anew, for about a millisecond.
const maxIdle = 4

// errClosed is what a call gets after Close.
var errClosed = errors.New("the hypervisor connection is closed")

// pool holds connections to libvirtd. A call has a connection for itself, because
//   - go-libvirt's calls know no context: closing the connection is the only way to end one, and must not end others';
//   - libvirtd takes only five requests at a time from one client (max_client_requests), so that a quick question would
//     wait behind slow starts.
//
// A connection that broke is thrown away as a whole; nothing is ever reconnected in place.
type pool struct {
	socket string
	// lost counts connections that libvirtd ended or refused: another count means that it may be another libvirtd.
	lost atomic.Int64

	mu     sync.Mutex
	idle   []*client
	closed bool
	inUse  sync.WaitGroup
}

// client is one connection. The embedded go-libvirt client's own idea of whether it is connected is not used: it is set
// after the handshake without synchronization.
type client struct {
	*golibvirt.Libvirt
	conn *watchedConn
}

// watchedConn notices the first read that fails; go-libvirt always has one pending.
type watchedConn struct {
	net.Conn
	broken chan struct{}
	once   sync.Once
	closed atomic.Bool // by us
	lost   *atomic.Int64
}

func (c *watchedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.once.Do(func() {
			close(c.broken)
			if !c.closed.Load() {
				c.lost.Add(1)
			}
		})
	}
	return n, err
}

// peer is the process that serves the socket, 0 where it can't be seen from here.
func (c *client) peer() (pid int, err error) {
	socket, ok := c.conn.Conn.(syscall.Conn)
	if !ok {
		return 0, nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, asked); err != nil {
		return 0, fmt.Errorf("find libvirtd's process: %w", err)
	}
	return int(peer.Pid), nil
}

func (c *client) isBroken() bool {
	select {
	case <-c.conn.broken:
		return true
	default:
		return false
	}
}

// dialed hands go-libvirt a connection that is made already.
type dialed struct{ conn net.Conn }

func (d dialed) Dial() (net.Conn, error) { return d.conn, nil }

// transportError marks that libvirtd did not answer, in contrast to an answer that is an error.
type transportError struct{ cause error }

func (e transportError) Error() string { return e.cause.Error() }
func (e transportError) Unwrap() error { return e.cause }

// do runs f on a connection of its own and waits for it to return; when ctx ends first, the connection is closed under it,
// so it returns at once and nothing stays behind. A kept connection that turns out to be dead, because libvirtd was
// restarted meanwhile, is replaced and f runs once more: every method built on this may run twice.
func (p *pool) do(ctx context.Context, f func(*client) error) error {
	for {
		c, kept, err := p.take(ctx)
		if err != nil {
			return err
		}
		err = p.run(ctx, c, f)
		if kept && ctx.Err() == nil && errors.As(err, new(transportError)) {
			continue
		}
		return err
	}
}

func (p *pool) run(ctx context.Context, c *client, f func(*client) error) error {
	defer p.inUse.Done()
	err := guard(ctx, c.conn, func() error { return f(c) })
	switch {
	case c.isBroken() || isTransport(err):
		c.conn.Close()
		if err != nil && !errors.As(err, new(golibvirt.Error)) {
			return transportError{err}
		}
	default:
		p.give(c)
	}
	return err
}

// guard runs f and closes conn when ctx ends before f does.
func guard(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := f()
	if !stop() && err != nil && !errors.As(err, new(golibvirt.Error)) {
		return transportError{fmt.Errorf("%w: %w", context.Cause(ctx), err)}
	}
	return err
}

// take gives a kept connection, or a new one. A caller that gets one calls inUse.Done.
func (p *pool) take(ctx context.Context) (c *client, kept bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, transportError{err}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, transportError{errClosed}
	}
	p.inUse.Add(1)
	for len(p.idle) > 0 && c == nil {
		last := len(p.idle) - 1
		c, p.idle = p.idle[last], p.idle[:last]
		if c.isBroken() {
			c.conn.Close()
			c = nil
		}
	}
	p.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	if c, err = p.open(ctx); err != nil {
		p.inUse.Done()
		return nil, false, transportError{err}
	}
	return c, false, nil
}

// give keeps a connection for the next call.
func (p *pool) give(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		c.conn.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) open(ctx context.Context) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.socket)
	if err != nil {
		if ctx.Err() == nil {
			p.lost.Add(1)
		}
		return nil, err
	}
	watched := &watchedConn{Conn: conn, broken: make(chan struct{}), lost: &p.lost}
	c := &client{Libvirt: golibvirt.NewWithDialer(dialed{watched}), conn: watched}
	if err := guard(ctx, watched, func() error { return c.ConnectToURI(golibvirt.QEMUSystem) }); err != nil {
		watched.Close()
		return nil, fmt.Errorf("open %s at %s: %w", golibvirt.QEMUSystem, p.socket, err)
	}
	return c, nil
}

// close ends the kept connections and waits for the calls that run, which their contexts bound.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.idle {
		c.conn.Close()
	}
	p.idle = nil
	p.mu.Unlock()
	p.inUse.Wait()
}

// isTransport tells a connection's failure from an error that libvirt answered. The list is what go-libvirt and the
// standard library give when a connection breaks while a request is written or its answer awaited.
func isTransport(err error) bool {
	var op *net.OpError
	return errors.As(err, new(transportError)) || errors.As(err, &op) ||
		errors.Is(err, golibvirt.ErrInterrupted) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPIPE)
}

// bounded gives ctx the deadline that every call has, where it has no earlier one.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded))
}
