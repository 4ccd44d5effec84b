// Package browser drives a headless Chromium over its DevTools, for tests of what a user sees and types on a page.
package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// patience is how long a browser may be used.
const patience = 4 * time.Minute

// Page is what a Chromium shows.
type Page struct {
	t       *testing.T
	ctx     context.Context
	socket  *websocket.Conn
	asked   int
	session string
}

// Open opens an address in a Chromium of its own, with more flags of its command line.
func Open(t *testing.T, address string, flags ...string) *Page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "deploy/dev/install.sh --tests installs it")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, append(append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--remote-debugging-port=0", "--user-data-dir=" + t.TempDir(),
	}, flags...), address)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(said)
	tools := ""
	for tools == "" && lines.Scan() {
		_, tools, _ = strings.Cut(lines.Text(), "DevTools listening on ")
	}
	require.NotEmpty(t, tools, "the browser has not started")
	go func() { _, _ = io.Copy(io.Discard, said) }()
	p := &Page{t: t, ctx: ctx}
	p.socket, _, err = websocket.Dial(ctx, tools, nil) //nolint:bodyclose // Dial has read it
	require.NoError(t, err)
	p.socket.SetReadLimit(-1)
	t.Cleanup(func() { _ = p.socket.CloseNow() })
	var found struct {
		Targets []struct {
			ID   string `json:"targetId"`
			Type string `json:"type"`
		} `json:"targetInfos"`
	}
	p.ask("Target.getTargets", map[string]any{}, &found)
	for _, target := range found.Targets {
		if target.Type == "page" {
			var attached struct {
				Session string `json:"sessionId"`
			}
			p.ask("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
			p.session = attached.Session
		}
	}
	require.NotEmpty(t, p.session, "it has no page")
	return p
}

// Done is closed when the browser has had its time.
func (p *Page) Done() <-chan struct{} { return p.ctx.Done() }

// ask asks for something of the DevTools' protocol.
func (p *Page) ask(method string, params map[string]any, answer any) {
	p.t.Helper()
	p.asked++
	question := map[string]any{"id": p.asked, "method": method, "params": params}
	if p.session != "" {
		question["sessionId"] = p.session
	}
	text, err := json.Marshal(question)
	require.NoError(p.t, err)
	require.NoError(p.t, p.socket.Write(p.ctx, websocket.MessageText, text))
	for {
		_, text, err := p.socket.Read(p.ctx)
		require.NoError(p.t, err)
		var said struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		require.NoError(p.t, json.Unmarshal(text, &said))
		if said.ID != p.asked {
			continue // an event
		}
		require.Empty(p.t, said.Error, "%s: %s", method, said.Error)
		require.NoError(p.t, json.Unmarshal(said.Result, answer))
		return
	}
}

// Evaluate is what an expression of the page, or a promise of it, comes to.
func (p *Page) Evaluate(expression string) any {
	p.t.Helper()
	var said struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
	}
	p.ask("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &said)
	return said.Result.Value
}

// Says waits until the line of the page that says how it goes reads so.
func (p *Page) Says(want string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return p.Evaluate(`document.getElementById("status")?.textContent`) == want }, time.Minute, 50*time.Millisecond)
}

// Type presses the keys of a text of small letters, digits, spaces, dashes and ends of lines, as an American keyboard has them
// without Shift.
func (p *Page) Type(text string) {
	p.t.Helper()
	for _, c := range text {
		key, code, number := string(c), "", 0
		switch {
		case c >= 'a' && c <= 'z':
			code, number = "Key"+strings.ToUpper(key), int(c-'a'+'A')
		case c >= '0' && c <= '9':
			code, number = "Digit"+key, int(c)
		case c == ' ':
			code, number = "Space", 32
		case c == '-':
			code, number = "Minus", 189
		case c == '\n':
			key, code, number = "Enter", "Enter", 13
		default:
			require.Fail(p.t, "no such key", fmt.Sprintf("%q", c))
		}
		for _, way := range []string{"keyDown", "keyUp"} {
			p.ask("Input.dispatchKeyEvent", map[string]any{"type": way, "key": key, "code": code, "windowsVirtualKeyCode": number}, &struct{}{})
		}
	}
}
