package session

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// Socket opens a websocket of the cloud's, with the certificates of the session and not its token: the address itself is the key. So
// nothing of it is logged.
func (s *Session) Socket(ctx context.Context, address string) (*websocket.Conn, error) {
	socket, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: &http.Client{Transport: s.transport}}) //nolint:bodyclose // Dial has read it
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {                                                              // which has it
		err = wrapped.Err
	}
	return socket, err
}
