package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func TestATerminalIsTheGuestsUntilItIsLeftOrClosed(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/remote-consoles", 200,
		`{"remote_console":{"protocol":"serial","type":"serial","url":"ws`+strings.TrimPrefix(a.URL, "http")+`/console?token=s3cret"}}`)
	closes := ""
	a.mux.HandleFunc("GET /console", func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "s3cret", r.URL.Query().Get("token"))
		require.Empty(t, r.Header.Get("X-Auth-Token"))
		guest, err := websocket.Accept(w, r, nil)
		require.NoError(t, err)
		_, typed, err := guest.Read(t.Context())
		require.NoError(t, err)
		require.NoError(t, guest.Write(t.Context(), websocket.MessageBinary, []byte("typed "+string(typed))))
		if closes != "" {
			_ = guest.Close(4503, closes)
		} else {
			_, _, err := guest.Read(t.Context())
			require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
		}
	})
	got := runWith(t, t.Context(), "ls\r\x1d and no more", "server", "console", "web", "--attach", "--debug")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "attached to the serial console of server web (1): Ctrl-] leaves it\n")
	require.NotContains(t, got.err, "s3cret")

	closes = "another session has taken the console over"
	got = runWith(t, t.Context(), "ls\r", "server", "console", "web", "--attach")
	require.Equal(t, 1, got.code)
	require.Equal(t, "typed ls\r", got.out)
	require.Contains(t, got.err, closes)
}

func TestAConsoleThatIsNotReachedDoesNotTellItsAddress(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/remote-consoles", 200,
		`{"remote_console":{"protocol":"serial","type":"serial","url":"ws://127.0.0.1:1/console?token=s3cret"}}`)
	got := run(t, "server", "console", "web", "--attach")
	require.NotEqual(t, 0, got.code)
	require.Contains(t, got.err, "connection refused")
	require.NotContains(t, got.err, "s3cret", "it is good still")
}

func TestTheAddressOfAConsoleIsPrinted(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/remote-consoles", 200, `{"remote_console":{"protocol":"vnc","type":"novnc","url":"https://cloud/console/vnc_auto.html?path=x"}}`)
	got := run(t, "server", "console", "web", "--url", "novnc")
	require.Equal(t, "https://cloud/console/vnc_auto.html?path=x\n", got.out)
	require.JSONEq(t, `{"remote_console":{"protocol":"vnc","type":"novnc"}}`, a.made("POST /compute/v2.1/servers/1/remote-consoles")[0].body)
	got = run(t, "server", "console", "web", "--url", "spice")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.err, `--url is "spice": use novnc or serial`)
}
