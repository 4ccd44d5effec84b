// Package console brings consoles of guests to the API. A hypervisor does not listen for them: it is told of the session that wants the
// console, and dials.
package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/slipway-cloud/slipway/internal/alive"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
)

// Options of a Relay.
type Options struct {
	API    string        // the address that the host reaches the API by
	Token  func() string // the host's own
	Client *http.Client  // shows the host's certificate, and trusts the API's alone
	Logger *slog.Logger
}

// Relay carries the consoles of a host's guests.
type Relay struct {
	o    Options
	deaf time.Duration // how long a guest may take nothing of what waits for it

	stopping context.Context
	stop     context.CancelFunc
	open     sync.WaitGroup

	mu      sync.Mutex
	serials map[string]*carried // by server
}

// carried is a console that is open.
type carried struct {
	end  context.CancelCauseFunc
	over chan struct{}
}

// New makes a Relay, which Close ends.
func New(o Options) *Relay {
	r := &Relay{o: o, deaf: 10 * time.Second, serials: map[string]*carried{}}
	r.stopping, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends all that are open and waits for them.
func (r *Relay) Close() {
	r.stop()
	r.open.Wait()
}

// Why a console ends, in the words of whom it is taken from.
var (
	errTakenOver = errors.New("another session has taken the console over")
	errTooSlow   = errors.New("the guest prints faster than its output is taken")
	errDeaf      = errors.New("the guest does not take what is typed")
	errStopping  = errors.New("the server's host is being stopped")
)

// Bring dials the session and returns once the console is there. It goes on by itself, until the guest or the session ends it, or, for
// a serial port, which has one reader, until another session opens it.
func (r *Relay) Bring(ctx context.Context, in contract.OpenConsoleInput, guest io.ReadWriteCloser) error {
	socket, err := r.dial(ctx, in)
	if err != nil {
		return errors.Join(err, guest.Close())
	}
	ctx, end := context.WithCancelCause(r.stopping)
	c := &carried{end: end, over: make(chan struct{})}
	if in.Type == contract.ConsoleSerial {
		r.takeOver(in.ServerID, c)
	}
	r.open.Go(func() {
		why := r.carry(ctx, c, in.Type, socket, guest)
		r.forget(in.ServerID, c)
		r.o.Logger.Info("A console is closed.", "server_id", in.ServerID, "type", in.Type, "why", fmt.Sprint(why))
	})
	return nil
}

// takeOver makes c the one that reads a server's serial port, once nobody else does.
func (r *Relay) takeOver(server string, c *carried) {
	r.mu.Lock()
	before := r.serials[server]
	r.serials[server] = c
	r.mu.Unlock()
	if before != nil {
		before.end(errTakenOver)
		<-before.over
	}
}

func (r *Relay) forget(server string, c *carried) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serials[server] == c {
		delete(r.serials, server)
	}
}

// dial reaches the session. The token goes to whoever has the API's certificate, as with every request of the host: the address is
// the control plane's word, and is not trusted further.
func (r *Relay) dial(ctx context.Context, in contract.OpenConsoleInput) (*websocket.Conn, error) {
	api := cmp.Or(in.API, r.o.API)
	if strings.HasPrefix(r.o.API, "https:") && !strings.HasPrefix(api, "https:") {
		return nil, fault.New(fault.Internal, "The API is reached by https, and %s is not: correct api.advertise_url", api)
	}
	socket, answer, err := websocket.Dial(ctx, strings.TrimSuffix(api, "/")+hostapi.ConsolePath+url.PathEscape(in.Session), &websocket.DialOptions{ //nolint:bodyclose // Dial has read it
		HTTPClient: r.o.Client, HTTPHeader: http.Header{"Authorization": {"Bearer " + r.o.Token()}},
	})
	switch {
	case err == nil:
		return socket, nil
	case answer != nil && answer.StatusCode == http.StatusNotFound:
		return nil, fault.Wrap(fault.Unavailable, err, "The API process that the host came to does not know of the session: of several, each needs its own api.advertise_url")
	}
	return nil, fault.Wrap(fault.Unavailable, err, "The server's host does not reach the API for the console")
}

const chunk = 32 << 10 // bytes that are read at once

// carry passes bytes both ways until one side ends, and says why: nil where either has ended it in peace.
func (r *Relay) carry(ctx context.Context, c *carried, kind string, socket *websocket.Conn, guest io.ReadWriteCloser) error {
	// Not ctx: a read that it cancelled would close the socket before the session is told why.
	session := websocket.NetConn(context.WithoutCancel(ctx), socket, websocket.MessageBinary)
	var all sync.WaitGroup
	if kind == contract.ConsoleSerial {
		// A terminal that nobody reads holds the guest up, and its log with it.
		printed := newBacklog(errTooSlow, 0)
		all.Go(func() { c.end(printed.fill(ctx, guest)) })
		all.Go(func() { c.end(printed.drain(ctx, session, chunk)) })
	} else {
		all.Go(func() { c.end(copyAll(session, guest)) })
	}
	// The session is read whether or not the guest takes what is typed: its answers to pings come behind that.
	typed := newBacklog(errDeaf, r.deaf)
	all.Go(func() { c.end(typed.fill(ctx, session)) })
	all.Go(func() { c.end(typed.drain(ctx, guest, keys)) })
	all.Go(func() { c.end(alive.Watch(ctx, socket)) })
	<-ctx.Done()
	why := context.Cause(ctx)
	switch {
	case r.stopping.Err() != nil:
		why = errStopping
	case errors.Is(why, io.EOF), errors.Is(why, syscall.EIO): // EIO is a terminal's whose guest is off
		why = nil
	}
	_ = guest.Close()
	close(c.over)
	finish(socket, why)
	all.Wait()
	return why
}

// copyAll ends with an error always: io.EOF where there is no more.
func copyAll(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, chunk))
	return cmp.Or(err, io.EOF)
}

// finish tells the session why.
func finish(socket *websocket.Conn, why error) {
	switch {
	case why == nil:
		_ = socket.Close(websocket.StatusNormalClosure, "")
	case errors.Is(why, errTakenOver), errors.Is(why, errTooSlow), errors.Is(why, errDeaf), errors.Is(why, errStopping):
		_ = socket.Close(websocket.StatusTryAgainLater, why.Error())
	default:
		_ = socket.CloseNow()
	}
}
