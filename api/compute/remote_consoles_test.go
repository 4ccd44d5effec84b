package compute_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func TestAConsolesAddressIsGivenInTheFormOfEachMicroversion(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	path := "/servers/" + s.ID
	asks := func(protocol, kind string) fields {
		return fields{"remote_console": fields{"protocol": protocol, "type": kind}}
	}
	a := c.nova(t, c.member, "2.6", "POST", path+"/remote-consoles", asks("vnc", "novnc"))
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, "vnc", a.At(t, "remote_console", "protocol"))
	require.Equal(t, "novnc", a.At(t, "remote_console", "type"))
	page, err := url.Parse(a.At(t, "remote_console", "url").(string))
	require.NoError(t, err)
	require.Equal(t, c.URL+"/console/vnc_auto.html", page.Scheme+"://"+page.Host+page.Path)
	require.Regexp(t, `^console\?token=[\w-]{43}$`, page.Query().Get("path"), "as noVNC reads it")
	require.Equal(t, contract.OpenConsoleInput{ServerID: s.ID, Hostname: "hv1", Type: contract.ConsoleVNC}, c.builds.opened[0])

	a = c.nova(t, c.member, at96, "POST", path+"/remote-consoles", asks("serial", "serial"))
	require.Equal(t, 200, a.Status, a.Body)
	require.Regexp(t, `^ws://[\d.:]+/console\?token=[\w-]{43}$`, a.At(t, "remote_console", "url"))

	for action, kind := range map[string]string{"os-getVNCConsole": "novnc", "os-getSerialConsole": "serial"} {
		ask := fields{action: fields{"type": kind}}
		a = c.nova(t, c.member, "2.5", "POST", path+"/action", ask)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, kind, a.At(t, "console", "type"))
		require.Contains(t, a.At(t, "console", "url"), "token")
		require.Equal(t, 404, c.nova(t, c.member, "2.6", "POST", path+"/action", ask).Status, "it went with 2.6")
		require.Equal(t, 400, c.nova(t, c.member, "2.1", "POST", path+"/action", fields{action: fields{}}).Status)
	}
	require.Equal(t, 404, c.nova(t, c.member, "2.5", "POST", path+"/remote-consoles", asks("serial", "serial")).Status, "it came with 2.6")
	require.Equal(t, 403, c.nova(t, c.reader, "2.6", "POST", path+"/remote-consoles", asks("serial", "serial")).Status)
	require.Equal(t, 404, c.nova(t, c.stranger, "2.6", "POST", path+"/remote-consoles", asks("serial", "serial")).Status)
}

func TestAConsoleThatThereIsNotIsRefusedAsByNova(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	ask := func(version, protocol, kind string) (int, string) {
		a := c.nova(t, c.member, version, "POST", "/servers/"+s.ID+"/remote-consoles", fields{"remote_console": fields{"protocol": protocol, "type": kind}})
		return a.Status, a.Message(t)
	}
	for _, r := range []struct{ version, protocol, kind, text string }{
		{"2.6", "spice", "spice-html5", "Unavailable console type spice-html5."},
		{"2.6", "rdp", "rdp-html5", "Unavailable console type rdp."},
		{"2.8", "mks", "webmks", "Unavailable console type webmks."},
		{"2.7", "mks", "webmks", "'mks' is not one of ['vnc', 'spice', 'serial', 'rdp']"},
		{"2.6", "vnc", "xvpvnc", "Invalid console type xvpvnc"},
		{"2.6", "serial", "novnc", "Invalid console type novnc"},
	} {
		status, text := ask(r.version, r.protocol, r.kind)
		require.Equal(t, 400, status)
		require.Contains(t, text, r.text)
	}
	require.Empty(t, c.builds.opened)

	for kind, status := range map[fault.Kind]int{fault.Invalid: 400, fault.Conflict: 409, fault.Unavailable: 503} {
		c.builds.err = fault.New(kind, "Its host says why")
		got, text := ask("2.6", "vnc", "novnc")
		require.Equal(t, status, got)
		require.Equal(t, "Its host says why", text)
	}
	c.builds.err = nil
	_, err := c.Store.MarkServerDeleting(context.Background(), s.ID, models.InstanceAction{ServerID: s.ID, RequestID: "req-delete", Action: "delete", StartedAt: time.Now()})
	require.NoError(t, err)
	status, text := ask("2.6", "vnc", "novnc")
	require.Equal(t, 409, status)
	require.Equal(t, "Cannot 'get_vnc_console' instance "+s.ID+" while it is in task_state deleting", text)
}
