package compute_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/models"
)

// running is a server of the member's that is ACTIVE since an hour.
func (c *cloud) running(t *testing.T, name string) models.Server {
	t.Helper()
	s := c.row(t, c.member, name, time.Now())
	c.place(t, s, c.network(t, c.member, name, "10.0.0.0/24", "10.0.0.2", "10.0.0.9"))
	c.activate(t, s, time.Now().Add(-time.Hour))
	return s
}

func TestAServerIsCalledSomethingElse(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	put := func(version string, body fields) apitest.Answer {
		return c.nova(t, c.member, version, "PUT", "/servers/"+s.ID, fields{"server": body})
	}
	a := put(at96, fields{"name": "db", "hostname": "db.example.org", "description": "the new one", "OS-DCF:diskConfig": "AUTO",
		"accessIPv4": "192.0.2.1", "accessIPv6": "2001:db8::1"})
	require.Equal(t, 200, a.Status, a.Body)
	shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
	require.JSONEq(t, shown.Body, a.Body, "since 2.75 it is what GET shows")
	require.Equal(t, "db", shown.At(t, "server", "name"))
	require.Equal(t, "db.example.org", shown.At(t, "server", "OS-EXT-SRV-ATTR:hostname"))
	require.Equal(t, "the new one", shown.At(t, "server", "description"))
	require.Equal(t, "ACTIVE", shown.At(t, "server", "status"))
	require.Equal(t, []any{"AUTO", "192.0.2.1", "2001:db8::1"},
		[]any{shown.At(t, "server", "OS-DCF:diskConfig"), shown.At(t, "server", "accessIPv4"), shown.At(t, "server", "accessIPv6")})

	require.Nil(t, put(at96, fields{"description": nil}).At(t, "server", "description"))
	require.Equal(t, "db", put(at96, fields{}).At(t, "server", "name"), "what is not named stays")

	old := put("2.74", fields{"name": "db2"})
	require.Equal(t, []string{
		"OS-DCF:diskConfig", "accessIPv4", "accessIPv6", "addresses", "created", "description", "flavor", "hostId", "id", "image", "links",
		"locked", "locked_reason", "metadata", "name", "progress", "server_groups", "status", "tags", "tenant_id", "trusted_image_certificates",
		"updated", "user_id",
	}, slices.Sorted(maps.Keys(old.At(t, "server").(map[string]any))), "what Nova's sample of 2.74 has (doc/api_samples)")
	require.NotContains(t, old.Body, "OS-EXT-IPS")
	require.Contains(t, old.Body, `"addr":"10.0.0.2"`)
}

func TestAChangeOfAServerIsRefusedInNovasWords(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	for _, tt := range []struct {
		version string
		body    fields
		status  int
		text    string
	}{
		{at96, fields{"name": ""}, 400, "Invalid input for field/attribute name. Value: . '' is too short"},
		{at96, fields{"name": " x"}, 400, "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace."},
		{at96, fields{"name": nil}, 400, "Invalid input for field/attribute name. Value: None. None is not of type 'string'"},
		{at96, fields{"adminPass": "x"}, 400, "Invalid input for field/attribute server. Value: {'adminPass': 'x'}. Additional properties are not allowed ('adminPass' was unexpected)"},
		{"2.18", fields{"description": "x"}, 400, "Additional properties are not allowed ('description' was unexpected)"},
		{"2.89", fields{"hostname": "x"}, 400, "Additional properties are not allowed ('hostname' was unexpected)"},
		{"2.93", fields{"hostname": "a.b"}, 400, "'a.b' does not match"},
		{at96, fields{"description": "a\u0007"}, 400, "Invalid input for field/attribute description."},
		{at96, fields{"accessIPv4": "::1"}, 400, "'::1' is not a 'ipv4'"},
	} {
		a := c.nova(t, c.member, tt.version, "PUT", "/servers/"+s.ID, fields{"server": tt.body})
		require.Equal(t, tt.status, a.Status, a.Body)
		require.Contains(t, a.Message(t), tt.text)
	}
	a := c.nova(t, c.reader, at96, "PUT", "/servers/"+s.ID, fields{"server": fields{"name": "x"}})
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:servers:update to be performed.", a.Message(t))
	require.Equal(t, 404, c.nova(t, c.stranger, at96, "PUT", "/servers/"+s.ID, fields{"server": fields{"name": "x"}}).Status)
	require.Equal(t, "web", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "name"))
}

func TestWhatIsAskedOfAServerThatIsNotThereIs404WhateverTheBodyIs(t *testing.T) {
	c := newCloud(t)
	for _, route := range []string{"PUT ", "POST /metadata", "PUT /metadata", "PUT /metadata/k", "DELETE /metadata/k", "PUT /tags", "DELETE /tags", "PUT /tags/t", "DELETE /tags/t"} {
		method, path, _ := strings.Cut(route, " ")
		a := c.nova(t, c.member, at96, method, "/servers/25a6a3b8-0b3b-4b5c-8f0c-111111111111"+path, "no JSON")
		require.Equal(t, 404, a.Status, "%s: %s", route, a.Body)
		require.Equal(t, "Instance 25a6a3b8-0b3b-4b5c-8f0c-111111111111 could not be found.", a.Message(t))
	}
}

func TestMetadataIsAddedReplacedAndRemoved(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web") // with role=web
	at := "/servers/" + s.ID + "/metadata"
	for _, step := range []struct {
		method, path string
		body         any
		status       int
		answer       string
		left         fields
	}{
		{"POST", "", fields{"metadata": fields{"a": "1", "role": "db"}}, 200, `{"metadata": {"a": "1", "role": "db"}}`, fields{"a": "1", "role": "db"}},
		{"PUT", "/a", fields{"meta": fields{"a": "2"}}, 200, `{"meta": {"a": "2"}}`, fields{"a": "2", "role": "db"}},
		{"PUT", "/b c", fields{"meta": fields{"b c": ""}}, 200, `{"meta": {"b c": ""}}`, fields{"a": "2", "b c": "", "role": "db"}},
		{"DELETE", "/a", nil, 204, "", fields{"b c": "", "role": "db"}},
		{"PUT", "", fields{"metadata": fields{"z": "9"}}, 200, `{"metadata": {"z": "9"}}`, fields{"z": "9"}},
		{"PUT", "", fields{"metadata": fields{}}, 200, `{"metadata": {}}`, fields{}},
	} {
		a := c.nova(t, c.member, at96, step.method, strings.ReplaceAll(at+step.path, " ", "%20"), step.body)
		require.Equal(t, step.status, a.Status, a.Body)
		if step.answer != "" {
			require.JSONEq(t, step.answer, a.Body)
		}
		require.Equal(t, map[string]any(step.left), c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "metadata"))
	}

	many := fields{}
	for i := range 128 {
		many[fmt.Sprint(i)] = "x"
	}
	require.Equal(t, 200, c.nova(t, c.member, at96, "PUT", at, fields{"metadata": many}).Status)
	for _, tt := range []struct {
		method, path string
		body         any
		status       int
		text         string
	}{
		{"POST", "", fields{"metadata": fields{"one more": "x"}}, 403, "Maximum number of metadata items exceeds 128"},
		{"PUT", "/more", fields{"meta": fields{"more": "x"}}, 403, "Maximum number of metadata items exceeds 128"},
		{"PUT", "/a", fields{"meta": fields{"b": "x"}}, 400, "Request body and URI mismatch"},
		{"PUT", "/a", fields{"meta": fields{}}, 400, "{} does not have enough properties"},
		{"PUT", "/a", fields{"meta": fields{"a": "1", "b": "2"}}, 400, "has too many properties"},
		{"POST", "", fields{"metadata": fields{"a": strings.Repeat("x", 256)}}, 400, "is too long"},
		{"POST", "", fields{"metadata": fields{"a/b": "x"}}, 400, "Additional properties are not allowed ('a/b' was unexpected)"},
		{"POST", "", fields{}, 400, "'metadata' is a required property"},
		{"DELETE", "/gone", nil, 404, "Metadata item was not found"},
	} {
		a := c.nova(t, c.member, at96, tt.method, at+tt.path, tt.body)
		require.Equal(t, tt.status, a.Status, a.Body)
		require.Contains(t, a.Message(t), tt.text)
	}
	require.Equal(t, 200, c.nova(t, c.member, at96, "PUT", at+"/0", fields{"meta": fields{"0": "y"}}).Status, "one that is there already")
	require.Equal(t, 403, c.nova(t, c.reader, at96, "DELETE", at+"/0", nil).Status)
	require.Equal(t, 404, c.nova(t, c.stranger, at96, "DELETE", at+"/0", nil).Status)

	building := c.row(t, c.member, "building", time.Now())
	for method, what := range map[string]string{"POST": "update metadata", "DELETE": "delete metadata"} {
		path := map[string]string{"POST": "", "DELETE": "/role"}[method]
		a := c.nova(t, c.member, at96, method, "/servers/"+building.ID+"/metadata"+path, fields{"metadata": fields{"a": "b"}})
		require.Equal(t, 409, a.Status, a.Body)
		require.Equal(t, "Cannot '"+what+"' instance "+building.ID+" while it is in vm_state building", a.Message(t))
	}
}

func TestTagsAreAddedReplacedAndRemoved(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web") // with the tag blue
	at := "/servers/" + s.ID + "/tags"
	tags := func() any { return c.nova(t, c.member, at96, "GET", at, nil).At(t, "tags") }

	a := c.nova(t, c.member, at96, "PUT", at+"/a%20red%20one", nil)
	require.Equal(t, 201, a.Status, a.Body)
	require.Empty(t, a.Body)
	require.Equal(t, c.URL+"/compute/v2.1"+at+"/a%20red%20one", a.Header.Get("Location"))
	require.Equal(t, 204, c.nova(t, c.member, at96, "PUT", at+"/blue", nil).Status)
	require.Equal(t, []any{"a red one", "blue"}, tags())
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", at+"/blue", nil).Status)
	a = c.nova(t, c.member, at96, "DELETE", at+"/blue", nil)
	require.Equal(t, 404, a.Status)
	require.Equal(t, "Instance "+s.ID+" has no tag 'blue'", a.Message(t))
	a = c.nova(t, c.member, at96, "PUT", at, fields{"tags": []string{"z", "a", "z"}})
	require.Equal(t, 200, a.Status, a.Body)
	require.JSONEq(t, `{"tags": ["a", "z"]}`, a.Body)
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", at, nil).Status)
	require.Equal(t, []any{}, tags())

	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprintf("%02d", i))
	}
	require.Equal(t, 200, c.nova(t, c.member, at96, "PUT", at, fields{"tags": many}).Status)
	for _, tt := range []struct {
		path   string
		body   any
		status int
		text   string
	}{
		{"/one-more", nil, 400, "The number of tags exceeded the per-server limit 50"},
		{"", fields{"tags": append(many, "x")}, 400, "is too long"},
		{"", fields{"tags": []string{"a,b"}}, 400, "'a,b' does not match '^[^,/]*$'"},
		{"/a,b", nil, 400, "Tag 'a,b' is invalid. It must be a non empty string without characters '/' and ','. Validation error message: 'a,b' does not match '^[^,/]*$'"},
		{"/" + strings.Repeat("x", 61), nil, 400, "is too long"},
		{"/x", fields{}, 400, "{} is not of type 'null'"},
	} {
		a := c.nova(t, c.member, at96, "PUT", at+tt.path, tt.body)
		require.Equal(t, tt.status, a.Status, a.Body)
		require.Contains(t, a.Message(t), tt.text)
	}
	require.Equal(t, 404, c.nova(t, c.member, "2.25", "PUT", at+"/x", nil).Status)
	require.Equal(t, 403, c.nova(t, c.reader, at96, "DELETE", at, nil).Status)
	require.Equal(t, 404, c.nova(t, c.stranger, at96, "DELETE", at, nil).Status)

	building := c.row(t, c.member, "building", time.Now())
	a = c.nova(t, c.member, at96, "PUT", "/servers/"+building.ID+"/tags/x", nil)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'update tag' instance "+building.ID+" while it is in vm_state building", a.Message(t))
}

func TestChangesAtOnceLoseNothing(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			a := c.nova(t, c.member, at96, "PUT", fmt.Sprintf("/servers/%s/tags/%02d", s.ID, i), nil)
			if a.Status != 201 {
				t.Errorf("%d: %s", a.Status, a.Body)
			}
			a = c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/metadata", fields{"metadata": fields{fmt.Sprint(i): "x"}})
			if a.Status != 200 {
				t.Errorf("%d: %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
	require.Len(t, shown.At(t, "server", "tags"), 17)
	require.Len(t, shown.At(t, "server", "metadata"), 17)
}
