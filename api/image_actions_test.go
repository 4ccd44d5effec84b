package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADeactivatedImageIsShownAndNotGiven(t *testing.T) {
	w := newWorld(t)
	id := w.active("demo", nil, noise(1000))
	path := "/image/v2/images/" + id
	do := func(as, action string) int { return w.do(as, "POST", path+"/actions/"+action, nil).status }
	require.Equal(t, 403, do("reader", "deactivate"))
	for range 2 { // again is the same
		require.Equal(t, 204, do("demo", "deactivate"))
		require.Equal(t, "deactivated", w.image("demo", id)["status"])
	}
	a := w.do("demo", "GET", path+"/file", nil)
	require.Equal(t, 403, a.status)
	require.Contains(t, a.json(t)["message"], "deactivated")
	require.Equal(t, 200, w.do("admin", "GET", path+"/file", nil).status)
	require.Equal(t, 409, w.do("demo", "PUT", path+"/file", noise(10)).status)
	for range 2 {
		require.Equal(t, 204, do("demo", "reactivate"))
		require.Equal(t, "active", w.image("demo", id)["status"])
	}
	require.Equal(t, 200, w.do("demo", "GET", path+"/file", nil).status)

	queued := "/image/v2/images/" + w.queued("demo", nil)
	for _, action := range []string{"deactivate", "reactivate"} {
		a := w.do("demo", "POST", queued+"/actions/"+action, nil)
		require.Equal(t, 403, a.status)
		require.Contains(t, a.json(t)["message"], "Not allowed to "+action+" image in status &#39;queued&#39;")
	}
}

func TestBytesLeaveAStoreOnlyWhereTheyMay(t *testing.T) {
	w := newWorld(t)
	active, queued := w.active("demo", nil, noise(1000)), w.queued("demo", nil)
	before := w.everything()
	for name, c := range map[string]struct {
		as, store, id string
		status        int
		text          string
	}{
		"by a member":           {"demo", "local", active, 403, "delete_image_location"},
		"unseen":                {"other", "local", active, 404, "No image found"},
		"absent":                {"admin", "local", "0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11", 404, "No image found"},
		"a store that is not":   {"admin", "warm", active, 409, "no image store"},
		"of one without bytes":  {"admin", "local", queued, 409, "not &#39;active&#39;"},
		"the only one there is": {"admin", "local", active, 403, "only store"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do(c.as, "DELETE", "/image/v2/stores/"+c.store+"/"+c.id, nil)
			require.Equal(t, c.status, a.status, string(a.body))
			require.Contains(t, a.json(t)["message"], c.text)
		})
	}
	require.Equal(t, before, w.everything())
}
