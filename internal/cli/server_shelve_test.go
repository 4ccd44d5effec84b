package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServersAreShelvedAndUnshelved(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, ``, "X-Compute-Request-Id", requestID)
	for _, c := range []struct {
		args       []string
		says, body string
	}{
		{[]string{"shelve", "web"}, "be shelved", `{"shelve":null}`},
		{[]string{"shelve", "web", "--offload"}, "leave its host", `{"shelveOffload":null}`},
		{[]string{"unshelve", "web"}, "run again", `{"unshelve":null}`},
		{[]string{"unshelve", "web", "--availability-zone", "az2"}, "run again", `{"unshelve":{"availability_zone":"az2"}}`},
		{[]string{"unshelve", "web", "--no-availability-zone", "--host", "hv2"}, "run again", `{"unshelve":{"availability_zone":null,"host":"hv2"}}`},
	} {
		got := run(t, append([]string{"server"}, c.args...)...)
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, "asked server web (1) to "+c.says+"\n", got.err)
		asked := a.made("POST /compute/v2.1/servers/1/action")
		require.JSONEq(t, c.body, asked[len(asked)-1].body)
	}
	got := run(t, "server", "unshelve", "web", "--availability-zone", "az2", "--no-availability-zone")
	require.NotZero(t, got.code, "which of the two")
}
