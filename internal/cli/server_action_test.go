package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestStopWaitsUntilNothingIsDoneToTheServerAnyMore(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "", "X-Compute-Request-Id", requestID)
	a.sequence("GET /compute/v2.1/servers/1",
		`{"server":{"id":"1","status":"ACTIVE","OS-EXT-STS:task_state":"powering-off"}}`,
		`{"server":{"id":"1","status":"SHUTOFF","OS-EXT-STS:task_state":null}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"stop","message":null,"events":[]}}`)
	got := run(t, "server", "stop", "web", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "stopped server web (1) after 0 ms\n", got.err)
	require.JSONEq(t, `{"os-stop":null}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)
}

func TestAnActionThatTheServersStateForbidsIsToldInTheAPIsWords(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 409,
		`{"conflictingRequest":{"code":409,"message":"Cannot 'start' instance 1 while it is in vm_state active"}}`)
	got := run(t, "server", "start", "web")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "start the server \"web\"")
	require.Contains(t, got.err, "Cannot 'start' instance 1 while it is in vm_state active")
}

func TestAnActionThatFailsSaysWhichStepAndWhatToLookAt(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "", "X-Compute-Request-Id", requestID)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","status":"SHUTOFF","OS-EXT-STS:task_state":null}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200,
		`{"instanceAction":{"action":"start","message":"Error","events":[{"event":"PowerOnDomain","result":"Error","details":"hv1 has no room"}]}}`)
	got := run(t, "server", "start", "web", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: the start of server \"web\" (1) failed\n  PowerOnDomain: hv1 has no room\n")
	require.Contains(t, got.err, "slipway server events 1")
}

func TestACrashDumpIsAskedFor(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "")
	got := run(t, "server", "dump", "web")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "asked server web (1) to dump\n", got.err)
	require.JSONEq(t, `{"trigger_crash_dump":null}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)
}

func TestEveryVerbOfAnActionAsksForItAndSaysWhenItIsDone(t *testing.T) {
	for _, c := range []struct{ verb, flag, body, said string }{
		{"start", "", `{"os-start":null}`, "started"},
		{"reboot", "", `{"reboot":{"type":"SOFT"}}`, "rebooted"},
		{"reboot", "--hard", `{"reboot":{"type":"HARD"}}`, "rebooted"},
		{"pause", "", `{"pause":null}`, "paused"},
		{"unpause", "", `{"unpause":null}`, "unpaused"},
		{"suspend", "", `{"suspend":null}`, "suspended"},
		{"resume", "", `{"resume":null}`, "resumed"},
	} {
		a := newAPI(t)
		a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
		a.json("POST /compute/v2.1/servers/1/action", 202, "", "X-Compute-Request-Id", requestID)
		a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","OS-EXT-STS:task_state":null}}`)
		a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"message":null,"events":[]}}`)
		args := []string{"server", c.verb, "web", "--wait"}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		got := run(t, args...)
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, c.said+" server web (1) after 0 ms\n", got.err)
		require.JSONEq(t, c.body, a.made("POST /compute/v2.1/servers/1/action")[0].body)
	}
}
