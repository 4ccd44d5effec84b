package rest

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// IdleReader reads a request's body of any length: the server's deadline for whole bodies is replaced by one that starts
// again with every read, so that a long upload may take hours but a stalled one ends after idle.
func IdleReader(c echo.Context, idle time.Duration) io.Reader {
	return &idleReader{http.NewResponseController(c.Response()), c.Request().Body, idle}
}

type idleReader struct {
	control *http.ResponseController
	from    io.Reader
	idle    time.Duration
}

func (r *idleReader) Read(p []byte) (int, error) {
	if err := r.control.SetReadDeadline(time.Now().Add(r.idle)); err != nil {
		return 0, fmt.Errorf("set the deadline of a read: %w", err)
	}
	return r.from.Read(p)
}

// IdleWriter writes an answer of any length: the server's deadline for whole answers is replaced by one that starts again
// with every write.
func IdleWriter(c echo.Context, idle time.Duration) io.Writer {
	return &idleWriter{http.NewResponseController(c.Response()), c.Response(), idle}
}

type idleWriter struct {
	control *http.ResponseController
	to      io.Writer
	idle    time.Duration
}

func (w *idleWriter) Write(p []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(w.idle)); err != nil {
		return 0, fmt.Errorf("set the deadline of a write: %w", err)
	}
	return w.to.Write(p)
}
