package api

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListsAreFilteredSortedAndPaged(t *testing.T) {
	w := newWorld(t)
	ids := map[string]string{}
	for _, i := range []struct {
		as, name string
		body     object
		size     int
	}{
		{"demo", "alpha", object{"tags": []string{"x", "y"}, "os_distro": "debian"}, 10},
		{"demo", "beta", object{"disk_format": "qcow2", "tags": []string{"x"}, "protected": true}, 0},
		{"demo", "gamma", object{"visibility": "private", "os_distro": "debian"}, 2000},
		{"other", "delta", object{"visibility": "community"}, 30},
		{"other", "epsilon", nil, 40},
		{"admin", "zeta", object{"visibility": "public", "disk_format": "iso"}, 0},
	} {
		body := object{"name": i.name}
		for k, v := range i.body {
			body[k] = v
		}
		if i.size > 0 {
			ids[i.name] = w.active(i.as, body, noise(i.size))
		} else {
			ids[i.name] = w.queued(i.as, body)
		}
	}
	names := func(a answer) []string {
		require.Equal(t, 200, a.status, string(a.body))
		list := []string{}
		for _, o := range a.json(t)["images"].([]any) {
			list = append(list, o.(object)["name"].(string))
		}
		return list
	}
	for query, want := range map[string][]string{
		"":                                   {"zeta", "gamma", "beta", "alpha"},
		"name=beta":                          {"beta"},
		"name=in:alpha,gamma":                {"gamma", "alpha"},
		`name=in:"alpha,beta",beta`:          {"beta"},
		"status=queued":                      {"zeta", "beta"},
		"status=in:active":                   {"gamma", "alpha"},
		"visibility=private":                 {"gamma"},
		"visibility=public":                  {"zeta"},
		"visibility=community":               {"delta"},
		"visibility=all":                     {"zeta", "delta", "gamma", "beta", "alpha"},
		"owner=" + demoProject:               {"gamma", "beta", "alpha"},
		"owner=" + otherProject:              {},
		"disk_format=in:qcow2,iso":           {"zeta", "beta"},
		"container_format=bare":              {"zeta", "gamma", "beta", "alpha"},
		"container_format=ami":               {},
		"tag=x":                              {"beta", "alpha"},
		"tag=x&tag=y":                        {"alpha"},
		"tag=%20x%20":                        {"beta", "alpha"},
		"protected=true":                     {"beta"},
		"os_distro=debian":                   {"gamma", "alpha"},
		"no_such_property=x":                 {},
		"size_min=1000":                      {"gamma"},
		"size_max=1000":                      {"alpha"},
		"size=lte:1000":                      {"alpha"},
		"created_at=gt:2020-01-01T00:00:00Z": {"zeta", "gamma", "beta", "alpha"},
		"created_at=lt:2020-01-01":           {},
		"created_at=2020-01-01T00:00:00Z":    {},
		"created_at=gt:2020-01-01&created_at=lt:2020-01-02": {},
		"checksum=x":                           {},
		"os_hash_algo=sha512":                  {"gamma", "alpha"},
		"os_hash_algo=md5":                     {},
		"min_disk=0":                           {"zeta", "gamma", "beta", "alpha"},
		"min_ram_min=1":                        {},
		"min_disk_max=0&size_min=-1":           {"gamma", "alpha"},
		"virtual_size_max=1024":                {"alpha"},
		"status=floppy":                        {},
		"name=":                                {},
		"name=in:":                             {},
		"name=eq:beta":                         {"beta"},
		"name=gamma:12":                        {},
		"deleted=true&name=beta":               {"beta"},
		"os_hidden=False&name=beta":            {"beta"},
		"os_distro=in:debian":                  {},
		"sort_key=container_format":            {"zeta", "gamma", "beta", "alpha"},
		"sort=container_format:asc":            {"alpha", "beta", "gamma", "zeta"},
		"sort=visibility":                      nil,
		"limit=5000":                           {"zeta", "gamma", "beta", "alpha"},
		"os_hidden=true":                       {},
		"os_hidden=false&limit=1":              {"zeta"},
		"limit=0":                              {},
		"id=" + ids["epsilon"]:                 {},
		"id=" + ids["alpha"]:                   {"alpha"},
		"sort_key=name&sort_dir=asc":           {"alpha", "beta", "gamma", "zeta"},
		"sort=name:desc":                       {"zeta", "gamma", "beta", "alpha"},
		"sort=status:asc,name:asc":             {"alpha", "gamma", "beta", "zeta"},
		"sort_key=size&sort_dir=desc&limit=2":  {"gamma", "alpha"},
		"sort_dir=asc":                         {"alpha", "beta", "gamma", "zeta"},
		"marker=" + ids["gamma"]:               {"beta", "alpha"},
		"sort=name:asc&marker=" + ids["gamma"]: {"zeta"},
	} {
		query = strings.ReplaceAll(query, `"`, "%22")
		a := w.do("demo", "GET", "/image/v2/images?"+query, nil)
		if want == nil {
			require.Equal(t, 400, a.status, query)
			continue
		}
		require.Equal(t, want, names(a), query)
	}
	require.Equal(t, []string{"zeta", "epsilon", "gamma", "beta", "alpha"}, names(w.do("admin", "GET", "/image/v2/images", nil)),
		"an admin sees all but others' community images")
	require.Len(t, names(w.do("admin", "GET", "/image/v2/images?visibility=all", nil)), 6, "unless it asks for them")
	require.Equal(t, []string{"gamma", "beta", "alpha"}, names(w.do("demo", "GET", "/image/v2/images?marker="+ids["delta"], nil)),
		"an image that could be seen is a marker, listed or not")

	for _, query := range []string{
		"limit=-1", "limit=x", "marker=nothing", "marker=" + ids["epsilon"], "sort_key=secret", "sort_dir=up", "sort=name:up",
		"sort=name&sort_key=name", "sort_key=name&sort_dir=asc&sort_dir=asc", "visibility=secret", "protected=maybe",
		"size_min=x", "size=gt:x", "created_at=gt:yesterday", "member_status=friend", "name=%00", "limit=",
		"os_hidden=maybe", "os_hidden=1", "protected=True", "protected=1", "changes-since=2020-01-01", "name=gt:a", "status=neq:active",
		"name=in:%22alpha", "name=in:a%22b%22", "name=in:%22a%22b", "created_at=in:2020-01-01", "min_ram_max=x", "tags=x", "self=x",
	} {
		require.Equal(t, 400, w.do("demo", "GET", "/image/v2/images?"+query, nil).status, query)
	}

	beta := w.image("demo", ids["beta"])["created_at"].(string)
	require.Contains(t, names(w.do("demo", "GET", "/image/v2/images?created_at="+beta, nil)), "beta", "made when it says")
	require.NotContains(t, names(w.do("demo", "GET", "/image/v2/images?created_at=gt:"+beta, nil)), "beta", "and not later")

	seen, path := []string{}, "/v2/images?limit=2&sort=name:asc&container_format=bare"
	for path != "" {
		a := w.do("demo", "GET", "/image"+path, nil)
		seen = append(seen, names(a)...)
		body := a.json(t)
		require.Equal(t, "/v2/schemas/images", body["schema"])
		require.Contains(t, body["first"], "container_format=bare")
		require.NotContains(t, body["first"], "marker")
		path, _ = body["next"].(string)
	}
	require.Equal(t, []string{"alpha", "beta", "gamma", "zeta"}, seen)
}

func BenchmarkDownload(b *testing.B) {
	const size = 4 << 20
	w := newWorld(b)
	id := w.active("demo", nil, noise(size))
	b.SetBytes(size)
	for b.Loop() {
		if a := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil); a.status != 200 || len(a.body) != size {
			b.Fatal(a.status, len(a.body))
		}
	}
}

func BenchmarkListImages(b *testing.B) {
	w := newWorld(b)
	for range 200 {
		w.queued("demo", object{"os_distro": "debian"})
	}
	for _, limit := range []string{"1", "25", "200"} {
		b.Run("limit-"+limit, func(b *testing.B) {
			for b.Loop() {
				if a := w.do("demo", "GET", "/image/v2/images?limit="+limit, nil); a.status != 200 {
					b.Fatal(a.status)
				}
			}
		})
	}
}

func TestAnyNameIsFoundBehindTheOperatorThatMeansEqual(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		"gt:a", "in:a", "neq:a,b", "eq:a", `in:"a","b"`, `a,"b"`, `a\"b`, "debian:12", "2030-01-02T03:04:05Z", ":", "%3A", "a b", "grüße",
		"6b1f3a52-6a6c-4d0e-9d7a-0f4c2b1a9e77",
	} {
		made := w.do("demo", "POST", "/image/v2/images", map[string]any{"name": name})
		require.Equal(t, 201, made.status, "%s: %s", name, made.body)
		found := w.do("demo", "GET", "/image/v2/images?"+url.Values{"name": {"eq:" + name}}.Encode(), nil).json(t)["images"].([]any)
		require.Len(t, found, 1, name)
		require.Equal(t, made.json(t)["id"], found[0].(map[string]any)["id"])
	}
}
