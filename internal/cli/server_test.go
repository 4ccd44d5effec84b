package cli

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestNothingIsDeletedWhenOneOfSeveralIsUnknown(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	got := run(t, "server", "delete", "web", "nope")
	require.Equal(t, show.ExitNotFound, got.code)
	require.Empty(t, a.made("DELETE /compute/v2.1/servers/1"))
}

func TestServerListSendsItsFilters(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[]}`)
	got := run(t, "server", "list", "--deleted", "--project", "p-1", "--changes-since", "2026-01-02", "--changes-before", "2026-01-03", "--ip", "10.1",
		"--tags", "a,b", "--tags-any", "c", "--not-tags", "d", "--not-tags-any", "e", "--filter", "hostname=^web", "--filter", "config_drive=true")
	require.Equal(t, 0, got.code, got.err)
	sent, err := url.ParseQuery(a.made("GET /compute/v2.1/servers/detail")[0].query)
	require.NoError(t, err)
	for key, value := range map[string]string{
		"deleted": "true", "project_id": "p-1", "all_tenants": "1", "changes-since": "2026-01-02", "changes-before": "2026-01-03", "ip": "10.1",
		"tags": "a,b", "tags-any": "c", "not-tags": "d", "not-tags-any": "e", "hostname": "^web", "config_drive": "true",
	} {
		require.Equal(t, value, sent.Get(key), key)
	}
	require.Equal(t, show.ExitUsage, run(t, "server", "list", "--filter", "hostname").code)
}

func TestDeleteWaitsUntilTheServersAreGone(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"},{"id":"2","name":"db"}]}`)
	for _, id := range []string{"1", "2"} {
		a.json("DELETE /compute/v2.1/servers/"+id, 204, "", "X-Compute-Request-Id", requestID)
		a.sequence("GET /compute/v2.1/servers/"+id, `{"server":{"id":"`+id+`","status":"ACTIVE","OS-EXT-STS:task_state":"deleting"}}`, "404")
		a.json("GET /compute/v2.1/servers/"+id+"/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"delete","message":null,"events":[]}}`)
	}
	got := run(t, "server", "delete", "web", "db", "web", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "deleted server web (1) after 0 ms\ndeleted server db (2) after 0 ms\n", got.err)
	require.Len(t, a.made("DELETE /compute/v2.1/servers/1"), 1)
}

func TestADeleteThatFailsIsTold(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("DELETE /compute/v2.1/servers/1", 204, "", "X-Compute-Request-Id", requestID)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","status":"ERROR","fault":{"message":"hv1 does not answer"}}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"delete","message":"Error","events":[]}}`)
	got := run(t, "server", "delete", "web", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: the delete of server \"web\" (1) failed\n  hv1 does not answer\n")
}

func TestTheConsoleIsPrintedAsTheGuestWroteIt(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 200, `{"output":"booting\nlogin: "}`)
	require.Equal(t, "booting\nlogin: \n", run(t, "server", "console", "web", "--lines", "2").out)
	require.JSONEq(t, `{"os-getConsoleOutput":{"length":2}}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)
}

func TestFollowingAConsolePrintsEachByteOnce(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	outputs := []string{`one\ntwo\nthr`, `one\ntwo\nthr`, `one\ntwo\nthree\n`, "gone"}
	n := 0
	a.mux.HandleFunc("POST /compute/v2.1/servers/1/action", func(w http.ResponseWriter, _ *http.Request) {
		output := outputs[min(n, len(outputs)-1)]
		n++
		if output == "gone" {
			reply(w, 404, `{"itemNotFound":{"code":404,"message":"Instance 1 could not be found."}}`)
			return
		}
		reply(w, 200, `{"output":"`+output+`"}`)
	})
	got := run(t, "server", "console", "web", "--follow", "--lines", "2")
	require.Equal(t, "two\nthree\n", got.out)
	require.Equal(t, show.ExitNotFound, got.code, "the server went away while its console was followed")
}

func TestWhatALogGainedIsFoundEvenWhenItLostItsBeginning(t *testing.T) {
	long := "0123456789012345678901234567890123456789012345678901234567890123456789 the end of the old log\n"
	for _, tc := range []struct{ old, log, want string }{
		{"", "abc", "abc"},
		{"abc", "abc", ""},
		{"abc", "abcdef", "def"},
		{"lost" + long, long + "new\n", "new\n"},
		{"abc", "cde", "de"},
		{"abc", "xyz", "xyz"},
	} {
		require.Equal(t, tc.want, addedText(tc.old, tc.log), "%q → %q", tc.old, tc.log)
	}
}

func TestTheLastLinesOfALog(t *testing.T) {
	require.Equal(t, "b\nc\n", lastLines("a\nb\nc\n", 2))
	require.Equal(t, "c", lastLines("a\nb\nc", 1))
	require.Equal(t, "a\n", lastLines("a\n", 5))
	require.Equal(t, "a\nb", lastLines("a\nb", 0))
	require.Equal(t, "", lastLines("", 3))
}

func TestEventsShowEachActionWithItsSteps(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[]}`)
	a.json(serverURL, 404, `{"itemNotFound":{"code":404,"message":"gone"}}`)
	a.json(serverURL+"/os-instance-actions", 200, `{"instanceActions":[{"action":"create","request_id":"`+requestID+`","start_time":"2030-01-02T03:04:05.000000","message":null}]}`)
	a.json(actionURL, 200, `{"instanceAction":{"action":"create","request_id":"`+requestID+`","start_time":"2030-01-02T03:04:05.000000","message":"Error","events":[`+
		event("StartDomain", "null", "null", "null")+`,`+event("SelectHost", finishedAt, `"Error"`, `"full"`)+`]}}`)
	got := run(t, "server", "events", serverID, "--columns", "action,step,result,took,host,details")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "ACTION  STEP         RESULT   TOOK    HOST  DETAILS\ncreate  -            Error    -       -     -\n"+
		"-       StartDomain  running  -       hv1   -\n-       SelectHost   Error    250 ms  hv1   full\n", got.out)
}

func TestWaitFollowsTheNewestBuildOfAServer(t *testing.T) {
	a := newAPI(t)
	a.sequence(serverURL, building(), building(), `{"server":{"id":"`+serverID+`","name":"web","status":"ACTIVE"}}`)
	a.json(serverURL+"/os-instance-actions", 200, `{"instanceActions":[{"action":"delete","request_id":"req-d","start_time":"2030-01-02T04:00:00.000000"},
		{"action":"create","request_id":"`+requestID+`","start_time":"2030-01-02T03:04:05.000000"}]}`)
	a.json(actionURL, 200, `{"instanceAction":{"events":[`+event("SelectHost", finishedAt, `"Success"`, "null")+`]}}`)
	got := run(t, "server", "wait", serverID)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "  ✓ SelectHost          250 ms  hv1\n", got.err)
}
