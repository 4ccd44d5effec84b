package api

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// asked are the imports that somebody asked for.
type asked []contract.ImportInput

func (a *asked) Import(_ context.Context, in contract.ImportInput) error {
	*a = append(*a, in)
	return nil
}

func TestOrphansAreAnAdminsToSeeSetAsideAdoptAndDelete(t *testing.T) {
	w := newWorld(t)
	imports := &asked{}
	w.imports = imports
	require.NoError(t, w.stop()) // whenever that one looks, it sets aside what it finds
	w.serve()
	require.Equal(t, 200, w.do("", "GET", "/healthz", nil).status) // it has settled what it found at its start
	ids := []string{"11111111-" + uuid.NewString()[9:], "22222222-" + uuid.NewString()[9:], "33333333-" + uuid.NewString()[9:]}
	for _, id := range ids {
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "images", id), noise(1000), 0o600))
	}
	known := w.active("demo", nil, noise(10))
	for _, c := range [][2]string{{"GET", "/image-orphans"}, {"POST", "/image-orphans/" + ids[0] + "/adopt"}, {"POST", "/image-orphans/" + ids[0] + "/set-aside"}, {"DELETE", "/image-orphans/" + ids[0]}} {
		require.Equal(t, 403, w.do("demo", c[0], c[1], nil).status, c)
		require.Equal(t, 401, w.do("", c[0], c[1], nil).status, c)
	}
	list := func(query string) (ids []string, all []any, next any) {
		a := w.do("admin", "GET", "/image-orphans"+query, nil)
		require.Equal(t, 200, a.status, string(a.body))
		all, _ = a.json(t)["orphans"].([]any)
		for _, o := range all {
			ids = append(ids, o.(map[string]any)["id"].(string))
		}
		return ids, all, a.json(t)["next"]
	}
	found, all, _ := list("")
	require.Equal(t, ids, found)
	first := all[0].(map[string]any)
	require.Equal(t, map[string]any{"id": ids[0], "store": "local", "bytes": 1000.0, "disk_format": "raw", "set_aside_at": nil, "deleted_at": nil}, first)
	found, _, next := list("?limit=2")
	require.Equal(t, ids[:2], found)
	require.Contains(t, next, "marker=")
	found, _, _ = list("?limit=2&marker=" + ids[1] + "@local")
	require.Equal(t, ids[2:], found)
	require.Equal(t, 400, w.do("admin", "GET", "/image-orphans?marker=x", nil).status)

	a := w.do("admin", "POST", "/image-orphans/"+ids[0]+"/set-aside", object{})
	require.Equal(t, 200, a.status, string(a.body))
	require.NotNil(t, a.json(t)["orphan"].(map[string]any)["set_aside_at"])
	require.Equal(t, 400, w.do("admin", "POST", "/image-orphans/"+ids[0]+"/adopt", object{"disk_format": "tape"}).status)
	require.Equal(t, 400, w.do("admin", "POST", "/image-orphans/"+ids[0]+"/adopt", object{"project_id": "nobody"}).status)
	require.Equal(t, 404, w.do("admin", "POST", "/image-orphans/"+ids[0]+"/adopt", object{"store": "cold"}).status)

	a = w.do("admin", "POST", "/image-orphans/"+ids[0]+"/adopt", object{"name": "found again"})
	require.Equal(t, 202, a.status, string(a.body))
	image := w.image("admin", ids[0])
	require.Equal(t, "found again", image["name"])
	require.Equal(t, "queued", image["status"])
	require.Len(t, *imports, 1)
	in := (*imports)[0]
	require.Equal(t, contract.ImportOrphan, in.Method)
	require.Equal(t, ids[0], in.URI)
	require.Equal(t, []string{"local"}, in.Stores)
	require.Equal(t, ids[0], in.Task.ImageID)

	require.Equal(t, 204, w.do("admin", "DELETE", "/image-orphans/"+ids[1], nil).status)
	require.Equal(t, 404, w.do("admin", "DELETE", "/image-orphans/"+ids[1], nil).status)
	require.Equal(t, 404, w.do("admin", "DELETE", "/image-orphans/"+known, nil).status)
	require.NotContains(t, w.bytesKept(), "images/"+ids[1])
	require.Contains(t, w.bytesKept(), "images/"+known)
	require.Equal(t, 400, w.do("demo", "POST", "/image/v2/images/"+w.queued("demo", nil)+"/import", object{"method": object{"name": "adopt"}}).status, "no user imports what is not theirs")
}
