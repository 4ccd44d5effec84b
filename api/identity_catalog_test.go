package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/regions"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
	"github.com/stretchr/testify/require"
)

// addresses are the catalog's of one type that the caller is told: interface in region: url.
func (w *world) addresses(as, kind string) []string {
	w.t.Helper()
	var all []string
	for _, s := range w.do(as, "GET", "/v3/auth/catalog", nil).json(w.t)["catalog"].([]any) {
		if entry := s.(object); entry["type"] == kind {
			all = append(all, "service "+entry["name"].(string))
			for _, e := range entry["endpoints"].([]any) {
				e := e.(object)
				region, _ := e["region_id"].(string)
				all = append(all, e["interface"].(string)+" in "+region+": "+e["url"].(string))
			}
		}
	}
	return all
}

func TestServicesThatAnAdminAddsAreInTheCatalogOfTokens(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	admin := w.keystone("admin")
	before := w.everything()

	region, err := regions.Create(ctx, admin, regions.CreateOpts{ID: "north", Description: "up there", Extra: map[string]any{"colour": "blue"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, map[string]any{"colour": "blue"}, region.Extra)
	service, err := services.Create(ctx, admin, services.CreateOpts{Type: "object-store", Extra: map[string]any{"name": "swift", "description": "objects"}}).Extract()
	require.NoError(t, err)
	require.True(t, service.Enabled)
	require.Equal(t, []string{"service swift"}, w.addresses("demo", "object-store"), "it has no endpoint yet")
	made, err := endpoints.Create(ctx, admin, endpoints.CreateOpts{
		Availability: gophercloud.AvailabilityPublic, ServiceID: service.ID, URL: "https://swift.example/v1/AUTH_$(project_id)s", Region: "south", Name: "objects",
	}).Extract()
	require.NoError(t, err, "its region is made")
	require.Equal(t, "https://swift.example/v1/AUTH_$(project_id)s", made.URL)
	require.Equal(t, "objects", made.Name)

	want := []string{"service swift", "public in south: https://swift.example/v1/AUTH_" + demoProject}
	require.Equal(t, want, w.addresses("demo", "object-store"))
	require.Equal(t, want[:1], w.addresses("unscoped", "object-store"), "there is no project to put in")
	token := w.do("", "POST", "/v3/auth/tokens", object{"auth": object{"identity": object{
		"methods": slices.Repeat([]string{"password"}, 8), "password": object{"user": object{"id": demoUser, "password": password}},
	}, "scope": object{"project": object{"id": demoProject}}}})
	require.Equal(t, 201, token.status, "%s", token.body)
	require.Contains(t, string(token.body), "https://swift.example/v1/AUTH_"+demoProject)
	require.Equal(t, []any{"password"}, token.json(t)["token"].(object)["methods"])

	ids := func(query string) (ids []string) {
		for _, e := range w.do("demo", "GET", "/v3/endpoints?"+query, nil).json(t)["endpoints"].([]any) {
			ids = append(ids, e.(object)["id"].(string))
		}
		return ids
	}
	require.Equal(t, []string{made.ID}, ids("service_id="+service.ID+"&interface=public"))
	require.Equal(t, []string{made.ID}, ids("region=south"))
	require.Equal(t, []string{made.ID}, ids("region_id=south&limit=1"))
	require.Empty(t, ids("region_id=north"))
	require.Len(t, ids("interface=public"), 6)
	require.Equal(t, 400, w.do("demo", "GET", "/v3/endpoints?colour=blue", nil).status)

	moved, err := endpoints.Update(ctx, admin, made.ID, endpoints.UpdateOpts{URL: "https://swift.example/v2", Region: "north"}).Extract()
	require.NoError(t, err)
	require.Equal(t, "https://swift.example/v2", moved.URL)
	require.Equal(t, []string{"service swift", "public in north: https://swift.example/v2"}, w.addresses("unscoped", "object-store"))
	require.Equal(t, 403, w.do("admin", "DELETE", "/v3/regions/north", nil).status, "it has an endpoint")

	off := false
	_, err = services.Update(ctx, admin, service.ID, services.UpdateOpts{Enabled: &off}).Extract()
	require.NoError(t, err)
	require.Empty(t, w.addresses("demo", "object-store"))
	require.NoError(t, services.Delete(ctx, admin, service.ID).ExtractErr())
	require.Equal(t, 404, w.do("demo", "GET", "/v3/endpoints/"+made.ID, nil).status, "it went with its service")
	require.NoError(t, regions.Delete(ctx, admin, "north").ExtractErr())
	require.NoError(t, regions.Delete(ctx, admin, "south").ExtractErr())
	after := w.everything()
	for _, table := range []string{"tokens", "users"} { // the login made the hash anew
		delete(before, table)
		delete(after, table)
	}
	require.Equal(t, before, after)
}

func TestOwnServicesFollowThePublicAddressUntilAnotherIsWritten(t *testing.T) {
	w := newWorld(t)
	var id string
	for _, e := range w.do("admin", "GET", "/v3/endpoints?interface=public", nil).json(t)["endpoints"].([]any) {
		if e := e.(object); e["url"] == w.url+"/image" {
			id = e["id"].(string)
		}
	}
	require.NotEmpty(t, id)
	write := func(change object) answer {
		return w.do("admin", "PATCH", "/v3/endpoints/"+id, object{"endpoint": change})
	}
	shown := func() string {
		return w.addresses("demo", "image")[3]
	}
	require.Equal(t, 200, write(object{"url": "https://images.example"}).status)
	require.Equal(t, "public in RegionOne: https://images.example", shown())
	require.Equal(t, 200, write(object{"url": w.url + "/image"}).status)
	require.Equal(t, "public in RegionOne: "+w.url+"/image", shown())
	w.url = strings.Replace(w.url, "127.0.0.1", "localhost", 1)
	require.Equal(t, "public in RegionOne: "+w.url+"/image", shown(), "it follows the address again")

	before := w.everything()
	service := w.do("admin", "GET", "/v3/services?type=image", nil).json(t)["services"].([]any)[0].(object)["id"].(string)
	for _, a := range []answer{
		write(object{"interface": "admin"}), write(object{"service_id": strings.Repeat("0", 32)}),
		w.do("admin", "DELETE", "/v3/endpoints/"+id, nil), w.do("admin", "DELETE", "/v3/services/"+service, nil),
		w.do("admin", "PATCH", "/v3/services/"+service, object{"service": object{"type": "volume"}}),
	} {
		require.Equal(t, 403, a.status, "%s", a.body)
		require.Contains(t, string(a.body), "installation's own")
	}
	require.Equal(t, before, w.everything())
	require.Equal(t, 200, write(object{"enabled": false}).status)
	require.Len(t, w.addresses("demo", "image"), 3)
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/services/"+service, object{"service": object{"enabled": false}}).status)
	require.Empty(t, w.addresses("demo", "image"))
}

func TestWhatIsNoPlaceOfAServiceIsRefused(t *testing.T) {
	w := newWorld(t)
	service := w.made("service", object{"type": "object-store"})
	for _, id := range []string{"top", "middle"} {
		require.Equal(t, 201, w.do("admin", "PUT", "/v3/regions/"+id, object{"region": object{"description": id}}).status)
	}
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/regions/middle", object{"region": object{"parent_region_id": "top"}}).status)
	before := w.everything()
	endpoint := func(change object) object {
		e := object{"service_id": service, "interface": "public", "url": "https://swift.example"}
		for key, value := range change {
			e[key] = value
		}
		return object{"endpoint": e}
	}
	for _, c := range []struct {
		method, path string
		body         object
		status       int
	}{
		{"POST", "/v3/endpoints", endpoint(object{"service_id": "nothing"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"region_id": "nowhere"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"service_id": "nothing", "region": "made-for-nothing"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"interface": "secret"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"url": "swift.example"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"url": ""}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"url": "https://swift.example/$(password)s"}), 400},
		{"POST", "/v3/endpoints", endpoint(object{"url": "https://swift.example/%(project_id)d"}), 400},
		{"PATCH", "/v3/endpoints/nothing", endpoint(object{"region": "made-for-nothing"}), 404},
		{"POST", "/v3/services", object{"service": object{"name": "swift"}}, 400},
		{"POST", "/v3/services", object{"service": object{"type": "x", "enabled": "yes"}}, 400},
		{"PATCH", "/v3/services/nothing", object{"service": object{"name": "x"}}, 404},
		{"DELETE", "/v3/services/nothing", nil, 404},
		{"POST", "/v3/regions", object{"region": object{"id": "top"}}, 409},
		{"PUT", "/v3/regions/top", object{"region": object{"description": ""}}, 409},
		{"PUT", "/v3/regions/other", object{"region": object{"id": "another"}}, 400},
		{"PUT", "/v3/regions/a%2Fb", object{"region": object{"description": ""}}, 400},
		{"PUT", "/v3/regions/" + strings.Repeat("x", 256), object{"region": object{"description": ""}}, 400},
		{"POST", "/v3/regions", object{"region": object{"id": "x", "parent_region_id": "x"}}, 404},
		{"POST", "/v3/regions", object{"region": object{"parent_region_id": "nowhere"}}, 404},
		{"PATCH", "/v3/regions/top", object{"region": object{"parent_region_id": "nowhere"}}, 404},
		{"PATCH", "/v3/regions/top", object{"region": object{"parent_region_id": "top"}}, 400},
		{"PATCH", "/v3/regions/top", object{"region": object{"parent_region_id": "middle"}}, 400},
		{"DELETE", "/v3/regions/RegionOne", nil, 403},
	} {
		var body any
		if c.body != nil {
			body = c.body
		}
		a := w.do("admin", c.method, c.path, body)
		require.Equal(t, c.status, a.status, "%s %s %v: %s", c.method, c.path, c.body, a.body)
	}
	require.Equal(t, before, w.everything())
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/regions/middle", object{"region": object{"parent_region_id": nil}}).status)
	require.Equal(t, 204, w.do("admin", "DELETE", "/v3/regions/top", nil).status)
	require.Equal(t, 200, w.do("demo", "GET", "/v3/regions/middle", nil).status, "it is below nothing any more")
}
