package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/remoteconsoles"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// remoteConsole asks for a console.
func (r *rig) remoteConsole(t *testing.T, id string, protocol remoteconsoles.ConsoleProtocol, kind remoteconsoles.ConsoleType) (string, error) {
	t.Helper()
	compute := *r.demo
	compute.Microversion = "2.6"
	c, err := remoteconsoles.Create(t.Context(), &compute, id, remoteconsoles.CreateOpts{Protocol: protocol, Type: kind}).Extract()
	if err != nil {
		return "", err
	}
	return c.URL, nil
}

// attach opens the serial console of a server. What it prints is read until a text has come.
func (r *rig) attach(t *testing.T, id string) (guest io.Writer, until func(text string)) {
	t.Helper()
	address, err := r.remoteConsole(t, id, remoteconsoles.ConsoleProtocolSerial, remoteconsoles.ConsoleTypeSerial)
	require.NoError(t, err)
	socket, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPClient: r.HTTP()}) //nolint:bodyclose // Dial has read it
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.CloseNow() })
	ctx, cancel := context.WithTimeout(t.Context(), guestPatience)
	t.Cleanup(cancel)
	stream := websocket.NetConn(ctx, socket, websocket.MessageBinary)
	var printed strings.Builder
	return stream, func(text string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for !strings.Contains(printed.String(), text) {
			n, err := stream.Read(buffer)
			printed.Write(buffer[:n])
			require.NoError(t, err, "before %q it said %q", text, printed.String())
		}
		printed.Reset()
	}
}

func TestWhoOpensAConsoleTypesInTheGuest(t *testing.T) {
	r := newRig(t, system.Options{Settings: noVNC(t)})
	s := r.create(t, servers.CreateOpts{Name: "web", ImageRef: r.wholeDisk(t, r.demoImages), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	r.active(t, s.ID)
	r.console(t, s.ID)
	guest, until := r.attach(t, s.ID)
	_, err := io.WriteString(guest, "\recho it is $((6*7))\r")
	require.NoError(t, err)
	until("it is 42")
	began := time.Now()
	for i := range 20 {
		_, err := fmt.Fprintf(guest, "%d", i%10)
		require.NoError(t, err)
		until(fmt.Sprint(i % 10))
	}
	t.Logf("a key press echoes after %s", time.Since(began)/20)
	_, err = io.WriteString(guest, "\x15echo the log has $((7*7))\r")
	require.NoError(t, err)
	until("the log has 49")
	log, err := servers.ShowConsoleOutput(t.Context(), r.demo, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
	require.NoError(t, err)
	require.Contains(t, log, "it is 42")

	r.logsInOnItsScreen(t, s.ID, "web", guest, until)

	_, err = io.WriteString(guest, "poweroff -f\r")
	require.NoError(t, err)
	for err == nil { // it ends in peace as the guest does
		_, err = guest.(io.Reader).Read(make([]byte, 4096))
	}
	require.ErrorIs(t, err, io.EOF)
	system.Eventually(t, guestPatience, func() (bool, string) {
		_, err := r.remoteConsole(t, s.ID, remoteconsoles.ConsoleProtocolSerial, remoteconsoles.ConsoleTypeSerial)
		return gophercloud.ResponseCodeIs(err, http.StatusConflict), fmt.Sprint(err)
	})
}
