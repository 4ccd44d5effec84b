package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/remoteconsoles"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/browser"
	"github.com/slipway-cloud/slipway/test/system"
)

// noVNC are the settings of an API whose page shows screens.
func noVNC(t *testing.T) map[string]any {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", ".slipway", "novnc"))
	require.NoError(t, err)
	require.DirExists(t, dir, "deploy/dev/fetch-novnc.sh unpacks it")
	return map[string]any{"api": map[string]any{"novnc": dir}}
}

// A character of VGA's text mode, in pixels, and the screen's in characters.
const (
	glyphWidth, glyphHeight = 9, 16
	columns, lines          = 80, 25
)

// alphabet is what can be read, once the guest has drawn it.
const alphabet = "abcdefghijklmnopqrstuvwxyz 0123456789 :~$-/"

// terminal reads the text of a guest's screen off the pixels of the page that shows it.
type terminal struct {
	*browser.Page
	t     *testing.T
	known map[string]rune
}

// cells are the lines of the screen, of which each character is its pixels.
func (x *terminal) cells() [][]string {
	x.t.Helper()
	url, _ := x.Evaluate(`document.querySelector("canvas")?.toDataURL("image/png")`).(string)
	_, data, _ := strings.Cut(url, "base64,")
	bytesOf, err := base64.StdEncoding.DecodeString(data)
	require.NoError(x.t, err)
	screen, err := png.Decode(bytes.NewReader(bytesOf))
	if err != nil || screen.Bounds().Size() != image.Pt(columns*glyphWidth, lines*glyphHeight) {
		return nil // nothing is shown yet
	}
	var all [][]string
	for line := range lines {
		var row []string
		for column := range columns {
			var glyph strings.Builder
			for y := range glyphHeight {
				for x := range glyphWidth {
					_, green, _, _ := screen.At(column*glyphWidth+x, line*glyphHeight+y).RGBA()
					glyph.WriteByte("01"[min(1, green>>14)])
				}
			}
			row = append(row, glyph.String())
		}
		all = append(all, row)
	}
	return all
}

// learn takes the first line for the alphabet, where it may be that.
func (x *terminal) learn() bool {
	rows := x.cells()
	if rows == nil {
		return false
	}
	known := map[string]rune{}
	for i, c := range alphabet {
		if before, ok := known[rows[0][i]]; ok && before != c {
			return false
		}
		known[rows[0][i]] = c
	}
	x.known = known
	return true
}

// text is what the screen shows; a character that is not of the alphabet is a question mark.
func (x *terminal) text() string {
	var text strings.Builder
	for _, row := range x.cells() {
		var line strings.Builder
		for _, glyph := range row {
			c, ok := x.known[glyph]
			if !ok {
				c = '?'
			}
			line.WriteRune(c)
		}
		fmt.Fprintln(&text, strings.TrimRight(line.String(), " "))
	}
	return text.String()
}

// shows waits until a line of the screen begins so.
func (x *terminal) shows(line string) {
	x.t.Helper()
	system.Eventually(x.t, guestPatience, func() (bool, string) {
		text := x.text()
		return strings.Contains("\n"+text, "\n"+line), "its screen does not show " + line + ":\n" + text
	})
}

// logsInOnItsScreen has a browser log in to a guest, whose root's shell is on its serial console, and give it orders.
func (r *rig) logsInOnItsScreen(t *testing.T, id, hostname string, root io.Writer, until func(text string)) {
	t.Helper()
	address, err := r.remoteConsole(t, id, remoteconsoles.ConsoleProtocolVNC, remoteconsoles.ConsoleTypeNoVNC)
	require.NoError(t, err)
	x := &terminal{Page: browser.Open(t, address, "--ignore-certificate-errors"), t: t} // they are of the test's own CA
	x.Says("")
	// The cursor goes back to where the login has it.
	_, err = fmt.Fprintf(root, "\rprintf '\\0337\\033[H%%s\\0338' '%s' >/dev/tty1; echo drawn $((6*7))\r", alphabet)
	require.NoError(t, err)
	until("drawn 42")
	system.Eventually(t, guestPatience, func() (bool, string) { return x.learn(), "the page does not show what the guest has drawn" })

	x.shows(hostname + " login:")
	x.Evaluate(`document.querySelector("canvas").focus()`)
	x.Type("demo\n")
	x.shows("~ $")
	x.Type("expr 49 - 7\n")
	x.shows("42")
	x.Type("touch was-here\n")
	_, err = io.WriteString(root, "until stat -c 'it is of %U' /tmp/was-here 2>/dev/null; do sleep 1; done\r")
	require.NoError(t, err)
	until("it is of demo")
}
