package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// IdleReader reads a request's body of any length: the server's deadline for whole bodies is replaced by one that starts
// again with every read, so that a long upload may take hours but a stalled one ends after idle. The deadline for the
// answer is lifted too: it would have passed before the answer begins.
func IdleReader(c echo.Context, idle time.Duration) (io.Reader, error) {
	control := http.NewResponseController(c.Response())
	if err := control.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("lift the deadline of an answer: %w", err)
	}
	return &idleReader{control, c.Request().Body, idle}, nil
}

type idleReader struct {
	control *http.ResponseController
	from    io.Reader
	idle    time.Duration
}

func (r *idleReader) Read(p []byte) (int, error) {
	if err := r.control.SetReadDeadline(time.Now().Add(r.idle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("set the deadline of a read: %w", err)
	}
	return r.from.Read(p)
}

// CopyIdle sends size bytes as the answer's body: the server's deadline for whole answers is replaced by one that starts
// again with every few MiB. Files go out by sendfile.
func CopyIdle(c echo.Context, from io.Reader, size int64, idle time.Duration) error {
	const stretch = 4 << 20
	control := http.NewResponseController(c.Response())
	for left := size; left > 0; {
		if err := control.SetWriteDeadline(time.Now().Add(idle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("set the deadline of a write: %w", err)
		}
		// The writer below Echo's, which hides net/http's ReadFrom.
		n, err := io.CopyN(c.Response().Writer, from, min(left, stretch))
		c.Response().Size += n
		left -= n
		if err != nil {
			return fmt.Errorf("send a body: %w", err)
		}
	}
	return nil
}
