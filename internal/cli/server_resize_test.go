package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerIsResizedConfirmedAndRevertedByOneVerb(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"42","name":"large"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, ``, "X-Compute-Request-Id", requestID)
	for _, c := range []struct {
		args       []string
		says, body string
	}{
		{[]string{"resize", "web", "--flavor", "large"}, "resize", `{"resize":{"flavorRef":"42"}}`},
		{[]string{"resize", "confirm", "web"}, "confirm its resize", `{"confirmResize":null}`},
		{[]string{"resize", "revert", "web"}, "revert its resize", `{"revertResize":null}`},
		{[]string{"migrate", "web"}, "migrate", `{"migrate":null}`},
		{[]string{"migrate", "web", "--host", "hv2"}, "migrate", `{"migrate":{"host":"hv2"}}`},
	} {
		got := run(t, append([]string{"server"}, c.args...)...)
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, "asked server web (1) to "+c.says+"\n", got.err)
		asked := a.made("POST /compute/v2.1/servers/1/action")
		require.JSONEq(t, c.body, asked[len(asked)-1].body)
	}
	got := run(t, "server", "resize", "web")
	require.NotZero(t, got.code, "it has to be said to what")
}

func TestWhoWaitsForAMoveIsToldWhereTheServerIs(t *testing.T) {
	for host, on := range map[string]string{`"hv2"`: ", which is on hv2", "null": ""} {
		a := newAPI(t)
		a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
		a.json("POST /compute/v2.1/servers/1/action", 202, ``, "X-Compute-Request-Id", requestID)
		a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","name":"web","OS-EXT-STS:task_state":null,"OS-EXT-SRV-ATTR:host":`+host+`}}`)
		a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"message":null}}`)
		got := run(t, "server", "migrate", "web", "--wait")
		require.Equal(t, 0, got.code, got.err)
		require.Contains(t, got.err, "migrated server web (1)"+on+" after ")
	}
}
