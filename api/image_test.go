package api

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
)

// queued makes an image without bytes: raw and bare, unless body says otherwise.
func (w *world) queued(as string, body object) string {
	w.t.Helper()
	whole := object{"name": "an image", "disk_format": "raw", "container_format": "bare"}
	for k, v := range body {
		whole[k] = v
	}
	a := w.do(as, "POST", "/image/v2/images", whole)
	require.Equal(w.t, 201, a.status, string(a.body))
	return a.json(w.t)["id"].(string)
}

// active makes an image with bytes.
func (w *world) active(as string, body object, data []byte) string {
	w.t.Helper()
	id := w.queued(as, body)
	a := w.do(as, "PUT", "/image/v2/images/"+id+"/file", data)
	require.Equal(w.t, 204, a.status, string(a.body))
	return id
}

func (w *world) image(as, id string) object {
	w.t.Helper()
	a := w.do(as, "GET", "/image/v2/images/"+id, nil)
	require.Equal(w.t, 200, a.status, string(a.body))
	return a.json(w.t)
}

// noise is no text, which it might be taken for as an answer of a server.
func noise(n int) []byte {
	data := make([]byte, n)
	rand.Read(data[min(1, n):])
	return data
}

// qcow2 is a real disk image of the virtual size.
func qcow2(t testing.TB, args ...string) []byte {
	t.Helper()
	return disk(t, "qcow2", args...)
}

// disk is a real disk image of a format of QEMU's.
func disk(t testing.TB, format string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk."+format)
	out, err := exec.Command("qemu-img", append(append([]string{"create", "-q", "-f", format}, args...), path, "64M")...).CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestAnImageGoesFromItsDescriptionToItsBytesAndBack(t *testing.T) {
	w := newWorld(t)
	a := w.do("demo", "POST", "/image/v2/images", object{
		"name": "cirros", "disk_format": "qcow2", "container_format": "bare", "min_disk": 1, "min_ram": 64,
		"tags": []string{"small", "small", "test"}, "hw_disk_bus": "virtio",
	})
	require.Equal(t, 201, a.status, string(a.body))
	made := a.json(t)
	id := made["id"].(string)
	require.Equal(t, w.url+"/image/v2/images/"+id, a.header.Get("Location"))
	created := made["created_at"]
	require.Equal(t, object{
		"id": id, "name": "cirros", "status": "queued", "visibility": "shared", "protected": false, "os_hidden": false,
		"owner": demoProject, "disk_format": "qcow2", "container_format": "bare", "min_disk": 1.0, "min_ram": 64.0,
		"size": nil, "virtual_size": nil, "checksum": nil, "os_hash_algo": nil, "os_hash_value": nil,
		"tags": []any{"small", "test"}, "hw_disk_bus": "virtio", "created_at": created, "updated_at": created,
		"self": "/v2/images/" + id, "file": "/v2/images/" + id + "/file", "schema": "/v2/schemas/image",
	}, made)
	require.Equal(t, 204, w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).status, "no data yet")

	data := qcow2(t)
	a = w.do("demo", "PUT", "/image/v2/images/"+id+"/file", data)
	require.Equal(t, 204, a.status, string(a.body))
	sum, sha := md5.Sum(data), sha512.Sum512(data)
	got := w.image("demo", id)
	require.Equal(t, "active", got["status"])
	require.EqualValues(t, len(data), got["size"])
	require.EqualValues(t, 64<<20, got["virtual_size"])
	require.Equal(t, hex.EncodeToString(sum[:]), got["checksum"])
	require.Equal(t, "sha512", got["os_hash_algo"])
	require.Equal(t, hex.EncodeToString(sha[:]), got["os_hash_value"])

	a = w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, data, a.body)
	require.Equal(t, hex.EncodeToString(sum[:]), a.header.Get("Content-MD5"))
	require.Equal(t, "application/octet-stream", a.header.Get("Content-Type"))

	require.Equal(t, 204, w.do("demo", "DELETE", "/image/v2/images/"+id, nil).status)
	require.Equal(t, 404, w.do("demo", "GET", "/image/v2/images/"+id, nil).status)
	require.Equal(t, 404, w.do("demo", "DELETE", "/image/v2/images/"+id, nil).status)
	require.Empty(t, w.bytesKept())
	a = w.do("demo", "POST", "/image/v2/images", object{"id": id})
	require.Equal(t, 409, a.status, "an id is never used twice: %s", a.body)
}

func TestADescriptionThatIsWrongIsRefusedAndMakesNothing(t *testing.T) {
	w := newWorld(t)
	taken := w.queued("other", nil)
	before := w.everything()
	many := object{}
	for i := range 129 {
		many[fmt.Sprintf("p%d", i)] = "v"
	}
	var tags []string
	for i := range 129 {
		tags = append(tags, fmt.Sprint(i))
	}
	for name, c := range map[string]struct {
		body   any
		status int
		text   string
	}{
		"no JSON":              {`{"name": `, 400, "Malformed request body"},
		"a list":               {`[]`, 400, ""},
		"null":                 {`null`, 400, ""},
		"a number as name":     {object{"name": 5}, 400, "not of type"},
		"over-long name":       {object{"name": strings.Repeat("n", 256)}, 400, "too long"},
		"bad id":               {object{"id": "my-image"}, 400, "does not match"},
		"id with a path":       {object{"id": "../../etc/passwd"}, 400, "does not match"},
		"taken id":             {object{"id": taken}, 409, "already exists"},
		"taken id, upper case": {object{"id": strings.ToUpper(taken)}, 409, "already exists"},
		"bad disk format":      {object{"disk_format": "floppy"}, 400, "not one of"},
		"unsafe disk format":   {object{"disk_format": "ploop"}, 400, "nothing could vouch"},
		"bad container":        {object{"container_format": "tar"}, 400, "not one of"},
		"mixed formats":        {object{"disk_format": "qcow2", "container_format": "ami"}, 400, "Invalid mix"},
		"bad visibility":       {object{"visibility": "secret"}, 400, "not one of"},
		"public by a member":   {object{"visibility": "public"}, 403, "publicize_image"},
		"negative min_disk":    {object{"min_disk": -1}, 400, "less than the minimum"},
		"fractional min_ram":   {object{"min_ram": 1.5}, 400, "not of type"},
		"min_ram over all":     {object{"min_ram": 1 << 40}, 400, "greater than the maximum"},
		"protected as text":    {object{"protected": "yes"}, 400, "not of type"},
		"tags as text":         {object{"tags": "a,b"}, 400, "not of type"},
		"over-long tag":        {object{"tags": []string{strings.Repeat("t", 256)}}, 400, "too long"},
		"too many tags":        {object{"tags": tags}, 413, "number of allowed image tags"},
		"too many properties":  {many, 413, "number of allowed image properties"},
		"property as number":   {object{"my_property": 5}, 400, "not of type"},
		"over-long property":   {object{strings.Repeat("p", 256): "x"}, 400, ""},
		"empty property name":  {object{"": "x"}, 400, ""},
		"property in capitals": {object{"Owner": "x"}, 400, "lower case"},
		"unsafe container":     {object{"container_format": "ova"}, 400, "nothing could vouch"},
		"read-only stores":     {object{"stores": "local"}, 403, "read-only"},
		"import's own":         {object{"os_glance_import_task": "x"}, 403, "reserved"},
		"null character":       {object{"name": "a\x00b"}, 400, "null character"},
		"read-only status":     {object{"status": "active"}, 403, "read-only"},
		"read-only size":       {object{"size": 5}, 403, "read-only"},
		"read-only checksum":   {object{"checksum": "x"}, 403, "read-only"},
		"reserved":             {object{"locations": []string{"file:///etc/passwd"}}, 403, "reserved"},
		"for somebody else":    {object{"owner": otherProject}, 403, "not permitted"},
		"over-large":           {object{"description": strings.Repeat("d", 200_000)}, 413, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("demo", "POST", "/image/v2/images", c.body)
			require.Equal(t, c.status, a.status, string(a.body))
			require.Contains(t, a.json(t)["message"], c.text)
		})
	}
	require.Equal(t, 415, w.do("demo", "POST", "/image/v2/images", "{}", "Content-Type", "text/plain").status)
	require.Equal(t, 403, w.do("reader", "POST", "/image/v2/images", object{}).status)
	require.Equal(t, 403, w.do("unscoped", "POST", "/image/v2/images", object{}).status)
	require.Equal(t, 400, w.do("admin", "POST", "/image/v2/images", object{"owner": "nobody"}).status)
	require.Equal(t, before, w.everything())

	require.Equal(t, demoProject, w.image("demo", w.queued("admin", object{"owner": demoProject}))["owner"])
	require.Equal(t, "x", w.image("demo", w.queued("demo", object{"a/b": "x", "members": "y"}))["a/b"], "any other name is a property's")
}

func TestAnotherProjectsImageIsAsOneThatNeverWas(t *testing.T) {
	w := newWorld(t)
	hidden := w.active("other", object{"visibility": "private"}, noise(1000))
	shared := w.active("other", nil, noise(1000))
	public := w.active("admin", object{"visibility": "public", "owner": otherProject}, noise(1000))
	community := w.active("other", object{"visibility": "community"}, noise(1000))
	before := w.everything()
	const patch = "application/openstack-images-v2.1-json-patch"
	rename := `[{"op": "replace", "path": "/name", "value": "mine now"}]`
	for name, c := range map[string]struct {
		id          string
		see, change int
	}{
		"private":   {hidden, 404, 404},
		"shared":    {shared, 404, 404},
		"public":    {public, 200, 403},
		"community": {community, 200, 403},
		"absent":    {"0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11", 404, 404},
		"no id":     {"x", 404, 404},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/image/v2/images/" + c.id
			require.Equal(t, c.see, w.do("demo", "GET", path, nil).status)
			require.Equal(t, c.see, w.do("demo", "GET", path+"/file", nil).status)
			require.Equal(t, c.change, w.do("demo", "DELETE", path, nil).status)
			require.Equal(t, c.change, w.do("demo", "PATCH", path, rename, "Content-Type", patch).status)
			require.Equal(t, c.change, w.do("demo", "PUT", path+"/file", noise(10)).status)
			require.Equal(t, c.change, w.do("demo", "PUT", path+"/tags/x", nil).status)
			require.Equal(t, c.change, w.do("demo", "DELETE", path+"/tags/x", nil).status)
			if c.see == 404 {
				require.Contains(t, w.do("demo", "GET", path, nil).json(t)["message"], "No image found with ID "+c.id)
			}
		})
	}
	for _, r := range [][4]string{
		{"DELETE", ""}, {"PATCH", "", rename, patch}, {"PUT", "/file", "x", "application/octet-stream"}, {"PUT", "/stage", "x", "application/octet-stream"},
		{"PUT", "/tags/x"}, {"DELETE", "/tags/x"}, {"POST", "/actions/deactivate"},
	} {
		require.Equal(t, 403, w.do("reader", r[0], "/image/v2/images/"+public+r[1], []byte(r[2]), "Content-Type", r[3]).status, r)
	}
	require.Equal(t, before, w.everything())
	require.Equal(t, 200, w.do("admin", "GET", "/image/v2/images/"+hidden, nil).status, "an admin sees all")
}

func TestAProtectedImageIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	id := w.active("demo", object{"protected": true}, noise(1000))
	before := w.everything()
	a := w.do("demo", "DELETE", "/image/v2/images/"+id, nil)
	require.Equal(t, 403, a.status)
	require.Contains(t, a.json(t)["message"], "protected")
	require.Equal(t, before, w.everything())
}

func TestTheSchemasAreShown(t *testing.T) {
	w := newWorld(t)
	one := w.do("demo", "GET", "/image/v2/schemas/image", nil).json(t)
	require.Equal(t, "image", one["name"])
	for key := range w.image("demo", w.queued("demo", nil)) {
		require.Contains(t, one["properties"], key)
	}
	require.Equal(t, "images", w.do("demo", "GET", "/image/v2/schemas/images", nil).json(t)["name"])
}

func TestGophercloudLogsInAndKeepsImages(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	provider, err := openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: w.url + "/v3", Username: "demo", Password: password, TenantName: "demo", DomainName: "Default", AllowReauth: true,
	})
	require.NoError(t, err)
	keystone, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	token := tokens.Get(ctx, keystone, provider.Token())
	project, err := token.ExtractProject()
	require.NoError(t, err)
	require.Equal(t, demoProject, project.ID)

	glance, err := openstack.NewImageV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	visibility := images.ImageVisibilityPrivate
	made, err := images.Create(ctx, glance, images.CreateOpts{
		Name: "by gophercloud", DiskFormat: "raw", ContainerFormat: "bare", Visibility: &visibility, Tags: []string{"g"},
		Properties: map[string]string{"hw_disk_bus": "virtio"},
	}).Extract()
	require.NoError(t, err)
	data := noise(300_000)
	require.NoError(t, imagedata.Upload(ctx, glance, made.ID, bytes.NewReader(data)).ExtractErr())
	got, err := images.Get(ctx, glance, made.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, images.ImageStatusActive, got.Status)
	require.EqualValues(t, len(data), got.SizeBytes)
	require.Equal(t, "virtio", got.Properties["hw_disk_bus"])
	reader, err := imagedata.Download(ctx, glance, made.ID).Extract()
	require.NoError(t, err)
	back, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, back))

	renamed, err := images.Update(ctx, glance, made.ID, images.UpdateOpts{images.ReplaceImageName{NewName: "renamed"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "renamed", renamed.Name)
	for range 3 {
		w.queued("demo", nil)
	}
	pages, err := images.List(glance, images.ListOpts{Limit: 2}).AllPages(ctx)
	require.NoError(t, err)
	all, err := images.ExtractImages(pages)
	require.NoError(t, err)
	require.Len(t, all, 4, "over two pages")
	require.NoError(t, images.Delete(ctx, glance, made.ID).ExtractErr())
	_, err = images.Get(ctx, glance, made.ID).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 404), "%v", err)

	_, err = openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: w.url + "/v3", Username: "demo", Password: "wrong", TenantName: "demo", DomainName: "Default",
	})
	require.True(t, gophercloud.ResponseCodeIs(err, 401), "%v", err)
}

func TestTheVersionsAreThoseWhoseCallsAreServed(t *testing.T) {
	w := newWorld(t)
	ids := func(a answer) []string {
		all := []string{}
		for _, v := range a.json(t)["versions"].([]any) {
			require.Equal(t, []any{object{"rel": "self", "href": w.url + "/image/v2/"}}, v.(object)["links"])
			all = append(all, v.(object)["id"].(string)+" "+v.(object)["status"].(string))
		}
		return all
	}
	a := w.do("", "GET", "/image/", nil)
	require.Equal(t, 300, a.status)
	versions := ids(a)
	require.Equal(t, "v2.15 CURRENT", versions[0])
	a = w.do("", "GET", "/image/versions", nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, versions, ids(a))

	// What a version of Glance added, and who asks for it: a path that were not there would be 404.
	id := w.queued("demo", nil)
	of := "/image/v2/images/" + id
	for version, c := range map[string]struct {
		as, method, path string
		status           int
	}{
		"v2.15": {"admin", "GET", "/image/v2/info/stores/detail", 200},
		"v2.14": {"admin", "GET", "/image/v2/cache", 404},
		"v2.17": {"demo", "GET", of + "/locations", 404},
		"v2.13": {"demo", "GET", "/image/v2/info/usage", 200},
		"v2.9":  {"admin", "DELETE", "/image/v2/stores/local/" + id, 409},
		"v2.8":  {"demo", "GET", "/image/v2/info/stores", 200},
		"v2.3":  {"demo", "POST", of + "/actions/deactivate", 403},
	} {
		a := w.do(c.as, c.method, c.path, nil)
		require.Equal(t, c.status, a.status, "%s: %s", version, a.body)
		claimed := slices.ContainsFunc(versions, func(v string) bool { return strings.HasPrefix(v, version+" ") })
		require.Equal(t, c.status != 404, claimed, version)
	}
}

func TestAProjectsUseOfTheImageServiceIsShown(t *testing.T) {
	w := newWorld(t)
	w.active("demo", nil, noise(3<<20))
	w.active("other", nil, noise(1<<20))
	staged := w.queued("demo", nil)
	require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+staged+"/stage", noise(2<<20)).status)
	w.queued("demo", nil)
	require.Equal(t, object{"usage": object{
		"image_size_total": object{"usage": 3.0, "limit": -1.0}, "image_stage_total": object{"usage": 2.0, "limit": -1.0},
		"image_count_total": object{"usage": 3.0, "limit": -1.0}, "image_count_uploading": object{"usage": 1.0, "limit": -1.0},
	}}, w.do("reader", "GET", "/image/v2/info/usage", nil).json(t))
	require.Equal(t, 403, w.do("unscoped", "GET", "/image/v2/info/usage", nil).status)
}
