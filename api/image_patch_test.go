package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPatchChangesWhatItNamesOrNothing(t *testing.T) {
	w := newWorld(t)
	const kind = "application/openstack-images-v2.1-json-patch"
	id := w.active("demo", object{"os_distro": "debian", "tags": []string{"a"}}, noise(1000))
	fresh := w.queued("demo", nil)
	patch := func(as, id, body string) answer {
		return w.do(as, "PATCH", "/image/v2/images/"+id, body, "Content-Type", kind)
	}
	var many []object
	for i := range 129 {
		many = append(many, object{"op": "add", "path": fmt.Sprint("/p", i), "value": "v"})
	}
	before := w.everything()
	a := w.do("demo", "PATCH", "/image/v2/images/"+id, many, "Content-Type", kind)
	require.Equal(t, 413, a.status, "too many properties: %s", a.body)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"no JSON":                 {`[{`, 400},
		"no list":                 {`{"op": "add", "path": "/a", "value": "b"}`, 400},
		"unknown op":              {`[{"op": "move", "path": "/a", "from": "/b"}]`, 400},
		"no op":                   {`[{"path": "/a", "value": "b"}]`, 400},
		"two ops in one":          {`[{"add": "/a", "remove": "/b", "value": "c"}]`, 400},
		"no value":                {`[{"op": "add", "path": "/a"}]`, 400},
		"no slash":                {`[{"op": "add", "path": "a", "value": "b"}]`, 400},
		"no name":                 {`[{"op": "add", "path": "/", "value": "b"}]`, 400},
		"too deep":                {`[{"op": "add", "path": "/tags/0", "value": "b"}]`, 400},
		"wrong type":              {`[{"op": "replace", "path": "/min_disk", "value": "1"}]`, 400},
		"number as property":      {`[{"op": "add", "path": "/a", "value": 1}]`, 400},
		"over-long name":          {`[{"op": "replace", "path": "/name", "value": "` + strings.Repeat("n", 256) + `"}]`, 400},
		"read-only":               {`[{"op": "replace", "path": "/status", "value": "deleted"}]`, 403},
		"read-only checksum":      {`[{"op": "remove", "path": "/checksum"}]`, 403},
		"id":                      {`[{"op": "replace", "path": "/id", "value": "0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11"}]`, 403},
		"owner":                   {`[{"op": "replace", "path": "/owner", "value": "` + otherProject + `"}]`, 403},
		"a location":              {`[{"op": "add", "path": "/locations/-", "value": {"url": "file:///etc/passwd", "metadata": {}}}]`, 403},
		"a location's end":        {`[{"op": "remove", "path": "/locations/0"}]`, 403},
		"other locations":         {`[{"op": "replace", "path": "/locations", "value": [{"url": "file:///etc/passwd"}]}]`, 403},
		"locations as a whole":    {`[{"op": "add", "path": "/locations", "value": [{"url": "file:///etc/passwd"}]}]`, 400},
		"reserved":                {`[{"op": "add", "path": "/deleted", "value": "True"}]`, 403},
		"import's own":            {`[{"op": "add", "path": "/os_glance_import_task", "value": "x"}]`, 403},
		"the 2.0 form in a 2.1":   {`[{"replace": "/name", "value": "new"}]`, 400},
		"no path":                 {`[{"op": "add", "value": "b"}]`, 400},
		"a name of space":         {`[{"op": "add", "path": "/ ", "value": "b"}]`, 400},
		"a wrong escape":          {`[{"op": "add", "path": "/a~2b", "value": "b"}]`, 400},
		"half an escape":          {`[{"op": "add", "path": "/a~", "value": "b"}]`, 400},
		"another's format":        {`[{"op": "replace", "path": "/container_format", "value": "docker"}]`, 403},
		"publish":                 {`[{"op": "replace", "path": "/visibility", "value": "public"}]`, 403},
		"remove the name":         {`[{"op": "remove", "path": "/name"}]`, 403},
		"format of active":        {`[{"op": "replace", "path": "/disk_format", "value": "qcow2"}]`, 403},
		"replace what is not":     {`[{"op": "replace", "path": "/nothing", "value": "x"}]`, 409},
		"remove what is not":      {`[{"op": "remove", "path": "/nothing"}]`, 409},
		"a good and a bad change": {`[{"op": "replace", "path": "/name", "value": "new"}, {"op": "remove", "path": "/nothing"}]`, 409},
	} {
		t.Run(name, func(t *testing.T) {
			a := patch("demo", id, c.body)
			require.Equal(t, c.status, a.status, string(a.body))
		})
	}
	a = w.do("demo", "PATCH", "/image/v2/images/"+id, `[]`)
	require.Equal(t, 415, a.status)
	require.Equal(t, "application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch", a.header.Get("Accept-Patch"))
	a = patch("demo", id, `[]`)
	require.Equal(t, 200, a.status, "nothing asked for is nothing done")
	require.Equal(t, id, a.json(t)["id"])
	const old = "application/openstack-images-v2.0-json-patch"
	for body, status := range map[string]int{
		`[{"add": "/a", "remove": "/b", "value": "c"}]`:      400,
		`[{"op": "replace", "path": "/name", "value": "n"}]`: 400,
		`[{"add": "/os_distro", "value": "ubuntu"}]`:         409,
		`[{"add": "/name", "value": "n"}]`:                   409,
		`[{"replace": "/nothing", "value": "n"}]`:            409,
	} {
		a := w.do("demo", "PATCH", "/image/v2/images/"+id, body, "Content-Type", old)
		require.Equal(t, status, a.status, "%s: %s", body, a.body)
	}
	require.Equal(t, before, w.everything())
	public := w.queued("admin", object{"visibility": "public"})
	require.Equal(t, 403, patch("demo", public, `[{"op": "remove", "path": "/nothing"}]`).status, "what is there is not said to who may not change it")

	a = patch("demo", id, `[
		{"op": "replace", "path": "/name", "value": "new"}, {"op": "replace", "path": "/min_ram", "value": 128},
		{"op": "replace", "path": "/tags", "value": ["b", "c"]}, {"op": "add", "path": "/hw_machine_type", "value": "q35"},
		{"op": "replace", "path": "/os_distro", "value": "ubuntu"}, {"op": "replace", "path": "/visibility", "value": "private"},
		{"op": "replace", "path": "/protected", "value": true}, {"op": "add", "path": "/gone", "value": "x"}, {"op": "remove", "path": "/gone"},
		{"op": "add", "path": "/ a~1b~01 ", "value": "escaped"}, {"op": "add", "path": "/os_hidden", "value": true}]`)
	require.Equal(t, 200, a.status, string(a.body))
	got := w.image("demo", id)
	require.Equal(t, a.json(t), got)
	require.Equal(t, "new", got["name"])
	require.EqualValues(t, 128, got["min_ram"])
	require.Equal(t, []any{"b", "c"}, got["tags"])
	require.Equal(t, "q35", got["hw_machine_type"])
	require.Equal(t, "ubuntu", got["os_distro"])
	require.Equal(t, "private", got["visibility"])
	require.Equal(t, true, got["protected"])
	require.NotContains(t, got, "gone")
	require.Equal(t, "escaped", got["a/b~1"])
	require.Equal(t, true, got["os_hidden"])
	require.Equal(t, "active", got["status"])

	require.Equal(t, 200, patch("demo", fresh, `[{"op": "replace", "path": "/disk_format", "value": "qcow2"}, {"op": "replace", "path": "/name", "value": null}]`).status)
	require.Equal(t, "qcow2", w.image("demo", fresh)["disk_format"])
	require.Nil(t, w.image("demo", fresh)["name"])
	require.Equal(t, 200, w.do("demo", "PATCH", "/image/v2/images/"+fresh, `[{"replace": "/name", "value": "old form"}]`, "Content-Type", "application/openstack-images-v2.0-json-patch").status)
	require.Equal(t, "old form", w.image("demo", fresh)["name"])
	require.Equal(t, 400, patch("demo", fresh, `[{"op": "replace", "path": "/container_format", "value": "docker"}]`).status)
	require.Equal(t, 200, patch("admin", id, `[{"op": "replace", "path": "/visibility", "value": "public"}]`).status)
	require.Equal(t, "public", w.image("other", id)["visibility"])
}

func TestTagsAreAddedAndRemovedOneByOne(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	path := "/image/v2/images/" + id + "/tags/"
	require.Equal(t, 204, w.do("demo", "PUT", path+"one", nil).status)
	require.Equal(t, 204, w.do("demo", "PUT", path+"one", nil).status, "again is the same")
	require.Equal(t, 204, w.do("demo", "PUT", path+"a%20%2F%20b", nil).status)
	require.Equal(t, []any{"one", "a / b"}, w.image("demo", id)["tags"])
	require.Equal(t, 204, w.do("demo", "DELETE", path+"one", nil).status)
	require.Equal(t, 404, w.do("demo", "DELETE", path+"one", nil).status)
	require.Equal(t, 400, w.do("demo", "PUT", path+strings.Repeat("t", 256), nil).status)
	require.Equal(t, []any{"a / b"}, w.image("demo", id)["tags"])

	full := []string{}
	for i := range 128 {
		full = append(full, fmt.Sprint("t", i))
	}
	crowded := w.queued("demo", object{"tags": full})
	a := w.do("demo", "PUT", "/image/v2/images/"+crowded+"/tags/t128", nil)
	require.Equal(t, 413, a.status, string(a.body))
	require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+crowded+"/tags/t127", nil).status, "it has that one")
	require.Len(t, w.image("demo", crowded)["tags"], 128)

	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { w.do("demo", "PUT", path+fmt.Sprint("racer", i), nil) })
	}
	all.Wait()
	require.Len(t, w.image("demo", id)["tags"], 5, "none is lost to another that comes at once")
}

func TestANumberWithoutAFractionIsAnIntegerHoweverItIsWritten(t *testing.T) {
	w := newWorld(t)
	made := w.do("demo", "POST", "/image/v2/images", `{"name": "i", "min_disk": 5.0, "min_ram": 1.28e2}`)
	require.Equal(t, 201, made.status, string(made.body))
	path := "/image/v2/images/" + made.json(t)["id"].(string)
	patch := func(value string) answer {
		return w.do("demo", "PATCH", path, `[{"op": "replace", "path": "/min_disk", "value": `+value+`}]`, "Content-Type", "application/openstack-images-v2.1-json-patch")
	}
	require.EqualValues(t, []any{5.0, 128.0}, []any{made.json(t)["min_disk"], made.json(t)["min_ram"]})
	for value, want := range map[string]float64{"6.0": 6, "7e0": 7, "80e-1": 8, "-0.0": 0} {
		got := patch(value)
		require.Equal(t, 200, got.status, "%s: %s", value, got.body)
		require.Equal(t, want, got.json(t)["min_disk"], value)
	}
	for _, value := range []string{"5.5", `"5.0"`, "1e-1"} {
		got := patch(value)
		require.Equal(t, 400, got.status, value)
		require.Contains(t, string(got.body), "Invalid input for field/attribute min_disk.", value)
	}
	flavor := w.do("admin", "POST", "/compute/v2.1/flavors", `{"flavor": {"name": "f", "vcpus": 2.0, "ram": 64.0, "disk": 1e0}}`)
	require.Equal(t, 200, flavor.status, string(flavor.body))
}
