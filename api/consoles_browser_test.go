package api

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/test/browser"
)

// rfb is a guest's VNC server of a screen of 4 by 4 pixels (RFC 6143).
type rfb struct {
	t *testing.T
	net.Conn
}

func (g rfb) read(n int) []byte {
	g.t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(g, b)
	require.NoError(g.t, err)
	return b
}

func (g rfb) write(parts ...any) {
	g.t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		require.NoError(g.t, binary.Write(&b, binary.BigEndian, p))
	}
	_, err := g.Write(b.Bytes())
	require.NoError(g.t, err)
}

// greet goes through the handshake.
func (g rfb) greet() {
	g.t.Helper()
	g.write([]byte("RFB 003.008\n"))
	require.Equal(g.t, "RFB 003.008\n", string(g.read(12)))
	g.write([]byte{1, 1}) // one security type, none
	require.Equal(g.t, []byte{1}, g.read(1))
	g.write(uint32(0))
	g.read(1)                                                                 // ClientInit
	format := []byte{32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0} // of QEMU
	g.write(uint16(4), uint16(4), format, uint32(3), []byte("web"))
}

// next is the next message but for those that say how the client wants to be served.
func (g rfb) next() (kind byte, rest []byte) {
	g.t.Helper()
	for {
		switch kind := g.read(1)[0]; kind {
		case 0: // SetPixelFormat
			g.read(19)
		case 2: // SetEncodings
			g.read(4 * int(binary.BigEndian.Uint16(g.read(3)[1:])))
		case 3: // FramebufferUpdateRequest
			return kind, g.read(9)
		case 4: // KeyEvent
			return kind, g.read(7)
		case 5: // PointerEvent
			g.read(5)
		default:
			require.Fail(g.t, "unexpected message", "type %d", kind)
		}
	}
}

func TestABrowserShowsAScreenAndTypesOnIt(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	require.NoError(t, w.stop())
	novnc, err := filepath.Abs(filepath.Join("..", ".slipway", "novnc"))
	require.NoError(t, err)
	require.DirExists(t, novnc, "deploy/dev/fetch-novnc.sh unpacks it")
	w.page.NoVNC = novnc
	w.again()
	page := browser.Open(t, w.remote("vnc", "novnc"))

	var guest rfb
	select {
	case end := <-w.guests.ends:
		guest = rfb{t, end}
	case <-page.Done():
		t.Fatalf("the page opens no console: %v", page.Evaluate(`document.body.innerText`))
	}
	require.NoError(t, guest.SetDeadline(time.Now().Add(time.Minute)))
	guest.greet()
	kind, _ := guest.next()
	require.EqualValues(t, 3, kind)
	blue := []byte{0x20, 0x90, 0xf0, 0} // red, green and blue in the order that noVNC asks for
	guest.write([]byte{0, 0}, uint16(1), uint16(0), uint16(0), uint16(4), uint16(4), int32(0), bytes.Repeat(blue, 16))
	shown := page.Evaluate(`new Promise((resolve) => {
		const look = () => {
			const canvas = document.querySelector("canvas");
			const pixel = canvas && [...canvas.getContext("2d").getImageData(1, 1, 1, 1).data];
			pixel && pixel[0] ? resolve(pixel.join(" ")) : requestAnimationFrame(look);
		};
		look();
	})`)
	require.Equal(t, "32 144 240 255", shown)
	require.Empty(t, page.Evaluate(`document.getElementById("status").textContent`))
	require.NotContains(t, page.Evaluate(`location.href`), "token", "it is spent, and need not be seen")

	page.Evaluate(`document.querySelector("canvas").focus()`)
	page.Type("a")
	for _, down := range []byte{1, 0} {
		kind, key := guest.next()
		for kind == 3 {
			kind, key = guest.next()
		}
		require.Equal(t, []byte{down, 0, 0, 0, 0, 0, 'a'}, key)
	}
	require.NoError(t, guest.Close())
	require.Equal(t, "The console is closed.", page.Evaluate(`new Promise((resolve) => {
		const look = () => { const text = document.getElementById("status").textContent; text ? resolve(text) : requestAnimationFrame(look); };
		look();
	})`))

	page.Evaluate(`location.reload()`)
	page.Says("The console cannot be shown: its address opens it once, and has been used: ask for another.")
}

func TestThePageOfAScreenRunsNothingOfOthers(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	for _, name := range []string{"vnc_auto.html", "vnc_auto.js", "vnc_auto.css"} {
		a := w.do("", "GET", "/console/"+name, nil)
		require.Equal(t, 200, a.status)
		require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self';")
		require.Equal(t, "no-referrer", a.header.Get("Referrer-Policy"))
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
		require.NotContains(t, string(a.body), "://")
	}
	for _, name := range []string{"core/rfb.js", "../../api/api.go", "core/", "%2e%2e/secret.js"} {
		require.Equal(t, 404, w.do("", "GET", "/console/novnc/"+name, nil).status, name)
	}
}
