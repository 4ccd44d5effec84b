package rest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/alive"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Socket is a websocket as a stream of bytes. Frames may have any length: none is held as a whole.
type Socket struct {
	net.Conn
	socket *websocket.Conn
	pings  sync.WaitGroup
	stop   context.CancelFunc
}

// closed is where the codes of closes begin that carry a fault's status: 4404 is a NotFound.
const closed = 4000

// Upgrade makes the request a Socket, which End closes. Browsers' pages are refused that are neither of the API's own origin nor of
// one of origins; clients that are no browsers name none.
func Upgrade(c echo.Context, origins []string) (*Socket, error) {
	if !strings.EqualFold(c.Request().Header.Get("Upgrade"), "websocket") {
		err := Status(http.StatusUpgradeRequired, "This is an address for websockets.")
		err.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
		return nil, err
	}
	if page := c.Request().Header.Get("Origin"); page != "" && !welcome(c, page, origins) {
		return nil, fault.New(fault.Forbidden, "Pages of %s may not open websockets here.", page)
	}
	socket, err := websocket.Accept(c.Response(), c.Request(), &websocket.AcceptOptions{
		InsecureSkipVerify: true,               // the origin's: it takes origins for patterns, in which [::1] is one of two characters
		Subprotocols:       []string{"binary"}, // that older noVNC asks for
	})
	if err != nil {
		return nil, Status(c.Response().Status, "%s", err) // as it has been answered
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(c.Request().Context()))
	s := &Socket{Conn: websocket.NetConn(context.WithoutCancel(ctx), socket, websocket.MessageBinary), socket: socket, stop: stop}
	s.pings.Go(func() {
		if alive.Watch(ctx, socket) != nil {
			_ = socket.CloseNow()
		}
	})
	return s, nil
}

// welcome says whether a page's origin (RFC 6454) is this API's, by the host that the request or its public address names, or one of
// origins.
func welcome(c echo.Context, page string, origins []string) bool {
	u, err := url.Parse(page)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, c.Request().Host) ||
		slices.ContainsFunc(append([]string{BaseURL(c)}, origins...), func(origin string) bool {
			o, err := url.Parse(origin)
			return err == nil && strings.EqualFold(o.Scheme, u.Scheme) && strings.EqualFold(o.Host, u.Host)
		})
}

// Read ends with a fault where the peer has said why it ends, and with io.EOF where it has ended in peace.
func (s *Socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	var said websocket.CloseError
	switch {
	case err == nil, err == io.EOF: //nolint:errorlint // in peace alone: an end that nobody has said wraps it too
	case errors.As(err, &said) && said.Reason != "":
		err = fault.New(fault.Unavailable, "%s", said.Reason)
	case said.Code == websocket.StatusNoStatusRcvd: // of noVNC, when a page is left
		err = io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// maxReason is what a close has room for, by RFC 6455.
const maxReason = 123

// End closes the socket and tells the peer why: nil is in peace, and an error by its public text and status. Again is nothing.
func (s *Socket) End(why error) {
	s.stop()
	if why == nil {
		_ = s.socket.Close(websocket.StatusNormalClosure, "")
	} else {
		text := fault.Public(why)
		_ = s.socket.Close(closed+websocket.StatusCode(fault.KindOf(why).Status()), strings.ToValidUTF8(text[:min(len(text), maxReason)], ""))
	}
	s.pings.Wait()
}
