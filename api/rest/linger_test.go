package rest

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// refusing is a server that reads as much of a body as it is told and then refuses it.
func refusing(t *testing.T, reads int64, o Options) string {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	e := echo.New()
	e.Use(Begin(o))
	e.PUT("/", func(c echo.Context) error {
		_, _ = io.CopyN(io.Discard, c.Request().Body, reads)
		return fault.New(fault.Conflict, "The image has its data already.")
	}, Fail(Glance))
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// says requires that the refusal has come, whole, and whether it is the last thing that comes.
func says(t *testing.T, conn net.Conn, last bool) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, answer.StatusCode)
	require.Contains(t, string(text), "The image has its data already.")
	require.Positive(t, answer.ContentLength)
	require.Equal(t, last, answer.Close)
}

const megabyte = 1 << 20

func TestAClientThatSendsEverythingBeforeItLooksIsToldWhyItIsRefused(t *testing.T) {
	const size = 64 * megabyte // more than the sockets hold
	piece := strings.Repeat("x", megabyte)
	for name, tc := range map[string]struct {
		header string
		send   func(io.Writer) error
	}{
		"with a length": {fmt.Sprintf("Content-Length: %d", size), func(w io.Writer) error {
			for range size / megabyte {
				if _, err := io.WriteString(w, piece); err != nil {
					return err
				}
			}
			return nil
		}},
		"in chunks": {"Transfer-Encoding: chunked", func(w io.Writer) error {
			for range size / megabyte {
				if _, err := fmt.Fprintf(w, "%x\r\n%s\r\n", len(piece), piece); err != nil {
					return err
				}
			}
			_, err := io.WriteString(w, "0\r\n\r\n")
			return err
		}},
	} {
		for _, reads := range []int64{0, 3 * megabyte} {
			t.Run(fmt.Sprintf("%s, %d bytes read", name, reads), func(t *testing.T) {
				conn := connect(t, refusing(t, reads, Options{}))
				fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", tc.header)
				require.NoError(t, tc.send(conn), "the connection stays until everything was sent")
				says(t, conn, true)
			})
		}
	}
}

// A client that looks while it sends, or sends no more, has the whole answer at once.
func TestARefusalComesBeforeTheRestOfTheBody(t *testing.T) {
	for _, header := range []string{"Content-Length: 1000000000", "Content-Length: 5000", "Transfer-Encoding: chunked"} {
		conn := connect(t, refusing(t, 0, Options{}))
		fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", header)
		says(t, conn, true)
	}
}

func TestAClientThatAsksFirstIsRefusedBeforeItSends(t *testing.T) {
	for _, length := range []int{1000, 1000000000} {
		conn := connect(t, refusing(t, 0, Options{linger: lingering{idle: time.Hour, all: time.Hour}}))
		fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", length)
		says(t, conn, true) // and no 100 before it
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "nothing is awaited of it")
	}
}

func TestAConnectionWhoseRequestWasReadIsUsedAgain(t *testing.T) {
	for _, header := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		conn := connect(t, refusing(t, megabyte, Options{}))
		for range 2 {
			fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\n%s", header)
			says(t, conn, false)
		}
	}
}

// Whoever goes on and on, or falls silent, is left.
func TestARefusedBodyIsTakenForSoMuchAndSoLong(t *testing.T) {
	const never = time.Hour
	for name, tc := range map[string]struct {
		limits lingering
		pause  time.Duration
		bytes  int
	}{
		"bytes":    {lingering{bytes: 5 * megabyte, all: never, idle: never}, 0, megabyte},
		"trickles": {lingering{bytes: never.Nanoseconds(), all: 200 * time.Millisecond, idle: never}, 5 * time.Millisecond, 1},
		"silence":  {lingering{bytes: never.Nanoseconds(), all: never, idle: 50 * time.Millisecond}, never, 1},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, refusing(t, 0, Options{linger: tc.limits}))
			fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
			ended, sent := make(chan struct{}), make(chan error, 1)
			go func() {
				for piece := make([]byte, tc.bytes); ; {
					if _, err := conn.Write(piece); err != nil {
						sent <- err
						return
					}
					select {
					case <-time.After(tc.pause):
					case <-ended:
						sent <- nil
						return
					}
				}
			}()
			says(t, conn, true)
			_, err := conn.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server has left")
			close(ended)
			<-sent
		})
	}
}
