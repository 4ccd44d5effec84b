package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServersAreLockedWithAReasonAndUnlocked(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "")
	require.Equal(t, "locked server web (1)\n", run(t, "server", "lock", "web", "--reason", "mine").err)
	require.Equal(t, "locked server web (1)\n", run(t, "server", "lock", "web").err)
	require.Equal(t, "unlocked server web (1)\n", run(t, "server", "unlock", "web").err)
	for i, body := range []string{`{"lock":{"locked_reason":"mine"}}`, `{"lock":null}`, `{"unlock":null}`} {
		require.JSONEq(t, body, a.made("POST /compute/v2.1/servers/1/action")[i].body)
	}
	require.Equal(t, 0, run(t, "server", "list", "--locked").code)
	require.Equal(t, 0, run(t, "server", "list", "--unlocked").code)
	lists := a.made("GET /compute/v2.1/servers/detail")
	require.Contains(t, lists[len(lists)-2].query, "locked=true")
	require.Contains(t, lists[len(lists)-1].query, "locked=false")
}
