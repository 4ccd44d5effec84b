package compute_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/models"
)

func TestTheProxyOfImagesShowsTheImageServicesInNovasWords(t *testing.T) {
	c := newCloud(t)
	id, server := c.bootable(t), uuid.NewString()
	queued, err := c.Store.CreateImage(t.Context(), models.Image{
		ID: uuid.NewString(), Name: new("snap"), OwnerID: c.member.ProjectID, Visibility: "private", MinRAMMiB: 64,
		Properties: map[string]string{"instance_uuid": server, "auto_disk_config": "True"},
	}, nil)
	require.NoError(t, err)
	a := c.nova(t, c.reader, "2.35", "GET", "/images/"+id, nil)
	require.Equal(t, 200, a.Status, a.Body)
	v := a.At(t, "image").(map[string]any)
	require.Equal(t, []any{"debian", "ACTIVE", 100.0, 0.0, 0.0, float64(1 << 20), map[string]any{"architecture": "x86_64"}},
		[]any{v["name"], v["status"], v["progress"], v["minRam"], v["minDisk"], v["OS-EXT-IMG-SIZE:size"], v["metadata"]})
	require.Equal(t, map[string]any{"rel": "alternate", "type": "application/vnd.openstack.image", "href": c.URL + "/image/images/" + id}, v["links"].([]any)[2])

	names := func(u apitest.User, query string) []string {
		t.Helper()
		a := c.nova(t, u, "2.1", "GET", "/images/detail"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		all := []string{}
		for _, i := range a.At(t, "images").([]any) {
			if name, is := i.(map[string]any)["name"].(string); is {
				all = append(all, name)
			}
		}
		return all
	}
	require.ElementsMatch(t, []string{"debian", "snap"}, names(c.member, ""))
	require.Equal(t, []string{"debian"}, names(c.stranger, ""), "another project's is as absent as ever")
	require.Equal(t, []string{"snap"}, names(c.member, "?server=http://x/servers/"+server+"&status=saving&minRam=64"))
	require.Equal(t, []string{"debian"}, names(c.member, "?property-architecture=x86_64&status=ACTIVE&colour=red"))
	require.Empty(t, names(c.member, "?name=nobody"))
	require.Empty(t, names(c.member, "?changes-since=2999-01-01T00:00:00Z"))
	require.Len(t, c.nova(t, c.member, "2.1", "GET", "/images?limit=1", nil).At(t, "images_links"), 1)
	require.Equal(t, 400, c.nova(t, c.member, "2.1", "GET", "/images?minRam=x", nil).Status)
	require.Equal(t, 400, c.nova(t, c.member, "2.1", "GET", "/images?marker="+uuid.NewString(), nil).Status)

	require.Equal(t, 404, c.nova(t, c.stranger, "2.1", "GET", "/images/"+queued.ID, nil).Status)
	require.Equal(t, 404, c.nova(t, c.stranger, "2.1", "DELETE", "/images/"+queued.ID, nil).Status)
	require.Equal(t, 403, c.nova(t, c.reader, "2.1", "DELETE", "/images/"+queued.ID, nil).Status)
	require.Equal(t, 403, c.nova(t, c.stranger, "2.1", "DELETE", "/images/"+id, nil).Status, "a public one of another project")
	require.Equal(t, 204, c.nova(t, c.member, "2.1", "DELETE", "/images/"+queued.ID, nil).Status)
	a = c.nova(t, c.member, "2.1", "GET", "/images/"+queued.ID, nil)
	require.Equal(t, []any{404, "Image not found."}, []any{a.Status, a.Message(t)})
	for _, path := range []string{"/images", "/images/detail", "/images/" + id} {
		require.Equal(t, 404, c.nova(t, c.member, "2.36", "GET", path, nil).Status, path)
	}
}

func TestTheProxyChangesAnImagesMetadataAndNothingElseOfIt(t *testing.T) {
	c := newCloud(t)
	id := c.bootable(t)
	path := "/images/" + id + "/metadata"
	metadata := func(u apitest.User, method, path string, body any) (int, any) {
		t.Helper()
		a := c.nova(t, u, "2.38", method, path, body)
		if a.Status == 204 || a.Status >= 400 {
			return a.Status, nil
		}
		return a.Status, a.At(t)
	}
	for _, step := range []struct {
		method, path string
		body         any
		status       int
		answer       any
	}{
		{"POST", path, fields{"metadata": fields{"a": "1", "os_type": "linux"}}, 200, fields{"metadata": fields{"a": "1", "architecture": "x86_64", "os_type": "linux"}}},
		{"GET", path + "/a", nil, 200, fields{"meta": fields{"a": "1"}}},
		{"GET", path + "/none", nil, 404, nil},
		{"PUT", path + "/a", fields{"meta": fields{"a": "2"}}, 200, fields{"meta": fields{"a": "2"}}},
		{"PUT", path + "/a", fields{"meta": fields{"b": "2"}}, 400, nil},
		{"PUT", path + "/status", fields{"meta": fields{"status": "deleted"}}, 403, nil},
		{"PUT", path + "/visibility", fields{"meta": fields{"visibility": "private"}}, 403, nil},
		{"PUT", path + "/os_glance_x", fields{"meta": fields{"os_glance_x": "1"}}, 403, nil},
		{"DELETE", path + "/os_type", nil, 204, nil},
		{"DELETE", path + "/os_type", nil, 404, nil},
		{"GET", path, nil, 200, fields{"metadata": fields{"a": "2", "architecture": "x86_64"}}},
		{"PUT", path, fields{"metadata": fields{"only": "this"}}, 200, fields{"metadata": fields{"only": "this"}}},
		{"PUT", path, fields{"metadata": fields{"n": 1}}, 400, nil},
	} {
		status, answer := metadata(c.admin, step.method, step.path, step.body)
		require.Equal(t, step.status, status, "%s %s", step.method, step.path)
		require.Equal(t, step.answer, answer, "%s %s", step.method, step.path)
	}
	for _, u := range []apitest.User{c.reader, c.stranger} {
		status, _ := metadata(u, "POST", path, fields{"metadata": fields{"a": "1"}})
		require.Equal(t, 403, status)
	}
	require.Equal(t, 404, c.nova(t, c.admin, "2.39", "GET", path, nil).Status)
	i, err := c.Store.Image(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []any{models.ImageActive, "public", map[string]string{"only": "this"}}, []any{i.Status, i.Visibility, i.Properties})
}
