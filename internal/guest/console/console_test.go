package console

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// session is an API that a relay brings a console of some type to: the session's end, and the guest's.
func session(t *testing.T, kind string, deaf time.Duration) (*websocket.Conn, net.Conn) {
	t.Helper()
	sockets := make(chan *websocket.Conn, 1)
	over := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		sockets <- socket
		<-over
	}))
	t.Cleanup(api.Close)
	t.Cleanup(func() { close(over) })
	r := New(Options{API: api.URL, Token: func() string { return "" }, Client: http.DefaultClient, Logger: slog.New(slog.DiscardHandler)})
	r.deaf = deaf
	t.Cleanup(r.Close)
	guest, here := net.Pipe()
	t.Cleanup(func() { _ = guest.Close() })
	require.NoError(t, r.Bring(t.Context(), contract.OpenConsoleInput{ServerID: "1", Type: kind, Session: "s"}, here))
	socket := <-sockets
	t.Cleanup(func() { _ = socket.CloseNow() })
	return socket, guest
}

func TestAGuestThatTakesNothingIsStillReadAndItsUserIsTold(t *testing.T) {
	for _, kind := range []string{contract.ConsoleSerial, contract.ConsoleVNC} {
		t.Run(kind, func(t *testing.T) {
			socket, guest := session(t, kind, time.Second)
			typing := make(chan error, 1)
			go func() {
				var err error
				for range 2 * ahead / chunk {
					err = socket.Write(t.Context(), websocket.MessageBinary, make([]byte, chunk))
				}
				typing <- err
			}()
			go func() { _, _ = io.WriteString(guest, "Kernel panic") }()
			_, printed, err := socket.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, "Kernel panic", string(printed))
			_, _, err = socket.Read(t.Context())
			var said websocket.CloseError
			require.ErrorAs(t, err, &said)
			require.Equal(t, "the guest does not take what is typed", said.Reason)
			<-typing
		})
	}
}

func TestASlowGuestGetsAllThatIsPasted(t *testing.T) {
	socket, guest := session(t, contract.ConsoleSerial, time.Second)
	pasted := bytes.Repeat([]byte("0123456789abcdef"), 2*ahead/16)
	go func() {
		for at := 0; at < len(pasted); at += chunk {
			_ = socket.Write(t.Context(), websocket.MessageBinary, pasted[at:at+chunk])
		}
	}()
	socket.CloseRead(t.Context())
	got := make([]byte, len(pasted))
	_, err := io.ReadFull(guest, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(pasted, got))
}

func TestWhatAGuestPrintsLastIsSeen(t *testing.T) {
	for range 20 {
		socket, guest := session(t, contract.ConsoleSerial, time.Second)
		printed := bytes.Repeat([]byte("reboot: Power down\n"), 20_000)
		go func() {
			_, _ = guest.Write(printed)
			_ = guest.Close()
		}()
		all := websocket.NetConn(t.Context(), socket, websocket.MessageBinary)
		got, err := io.ReadAll(all)
		require.NoError(t, err)
		require.True(t, bytes.Equal(printed, got), "%d of %d bytes", len(got), len(printed))
	}
}

func TestWhatAGuestIsAheadIsCountedInBytes(t *testing.T) {
	ctx := t.Context()
	b := newBacklog(errTooSlow, 0)
	printed := bytes.Repeat([]byte("x"), ahead/16)
	nobody, end := context.WithCancel(ctx) // takes it
	end()
	require.Equal(t, io.EOF, b.fill(nobody, iotest.OneByteReader(bytes.NewReader(printed))), "UARTs print a byte at a time")
	require.Equal(t, errTooSlow, b.fill(ctx, bytes.NewReader(make([]byte, ahead))))
	got := make([]byte, len(printed))
	here, there := net.Pipe()
	drained := make(chan error, 1)
	go func() { drained <- b.drain(ctx, there, chunk) }()
	_, err := io.ReadFull(here, got)
	require.NoError(t, err)
	require.Equal(t, printed, got)
	require.NoError(t, here.Close())
	require.Error(t, <-drained)
}
