package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const namespacesAt = "/image/v2/metadefs/namespaces"

// whole is a namespace with something of each kind.
func wholeNamespace(name, visibility string, more object) object {
	n := object{
		"namespace": name, "display_name": "A name", "description": "What it is", "visibility": visibility,
		"resource_type_associations": []any{object{"name": "OS::Glance::Image", "prefix": "hw_"}, object{"name": "OS::Nova::Flavor", "prefix": "hw:", "properties_target": "image"}},
		"properties":                 object{"cores": object{"title": "Cores", "type": "integer", "minimum": 1, "default": 9007199254740993, "operators": []any{"<or>"}}},
		"objects":                    []any{object{"name": "o", "description": "d", "required": []any{"a"}, "properties": object{"a": object{"title": "A", "type": "string", "enum": []any{"x", "y"}}}}},
		"tags":                       []any{object{"name": "t1"}, object{"name": "t2"}},
	}
	for k, v := range more {
		n[k] = v
	}
	return n
}

func TestANamespaceOfDefinitionsIsMadeShownChangedAndDeletedWithWhatIsInIt(t *testing.T) {
	w := newWorld(t)
	before := w.everything()
	a := w.do("admin", "POST", namespacesAt, wholeNamespace("OS::Test", "public", nil))
	require.Equal(t, 201, a.status, string(a.body))
	require.Equal(t, "/v2/metadefs/namespaces/OS::Test", a.header.Get("Location"))
	require.Contains(t, string(a.body), "9007199254740993", "a number stays what it was")
	shown := w.do("reader", "GET", namespacesAt+"/OS::Test", nil)
	require.Equal(t, 200, shown.status, string(shown.body))
	require.JSONEq(t, string(a.body), string(shown.body))
	n := shown.json(t)
	require.Equal(t, []any{"public", false, adminProject, "/v2/metadefs/namespaces/OS::Test", "/v2/schemas/metadefs/namespace", "A name", "What it is"},
		[]any{n["visibility"], n["protected"], n["owner"], n["self"], n["schema"], n["display_name"], n["description"]})
	require.Equal(t, []any{object{"name": "t1"}, object{"name": "t2"}}, n["tags"])
	made := n["objects"].([]any)[0].(object)
	require.Equal(t, []any{"o", "d", []any{"a"}, "/v2/metadefs/namespaces/OS::Test/objects/o", "/v2/schemas/metadefs/object"},
		[]any{made["name"], made["description"], made["required"], made["self"], made["schema"]})
	require.Equal(t, "hw_", n["resource_type_associations"].([]any)[0].(object)["prefix"])

	as := w.do("demo", "GET", namespacesAt+"/OS::Test?resource_type=OS::Nova::Flavor", nil).json(t)
	require.Contains(t, as["properties"], "hw:cores")
	require.Equal(t, []any{"hw:a"}, as["objects"].([]any)[0].(object)["required"])
	require.Contains(t, as["objects"].([]any)[0].(object)["properties"], "hw:a")
	require.Contains(t, w.do("demo", "GET", namespacesAt+"/OS::Test?resource_type=none", nil).json(t)["properties"], "cores")

	a = w.do("admin", "PUT", namespacesAt+"/OS::Test", object{"namespace": "OS::Other", "visibility": "private", "protected": true, "objects": []any{object{"name": "ignored"}}})
	require.Equal(t, 200, a.status, string(a.body))
	n = a.json(t)
	require.Equal(t, []any{"OS::Other", "private", true, adminProject, nil}, []any{n["namespace"], n["visibility"], n["protected"], n["owner"], n["display_name"]})
	require.Equal(t, 404, w.do("admin", "GET", namespacesAt+"/OS::Test", nil).status)
	require.Contains(t, w.do("admin", "GET", namespacesAt+"/OS::Other", nil).json(t)["properties"], "cores", "what is in it stays")

	for path, text := range map[string]string{
		"": "Metadata definition namespace OS::Other is protected", "/objects": "is protected", "/properties": "is protected", "/tags": "is protected",
		"/objects/o": "Metadata definition object o is protected", "/properties/cores": "Metadata definition property cores is protected", "/tags/t1": "Metadata definition tag t1 is protected",
		"/resource_types/OS::Nova::Flavor": "resource-type-association OS::Nova::Flavor is protected",
	} {
		a = w.do("admin", "DELETE", namespacesAt+"/OS::Other"+path, nil)
		require.Equal(t, 403, a.status, path)
		require.Contains(t, string(a.body), text)
	}
	require.Equal(t, 403, w.do("admin", "POST", namespacesAt+"/OS::Other/tags", object{"tags": []any{object{"name": "t3"}}}).status)
	require.Equal(t, 200, w.do("admin", "PUT", namespacesAt+"/OS::Other", object{"namespace": "OS::Other"}).status)
	require.Equal(t, 204, w.do("admin", "DELETE", namespacesAt+"/OS::Other", nil).status)
	require.Equal(t, 404, w.do("admin", "DELETE", namespacesAt+"/OS::Other", nil).status)
	require.Equal(t, before, w.everything())
}

func TestNamespacesOfDefinitionsAreSeenByTheirProjectAndPublicOnesByAll(t *testing.T) {
	w := newWorld(t)
	for _, n := range []object{
		wholeNamespace("c", "public", nil), wholeNamespace("a", "private", object{"owner": demoProject}), wholeNamespace("b", "private", object{"owner": otherProject}),
		{"namespace": "d", "resource_type_associations": []any{object{"name": "OS::Cinder::Volume"}}},
	} {
		require.Equal(t, 201, w.do("admin", "POST", namespacesAt, n).status)
	}
	names := func(as, query string) []string {
		t.Helper()
		a := w.do(as, "GET", namespacesAt+query, nil)
		require.Equal(t, 200, a.status, string(a.body))
		all := []string{}
		for _, n := range a.json(t)["namespaces"].([]any) {
			all = append(all, n.(object)["namespace"].(string))
		}
		return all
	}
	require.Equal(t, []string{"d", "b", "a", "c"}, names("admin", ""), "the newest first")
	require.Equal(t, []string{"a", "c"}, names("reader", ""))
	require.Equal(t, []string{"a", "b", "c", "d"}, names("admin", "?sort_key=namespace&sort_dir=asc"))
	require.Equal(t, []string{"c"}, names("demo", "?visibility=public"))
	require.Equal(t, []string{"d", "b"}, names("admin", "?visibility=private&limit=2"))
	require.Equal(t, []string{"d"}, names("admin", "?resource_types=OS::Cinder::Volume,none"))
	require.Empty(t, names("demo", "?resource_types=OS::Cinder::Volume"))
	require.Empty(t, names("demo", "?limit=0"))
	first := w.do("admin", "GET", namespacesAt+"?limit=3&sort_key=namespace&sort_dir=asc", nil).json(t)
	require.Equal(t, "/v2/schemas/metadefs/namespaces", first["schema"])
	require.Equal(t, []string{"d"}, names("admin", strings.TrimPrefix(first["next"].(string), "/v2/metadefs/namespaces")))
	require.NotContains(t, first["namespaces"].([]any)[0], "properties", "a list has what they are about alone")
	require.Contains(t, first["namespaces"].([]any)[0], "resource_type_associations")
	for _, query := range []string{"visibility=shared", "sort_dir=up", "sort_key=id", "limit=x", "limit=-1", "marker=b", "marker=none", "name=a"} {
		require.Equal(t, 400, w.do("demo", "GET", namespacesAt+"?"+query, nil).status, query)
	}

	require.Equal(t, 404, w.do("demo", "GET", namespacesAt+"/b", nil).status)
	for _, kind := range []string{"objects", "properties", "tags", "resource_types"} {
		require.Equal(t, 404, w.do("demo", "GET", namespacesAt+"/b/"+kind, nil).status, kind)
		require.Equal(t, 200, w.do("other", "GET", namespacesAt+"/b/"+kind, nil).status, kind)
	}
	types := func(as string) []string {
		all := []string{}
		for _, r := range w.do(as, "GET", "/image/v2/metadefs/resource_types", nil).json(t)["resource_types"].([]any) {
			all = append(all, r.(object)["name"].(string))
		}
		return all
	}
	require.Equal(t, []string{"OS::Glance::Image", "OS::Nova::Flavor"}, types("reader"))
	require.Equal(t, []string{"OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Flavor"}, types("admin"))
}

func TestWhatIsInANamespaceIsAddedShownChangedAndRemoved(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 201, w.do("admin", "POST", namespacesAt, object{"namespace": "n", "visibility": "public"}).status)
	at := namespacesAt + "/n/"
	a := w.do("admin", "POST", at+"properties", object{"name": "p", "title": "P", "type": "string"})
	require.Equal(t, 201, a.status, string(a.body))
	require.JSONEq(t, `{"name": "p", "title": "P", "type": "string"}`, string(a.body))
	require.JSONEq(t, `{"properties": {"p": {"title": "P", "type": "string"}}}`, string(w.do("reader", "GET", at+"properties", nil).body))
	a = w.do("admin", "PUT", at+"properties/p", object{"name": "q", "title": "Q", "type": "array", "items": object{"type": "string"}})
	require.Equal(t, 200, a.status, string(a.body))
	require.Equal(t, 404, w.do("reader", "GET", at+"properties/p", nil).status)
	require.JSONEq(t, `{"name": "q", "title": "Q", "type": "array", "items": {"type": "string"}}`, string(w.do("reader", "GET", at+"properties/q", nil).body))

	require.Equal(t, 201, w.do("admin", "POST", at+"resource_types", object{"name": "T", "prefix": "x_"}).status)
	require.Equal(t, "x_", w.do("demo", "GET", at+"resource_types", nil).json(t)["resource_type_associations"].([]any)[0].(object)["prefix"])
	require.Equal(t, "q", w.do("demo", "GET", at+"properties/x_q?resource_type=T", nil).json(t)["name"])
	a = w.do("demo", "GET", at+"properties/q?resource_type=T", nil)
	require.Equal(t, 404, a.status)
	require.Contains(t, string(a.body), "does not start with the expected resource type association prefix of &#39;x_&#39;")
	require.Equal(t, 404, w.do("demo", "GET", at+"properties/q?resource_type=U", nil).status)

	for _, name := range []string{"o1", "o2", "o3"} {
		require.Equal(t, 201, w.do("admin", "POST", at+"objects", object{"name": name}).status)
	}
	listed := func(kind, query string) []string {
		t.Helper()
		all := []string{}
		for _, o := range w.do("demo", "GET", at+kind+query, nil).json(t)[kind].([]any) {
			all = append(all, o.(object)["name"].(string))
		}
		return all
	}
	require.Equal(t, []string{"o3", "o2", "o1"}, listed("objects", ""))
	require.Equal(t, []string{"o2", "o3"}, listed("objects", "?sort_key=name&sort_dir=asc&marker=o1&limit=5"))
	require.Equal(t, 200, w.do("admin", "PUT", at+"objects/o1", object{"name": "o1", "description": "d"}).status)
	require.Equal(t, "d", w.do("demo", "GET", at+"objects/o1", nil).json(t)["description"])

	require.Equal(t, 201, w.do("admin", "POST", at+"tags/Blue", nil).status)
	require.Equal(t, "Blue", w.do("demo", "GET", at+"tags/blue", nil).json(t)["name"], "tags are the same in small letters")
	a = w.do("admin", "POST", at+"tags", object{"tags": []any{object{"name": "x"}, object{"name": "y"}}})
	require.Equal(t, 201, a.status, string(a.body))
	require.JSONEq(t, `{"tags": [{"name": "x"}, {"name": "y"}]}`, string(a.body))
	require.Equal(t, 201, w.do("admin", "POST", at+"tags", object{"tags": []any{object{"name": "z"}}}, "X-Openstack-Append", "True").status)
	require.Equal(t, []string{"x", "y", "z"}, listed("tags", "?sort_key=name&sort_dir=asc"))
	require.Equal(t, "w", w.do("admin", "PUT", at+"tags/z", object{"name": "w"}).json(t)["name"])

	before := w.everything()
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		text         string
	}{
		{"POST", namespacesAt, object{"namespace": "n"}, 409, "The metadata definition namespace=n already exists."},
		{"POST", namespacesAt, object{"namespace": "m", "tags": []any{object{"name": "a"}, object{"name": "A"}}}, 409, "metadata tag names are case insensitive"},
		{"POST", namespacesAt, object{"namespace": "m", "self": "x"}, 403, "Attribute &#39;self&#39; is read-only."},
		{"POST", namespacesAt, object{"namespace": "m", "more": 1}, 400, "Additional properties are not allowed"},
		{"POST", namespacesAt, object{"namespace": "m", "properties": object{"p": object{"type": "string"}}}, 400, "title"},
		{"POST", namespacesAt, object{"namespace": strings.Repeat("n", 81)}, 400, "too long"},
		{"POST", namespacesAt, object{}, 400, "namespace"},
		{"POST", namespacesAt, "null", 400, "Body expected in request."},
		{"PUT", namespacesAt + "/none", object{"namespace": "m"}, 404, "Namespace none not found"},
		{"POST", at + "objects", object{"name": "o1"}, 409, "A metadata definition object with name=o1 already exists in namespace=n."},
		{"PUT", at + "objects/o1", object{"name": "o2"}, 409, "already exists"},
		{"PUT", at + "objects/none", object{"name": "m"}, 404, "The metadata definition object with name=none was not found in namespace=n."},
		{"POST", at + "properties", object{"name": "q", "title": "t", "type": "string"}, 409, "A metadata definition property with name=q already exists"},
		{"POST", at + "properties", object{"name": "r", "title": "t", "type": "text"}, 400, "is not one of"},
		{"POST", at + "properties", object{"name": "r", "title": "t", "type": "string", "created_at": "x"}, 403, "read-only"},
		{"POST", at + "resource_types", object{"name": "T"}, 409, "already exists"},
		{"DELETE", at + "resource_types/U", nil, 404, "association of resource-type=U"},
		{"POST", at + "tags/X", nil, 409, "metadata tag names are case insensitive"},
		{"POST", at + "tags/" + strings.Repeat("x", 81), nil, 400, "too long"},
		{"POST", at + "tags", object{"tags": []any{object{"name": "a"}, object{"name": "a"}}}, 409, "already exists"},
		{"PUT", at + "tags/x", object{"name": "Y"}, 409, "already exists"},
		{"DELETE", at + "tags/none", nil, 404, "was not found"},
		{"POST", namespacesAt + "/none/objects", object{"name": "o"}, 404, "Namespace none not found"},
	} {
		a := w.do("admin", c.method, c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s %v: %s", c.method, c.path, c.body, a.body)
		require.Contains(t, string(a.body), c.text)
	}
	require.Equal(t, before, w.everything())
	a = w.do("demo", "POST", namespacesAt, object{"namespace": "m"})
	require.Equal(t, 403, a.status)
	require.Contains(t, string(a.body), "You are not authorized to complete add_metadef_namespace action.")

	for _, path := range []string{"objects/o1", "properties/q", "tags/x", "resource_types/T", "objects", "properties", "tags"} {
		require.Equal(t, 204, w.do("admin", "DELETE", at+path, nil).status, path)
	}
	n := w.do("demo", "GET", namespacesAt+"/n", nil).json(t)
	for _, kind := range []string{"objects", "properties", "tags", "resource_type_associations"} {
		require.NotContains(t, n, kind)
	}
}

func TestTheSchemasOfDefinitionsAreGlances(t *testing.T) {
	w := newWorld(t)
	for one, many := range map[string]string{"namespace": "namespaces", "object": "objects", "property": "properties", "tag": "tags", "resource_type": "resource_types"} {
		s := w.do("unscoped", "GET", "/image/v2/schemas/metadefs/"+one, nil).json(t)
		require.Equal(t, false, s["additionalProperties"], one)
		require.NotEmpty(t, s["required"], one)
		list := w.do("unscoped", "GET", "/image/v2/schemas/metadefs/"+many, nil).json(t)
		require.Len(t, list["links"], 3, many)
		require.Contains(t, list["properties"], list["name"])
	}
}

func TestThereIsNoCacheToManage(t *testing.T) {
	w := newWorld(t)
	for _, r := range [][2]string{{"GET", "/image/v2/cache"}, {"DELETE", "/image/v2/cache"}, {"PUT", "/image/v2/cache/" + demoProject}, {"DELETE", "/image/v2/cache/" + demoProject}} {
		a := w.do("admin", r[0], r[1], nil)
		require.Equal(t, 404, a.status, r)
		require.Contains(t, string(a.body), "Caching via API is not supported at this site.")
		require.Equal(t, 403, w.do("demo", r[0], r[1], nil).status, r)
	}
	versions := w.do("", "GET", "/image/versions", nil).json(t)["versions"].([]any)
	require.False(t, slices.ContainsFunc(versions, func(v any) bool {
		return slices.Contains([]any{"v2.14", "v2.16", "v2.17", "v2.18"}, v.(object)["id"])
	}))
}
