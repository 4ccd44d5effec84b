package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestAServersNameMetadataAndTagsAreSet(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","name":"db","tags":["a b"]}}`)
	a.json("PUT /compute/v2.1/servers/1", 200, `{"server":{}}`)
	a.json("POST /compute/v2.1/servers/1/metadata", 200, `{"metadata":{}}`)
	a.json("PUT /compute/v2.1/servers/1/tags/{tag}", 201, "")
	got := run(t, "server", "set", "web", "--name", "db", "--description", "", "--hostname", "db.example.org", "--property", "role=db", "--tag", "a b", "--tag", "c")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "name  db\n")
	require.JSONEq(t, `{"server":{"name":"db","description":"","hostname":"db.example.org"}}`, a.made("PUT /compute/v2.1/servers/1")[0].body)
	require.JSONEq(t, `{"metadata":{"role":"db"}}`, a.made("POST /compute/v2.1/servers/1/metadata")[0].body)
	require.Len(t, a.made("PUT /compute/v2.1/servers/1/tags/a b"), 1)
	require.Len(t, a.made("PUT /compute/v2.1/servers/1/tags/c"), 1)

	require.Equal(t, show.ExitUsage, run(t, "server", "set", "web").code)
	require.Equal(t, show.ExitUsage, run(t, "server", "set", "web", "--property", "role").code)
	require.Len(t, a.made("PUT /compute/v2.1/servers/1"), 1)
}

func TestAServersDescriptionMetadataAndTagsAreRemoved(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web","metadata":{"role":"web","tier":"1"},"tags":["blue"]}]}`)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","name":"web"}}`)
	a.json("PUT /compute/v2.1/servers/1", 200, `{"server":{}}`)
	a.json("DELETE /compute/v2.1/servers/1/metadata/role", 204, "")
	a.json("DELETE /compute/v2.1/servers/1/tags/{tag}", 404, `{"itemNotFound":{"code":404,"message":"Instance 1 has no tag 'red'"}}`)
	require.Equal(t, 0, run(t, "server", "unset", "web", "--description", "--property", "role").code)
	require.JSONEq(t, `{"server":{"description":null}}`, a.made("PUT /compute/v2.1/servers/1")[0].body)
	require.Len(t, a.made("DELETE /compute/v2.1/servers/1/metadata/role"), 1)

	got := run(t, "server", "unset", "web", "--tag", "red")
	require.Equal(t, show.ExitNotFound, got.code)
	require.Contains(t, got.err, "Instance 1 has no tag 'red'")
	require.Equal(t, show.ExitUsage, run(t, "server", "unset", "web").code)
	require.Equal(t, "role\ntier\n:4\n", run(t, "__complete", "server", "unset", "web", "--property", "").out)
	require.Equal(t, "blue\n:4\n", run(t, "__complete", "server", "unset", "web", "--tag", "").out)
}

func TestAnAdminsResetIsWaitedFor(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","name":"web","status":"ERROR"}}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "", "X-Compute-Request-Id", requestID)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"resetState","message":null}}`)
	got := run(t, "server", "set", "web", "--state", "error")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "ERROR")
	require.JSONEq(t, `{"os-resetState":{"state":"error"}}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)
	require.Len(t, a.made("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID), 1)
}

func TestAForcedDeleteIsAnActionOfItsOwn(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "")
	require.Equal(t, 0, run(t, "server", "delete", "web", "--force").code)
	require.JSONEq(t, `{"forceDelete":null}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)
}

func TestADeleteThatIsDeferredIsWaitedForUntilTheServerIsSoftDeleted(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("DELETE /compute/v2.1/servers/1", 204, "")
	a.sequence("GET /compute/v2.1/servers/1",
		`{"server":{"id":"1","status":"ACTIVE","OS-EXT-STS:task_state":"soft-deleting"}}`,
		`{"server":{"id":"1","status":"SOFT_DELETED","OS-EXT-STS:task_state":null}}`)
	got := run(t, "server", "delete", "web", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "deleted server web (1) after 0 ms\n", got.err)
}
