package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrphansAreListedSetAsideAdoptedAndDeletedByName(t *testing.T) {
	const one = "5d0c1b3e-6f0e-4a53-9c0e-0a1b2c3d4e5f"
	a := newAPI(t)
	a.json("GET /image-orphans", 200, `{"orphans":[{"id":"`+one+`","store":"cold","bytes":1048576,"disk_format":"qcow2","set_aside_at":"2030-01-02T03:04:05Z","deleted_at":null}]}`)
	a.json("POST /image-orphans/"+one+"/set-aside", 200, `{"orphan":{"id":"`+one+`","deleted_at":"2030-01-09T03:04:05Z"}}`)
	a.json("POST /image-orphans/"+one+"/adopt", 202, `{"image":{"id":"`+one+`"}}`)
	a.json("DELETE /image-orphans/"+one, 204, "")
	for _, args := range [][]string{{"image", "orphans"}, {"image", "orphans", "list"}} {
		got := run(t, args...)
		require.Equal(t, 0, got.code, got.err)
		require.Contains(t, got.out, one)
		require.Contains(t, got.out, "1.0 MiB")
		require.Contains(t, got.out, "2030-01-02T03:04:05Z")
	}
	got := run(t, "image", "orphans", "set-aside", one)
	require.Equal(t, "set "+one+" aside until 2030-01-09T03:04:05Z\n", got.err)
	got = run(t, "image", "orphans", "adopt", one, "--name", "debian", "--store", "cold", "--disk-format", "qcow2", "--project", "a0000000000000000000000000000001")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "adopting it as image "+one+": slipway image task show "+one+"\n", got.err)
	require.JSONEq(t, `{"name":"debian","store":"cold","disk_format":"qcow2","project_id":"a0000000000000000000000000000001"}`, a.made("POST /image-orphans/" + one + "/adopt")[0].body)
	got = run(t, "image", "orphans", "delete", one, "--store", "cold")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "store=cold", a.made("DELETE /image-orphans/" + one)[0].query)
}
