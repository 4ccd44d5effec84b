package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARebuildSendsWhatItsFlagsSayAndNothingElse(t *testing.T) {
	userData := filepath.Join(t.TempDir(), "user-data")
	require.NoError(t, os.WriteFile(userData, []byte("#!/bin/sh"), 0o600))
	for flags, want := range map[string]string{
		"":         `{"rebuild":{"imageRef":"old"}}`,
		"--image":  `{"rebuild":{"imageRef":"new"}}`,
		"--no":     `{"rebuild":{"imageRef":"old","key_name":null,"user_data":null}}`,
		"--others": `{"rebuild":{"imageRef":"old","name":"db","description":"","key_name":"k","user_data":"IyEvYmluL3No","adminPass":"p","metadata":{"role":"web"}}}`,
	} {
		a := newAPI(t)
		a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web","image":{"id":"old"}}]}`)
		a.json("GET /image/v2/images", 200, `{"images":[{"id":"new","name":"debian"}]}`)
		a.json("POST /compute/v2.1/servers/1/action", 202, `{"server":{"id":"1"}}`, "X-Compute-Request-Id", requestID)
		got := run(t, append([]string{"server", "rebuild", "web"}, map[string][]string{
			"--image": {"--image", "debian"}, "--no": {"--no-key-name", "--no-user-data"},
			"--others": {"--name", "db", "--description", "", "--key-name", "k", "--user-data", userData, "--password", "p", "--property", "role=web"},
		}[flags]...)...)
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, "asked server web (1) to rebuild\n", got.err)
		require.JSONEq(t, want, a.made("POST /compute/v2.1/servers/1/action")[0].body)
	}
}

func TestARebuildThatIsWaitedForSaysSo(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web","image":{"id":"old"}}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, `{"server":{"id":"1"}}`, "X-Compute-Request-Id", requestID)
	a.sequence("GET /compute/v2.1/servers/1",
		`{"server":{"id":"1","status":"REBUILD","OS-EXT-STS:task_state":"rebuilding"}}`,
		`{"server":{"id":"1","status":"ACTIVE","OS-EXT-STS:task_state":null}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"rebuild","message":null,"events":[]}}`)
	got := run(t, "server", "rebuild", "web", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "rebuilt server web (1) after 0 ms\n", got.err)
}
