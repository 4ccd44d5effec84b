package cli

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// hostWork is what is done to a host and goes on by itself.
type hostWork struct {
	path, key string // where it is asked for, and what of the answer it is
	ended     string // the field that says when it has ended
	progress  func(show.Object) string
	goesOn    string // what is said where watching ends before it
	hint      string
}

// followHost waits until it has ended, and says how far it is.
func (c *client) followHost(ctx context.Context, cmd *cobra.Command, s *session.Session, w hostWork, is show.Object, timeout time.Duration) (show.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	var last error
	for said := ""; show.Text(is, w.ended) == ""; {
		if now := w.progress(is); now != said {
			said = now
			c.say(cmd, "%s", now)
		}
		if pause(ctx, c.poll) != nil {
			return nil, stoppedWatching(ctx, w.goesOn, last, w.hint)
		}
		answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodGet, Path: w.path})
		switch {
		case err == nil:
			is, last = objectIn(answer, w.key), nil
		case ctx.Err() != nil: // the next pause says so
		case isTransient(err):
			last = err
		default:
			return nil, session.Doing(err, "ask how far it is")
		}
	}
	return is, nil
}
