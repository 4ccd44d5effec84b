// Package alive finds websockets whose peer is gone without a word.
package alive

import (
	"context"
	"time"

	"github.com/coder/websocket"
)

// Stall is how long what is sent to a peer may wait for it to take that.
const Stall = 30 * time.Second

const (
	every = 30 * time.Second
	// wait is longer than Stall: whoever passes on what he reads reads no answer while it is not taken.
	wait = Stall + 15*time.Second
)

// Watch pings the peer, while somebody reads the socket, and ends with an error where it does not answer any more; nil with ctx.
func Watch(ctx context.Context, socket *websocket.Conn) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		answered, cancel := context.WithTimeout(ctx, wait)
		err := socket.Ping(answered)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}
