package contract

import (
	"crypto/md5"
	"crypto/sha512"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/members"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/tasks"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestGlancesClientsFindGlance runs each of them through what it can do with images, at once and on one system: gophercloud,
// the `openstack` command and Glance's own. What one makes it marks, and it looks at nothing else.
func TestGlancesClientsFindGlance(t *testing.T) {
	dir := t.TempDir()
	file := noise(t, 3<<20)
	web := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	t.Cleanup(web.Close) // when the subtests, which run at once, have ended
	uri := web.URL + "/" + filepath.Base(file)
	s := system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{"images": map[string]any{
		"stores":             "fast=file:" + filepath.Join(dir, "fast") + ",slow=file:" + filepath.Join(dir, "slow"),
		"web_download_hosts": "127.0.0.1", "web_download_networks": "127.0.0.0/8",
		"web_download_ports": strconv.Itoa(web.Listener.Addr().(*net.TCPAddr).Port),
	}}})
	unchanged(t, s)
	t.Run("gophercloud", func(t *testing.T) {
		t.Parallel()
		gophercloudKeepsImages(t, s, file, uri)
	})
	t.Run("the openstack command", func(t *testing.T) {
		t.Parallel()
		theOpenStackCommandKeepsImages(t, s, installed(t, "openstack", "python3-openstackclient"))
	})
	t.Run("the glance command", func(t *testing.T) {
		t.Parallel()
		theGlanceCommandKeepsImages(t, s, installed(t, "glance", "python3-glanceclient"), uri)
	})
	t.Run("the glance command's definitions", func(t *testing.T) {
		t.Parallel()
		theGlanceCommandKeepsMetadefs(t, s, installed(t, "glance", "python3-glanceclient"))
	})
}

// installed is where a command is, or the end of the test where it is nowhere.
func installed(t *testing.T, command, of string) string {
	t.Helper()
	path, err := exec.LookPath(command)
	if err != nil {
		fmt.Printf("SLIPWAY-NOT-RUN: the %s command: it is not installed (apt-get install %s)\n", command, of)
		t.Skipf("no %s command: apt-get install %s", command, of)
	}
	return path
}

// becomes waits until an image has the status.
func becomes(t *testing.T, client *gophercloud.ServiceClient, id, status string) *images.Image {
	t.Helper()
	var image *images.Image
	system.Eventually(t, commandPatience, func() (bool, string) {
		var err error
		image, err = images.Get(t.Context(), client, id).Extract()
		require.NoError(t, err)
		return string(image.Status) == status, "the image is " + string(image.Status)
	})
	return image
}

// gophercloudKeepsImages makes each call of gophercloud's image/v2, as the user demo, and as the admin who shares with it. uri
// is where a web server has the file.
func gophercloudKeepsImages(t *testing.T, s *system.System, file, uri string) {
	ctx := t.Context()
	demo, admin := system.Image(t, s.Demo()), system.Image(t, s.Admin())
	const tag = "by gophercloud"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	made := func(o images.CreateOpts) *images.Image {
		t.Helper()
		o.Tags = append(o.Tags, tag)
		i, err := images.Create(ctx, demo, o).Extract()
		require.NoError(t, err)
		return i
	}

	id := uuid.NewString()
	one := made(images.CreateOpts{
		ID: id, Name: "g one", DiskFormat: "raw", ContainerFormat: "bare", Tags: []string{"first"}, MinDisk: 1, MinRAM: 64,
		Protected: ptr(true), Hidden: ptr(true), Visibility: ptr(images.ImageVisibilityPrivate), Properties: map[string]string{"os_distro": "none", "a/b": "c"},
	})
	require.Equal(t, id, one.ID)
	require.Equal(t, images.ImageStatusQueued, one.Status)
	require.Equal(t, []string{"first", tag}, one.Tags)
	require.Equal(t, [2]int{1, 64}, [2]int{one.MinDiskGigabytes, one.MinRAMMegabytes})
	require.True(t, one.Protected && one.Hidden)
	require.Equal(t, images.ImageVisibilityPrivate, one.Visibility)
	require.Equal(t, "none", one.Properties["os_distro"])
	require.Equal(t, []string{"fast", "slow"}, one.OpenStackImageStoreIDs)
	require.Equal(t, "/v2/images/"+id+"/file", one.File)
	_, err = images.Create(ctx, demo, images.CreateOpts{Name: "again", ID: id}).Extract()
	refused(t, err, http.StatusConflict)
	for _, o := range []images.CreateOpts{{Name: "x", ID: "1"}, {Name: "x", DiskFormat: "ploop"}, {Name: "x", ContainerFormat: "docker"}} {
		_, err = images.Create(ctx, demo, o).Extract()
		refused(t, err, http.StatusBadRequest)
	}
	refused(t, images.Delete(ctx, demo, id).ExtractErr(), http.StatusForbidden)

	changed, err := images.Update(ctx, demo, id, images.UpdateOpts{
		images.ReplaceImageProtected{NewProtected: false}, images.ReplaceImageHidden{NewHidden: false}, images.ReplaceImageName{NewName: "g 1"},
		images.ReplaceImageMinDisk{NewMinDisk: 2}, images.ReplaceImageMinRam{NewMinRam: 128}, images.ReplaceImageTags{NewTags: []string{tag, "changed"}},
		images.UpdateVisibility{Visibility: images.ImageVisibilityShared},
		images.UpdateImageProperty{Op: images.AddOp, Name: "hw_disk_bus", Value: "virtio"},
		images.UpdateImageProperty{Op: images.ReplaceOp, Name: "os_distro", Value: "debian"},
		images.UpdateImageProperty{Op: images.RemoveOp, Name: "a~1b"},
	}).Extract()
	require.NoError(t, err)
	require.Equal(t, "g 1", changed.Name)
	require.Equal(t, [2]int{2, 128}, [2]int{changed.MinDiskGigabytes, changed.MinRAMMegabytes})
	require.False(t, changed.Protected || changed.Hidden)
	require.Equal(t, []string{tag, "changed"}, changed.Tags)
	require.Equal(t, images.ImageVisibilityShared, changed.Visibility)
	require.Equal(t, [2]any{"virtio", "debian"}, [2]any{changed.Properties["hw_disk_bus"], changed.Properties["os_distro"]})
	require.NotContains(t, changed.Properties, "a/b")
	for status, o := range map[int]images.Patch{
		http.StatusForbidden: images.ReplaceImageChecksum{Checksum: "0"},
		http.StatusConflict:  images.UpdateImageProperty{Op: images.RemoveOp, Name: "absent"},
	} {
		_, err = images.Update(ctx, demo, id, images.UpdateOpts{o}).Extract()
		refused(t, err, status)
	}
	_, err = images.Update(ctx, demo, id, images.UpdateOpts{images.UpdateVisibility{Visibility: images.ImageVisibilityPublic}}).Extract()
	refused(t, err, http.StatusForbidden)

	require.NoError(t, imagedata.Upload(ctx, demo, id, reader(data)).ExtractErr())
	got, err := images.Get(ctx, demo, id).Extract()
	require.NoError(t, err)
	require.Equal(t, images.ImageStatusActive, got.Status)
	require.EqualValues(t, len(data), got.SizeBytes)
	require.EqualValues(t, len(data), got.VirtualSize)
	require.Equal(t, fmt.Sprintf("%x", md5.Sum(data)), got.Checksum)
	require.Equal(t, fmt.Sprintf("%x", sha512.Sum512(data)), got.Properties["os_hash_value"])
	body, err := imagedata.Download(ctx, demo, id).Extract()
	require.NoError(t, err)
	back, err := io.ReadAll(body)
	require.NoError(t, err)
	require.True(t, string(data) == string(back), "another image came back")

	two := made(images.CreateOpts{Name: "g 2", DiskFormat: "qcow2", ContainerFormat: "bare"})
	three := made(images.CreateOpts{Name: "g 3, the last", DiskFormat: "ari", ContainerFormat: "ari", Tags: []string{"changed"}})
	require.NoError(t, imagedata.Stage(ctx, demo, two.ID, reader(data)).ExtractErr())
	refused(t, imagedata.Stage(ctx, demo, two.ID, reader(data)).ExtractErr(), http.StatusConflict)
	got, err = images.Get(ctx, demo, two.ID).Extract()
	require.NoError(t, err)
	require.EqualValues(t, "uploading", got.Status)
	require.Empty(t, got.Checksum, "what is staged is summed when it is imported")

	listed := func(client *gophercloud.ServiceClient, o images.ListOpts) []string {
		t.Helper()
		if o.Tags = append(o.Tags, tag); o.Sort == "" && o.SortKey == "" {
			o.Sort = "name:asc"
		}
		names := []string{}
		for _, i := range all(t, images.List(client, o), images.ExtractImages) {
			names = append(names, i.Name)
		}
		return names
	}
	date := func(op images.ImageDateFilter, at time.Time) *images.ImageDateQuery {
		return &images.ImageDateQuery{Filter: op, Date: at}
	}
	// SizeMin and SizeMax do not come here: gophercloud leaves numbers of 64 bits out of a query.
	const first, second, third = "g 1", "g 2", "g 3, the last"
	for name, c := range map[string]struct {
		o    images.ListOpts
		want []string
	}{
		"all":               {images.ListOpts{}, []string{first, second, third}},
		"id":                {images.ListOpts{ID: id}, []string{first}},
		"ids":               {images.ListOpts{ID: "in:" + id + "," + two.ID}, []string{first, second}},
		"name":              {images.ListOpts{Name: third}, []string{third}},
		"names":             {images.ListOpts{Name: `in:g 1,"g 3, the last"`}, []string{first, third}},
		"visibility":        {images.ListOpts{Visibility: images.ImageVisibilityShared}, []string{first, second, third}},
		"another":           {images.ListOpts{Visibility: images.ImageVisibilityPrivate}, []string{}},
		"hidden":            {images.ListOpts{Hidden: true}, []string{}},
		"pending":           {images.ListOpts{MemberStatus: images.ImageMemberStatusPending}, []string{first, second, third}},
		"owner":             {images.ListOpts{Owner: one.Owner}, []string{first, second, third}},
		"another's":         {images.ListOpts{Owner: "nobody"}, []string{}},
		"status":            {images.ListOpts{Status: images.ImageStatusActive}, []string{first}},
		"statuses":          {images.ListOpts{Status: "in:active,queued"}, []string{first, third}},
		"sorted by keys":    {images.ListOpts{Sort: "container_format:asc,name:desc"}, []string{third, second, first}},
		"sorted by a key":   {images.ListOpts{SortKey: "name", SortDir: "desc"}, []string{third, second, first}},
		"tags":              {images.ListOpts{Tags: []string{"changed"}}, []string{first, third}},
		"made after":        {images.ListOpts{CreatedAtQuery: date(images.FilterGT, one.CreatedAt.Add(-time.Minute))}, []string{first, second, third}},
		"made before":       {images.ListOpts{CreatedAtQuery: date(images.FilterLT, one.CreatedAt.Add(-time.Minute))}, []string{}},
		"changed until":     {images.ListOpts{UpdatedAtQuery: date(images.FilterLTE, one.CreatedAt.Add(time.Hour))}, []string{first, second, third}},
		"changed then":      {images.ListOpts{UpdatedAtQuery: date("", one.CreatedAt.Add(-time.Hour))}, []string{}},
		"container format":  {images.ListOpts{ContainerFormat: "ari"}, []string{third}},
		"container formats": {images.ListOpts{ContainerFormat: "in:ami,ari"}, []string{third}},
		"disk format":       {images.ListOpts{DiskFormat: "qcow2"}, []string{second}},
		"pages of one":      {images.ListOpts{Limit: 1}, []string{first, second, third}},
		"from a marker":     {images.ListOpts{Marker: two.ID}, []string{third}},
	} {
		require.Equal(t, c.want, listed(demo, c.o), name)
	}
	_, err = images.List(demo, images.ListOpts{Marker: "absent"}).AllPages(ctx)
	refused(t, err, http.StatusBadRequest)

	// The admin's project shares one with demo's, which is a plain member of it.
	given, err := images.Create(ctx, admin, images.CreateOpts{Name: "g given", Tags: []string{tag}}).Extract()
	require.NoError(t, err)
	_, err = images.Get(ctx, demo, given.ID).Extract()
	refused(t, err, http.StatusNotFound)
	m, err := members.Create(ctx, admin, given.ID, one.Owner).Extract()
	require.NoError(t, err)
	require.Equal(t, [3]string{given.ID, one.Owner, "pending"}, [3]string{m.ImageID, m.MemberID, m.Status})
	_, err = members.Create(ctx, admin, given.ID, one.Owner).Extract()
	refused(t, err, http.StatusConflict)
	require.Empty(t, listed(demo, images.ListOpts{Owner: given.Owner}))
	require.Equal(t, []string{"g given"}, listed(demo, images.ListOpts{Owner: given.Owner, MemberStatus: images.ImageMemberStatusPending}))
	_, err = members.Update(ctx, demo, given.ID, one.Owner, members.UpdateOpts{Status: "delighted"}).Extract()
	refused(t, err, http.StatusBadRequest)
	m, err = members.Update(ctx, demo, given.ID, one.Owner, members.UpdateOpts{Status: "accepted"}).Extract()
	require.NoError(t, err)
	require.Equal(t, "accepted", m.Status)
	require.Equal(t, []string{"g given"}, listed(demo, images.ListOpts{Owner: given.Owner, Visibility: images.ImageVisibilityShared}))
	m, err = members.Get(ctx, demo, given.ID, one.Owner).Extract()
	require.NoError(t, err)
	require.Equal(t, "accepted", m.Status)
	require.Len(t, all(t, members.List(demo, given.ID), members.ExtractMembers), 1)
	_, err = images.Update(ctx, demo, given.ID, images.UpdateOpts{images.ReplaceImageName{NewName: "mine"}}).Extract()
	refused(t, err, http.StatusForbidden)
	refused(t, members.Delete(ctx, demo, given.ID, one.Owner).ExtractErr(), http.StatusForbidden)
	require.NoError(t, members.Delete(ctx, admin, given.ID, one.Owner).ExtractErr())
	_, err = images.Get(ctx, demo, given.ID).Extract()
	refused(t, err, http.StatusNotFound)
	require.NoError(t, images.Delete(ctx, admin, given.ID).ExtractErr())

	// Imports. What is staged as qcow2 is none: its task says so, and the image waits for other bytes.
	info, err := imageimport.Get(ctx, demo).Extract()
	require.NoError(t, err)
	require.Equal(t, []string{"glance-direct", "web-download", "copy-image"}, info.ImportMethods.Value)
	require.Equal(t, info.ImportMethods.Value, one.OpenStackImageImportMethods)
	imported := func(image, method, from string) error {
		return imageimport.Create(ctx, demo, image, imageimport.CreateOpts{Name: imageimport.ImportMethod(method), URI: from}).ExtractErr()
	}
	ended := func(image string) (task *tasks.Task) {
		t.Helper()
		system.Eventually(t, commandPatience, func() (bool, string) {
			for _, stub := range all(t, tasks.List(admin, tasks.ListOpts{SortKey: "created_at", SortDir: "desc"}), tasks.ExtractTasks) {
				task, err = tasks.Get(ctx, admin, stub.ID).Extract()
				require.NoError(t, err)
				if task.Input["image_id"] == image {
					return task.Status == "success" || task.Status == "failure", "the task is " + task.Status
				}
			}
			return false, "the image has no task"
		})
		return task
	}
	require.NoError(t, imported(two.ID, "glance-direct", ""))
	task := ended(two.ID)
	becomes(t, demo, two.ID, "queued")
	require.Equal(t, [3]string{"api_image_import", "failure", one.Owner}, [3]string{task.Type, task.Status, task.Owner})
	require.Contains(t, task.Message, "declared to be qcow2")
	four := made(images.CreateOpts{Name: "g 4", DiskFormat: "raw", ContainerFormat: "bare"})
	refused(t, imported(four.ID, "glance-direct", ""), http.StatusConflict)
	refused(t, imported(four.ID, "copy-image", ""), http.StatusForbidden)
	for _, bad := range []string{"", "file:///etc/passwd", "http://127.0.0.1:1/", "http://localhost/"} {
		refused(t, imported(four.ID, "web-download", bad), http.StatusBadRequest)
	}
	require.NoError(t, imported(four.ID, "web-download", uri))
	require.Equal(t, fmt.Sprintf("%x", md5.Sum(data)), becomes(t, demo, four.ID, "active").Checksum)
	require.Equal(t, "success", ended(four.ID).Status)
	five := made(images.CreateOpts{Name: "g 5", DiskFormat: "raw", ContainerFormat: "bare"})
	require.NoError(t, imagedata.Stage(ctx, demo, five.ID, reader(data)).ExtractErr())
	require.NoError(t, imported(five.ID, "glance-direct", ""))
	require.Equal(t, fmt.Sprintf("%x", md5.Sum(data)), becomes(t, demo, five.ID, "active").Checksum)
	_, err = tasks.List(demo, nil).AllPages(ctx)
	refused(t, err, http.StatusForbidden)
	_, err = tasks.Create(ctx, admin, tasks.CreateOpts{Type: "import", Input: map[string]any{}}).Extract()
	refused(t, err, http.StatusMethodNotAllowed)

	for _, image := range []string{id, two.ID, three.ID, four.ID, five.ID} {
		require.NoError(t, images.Delete(ctx, demo, image).ExtractErr())
		refused(t, images.Delete(ctx, demo, image).ExtractErr(), http.StatusNotFound)
	}
}

// theOpenStackCommandKeepsImages runs each of `openstack image`'s commands.
func theOpenStackCommandKeepsImages(t *testing.T, s *system.System, path string) {
	admin := newTool(t, s, path, "admin", system.AdminPassword)
	demo := newTool(t, s, path, "demo", system.DemoPassword)
	type row map[string]any
	js := func(args ...string) []string { return append(args, "-f", "json") }
	file := noise(t, 1<<20)

	var made row
	demo.json(t, &made, js("image", "create", "o one", "--file", file, "--disk-format", "raw", "--tag", "by osc", "--tag", "first",
		"--property", "os_distro=none", "--min-disk", "1", "--min-ram", "64", "--protected", "--private")...)
	id := made["id"].(string)
	var shown row
	demo.json(t, &shown, js("image", "show", "o one")...)
	require.Equal(t, "active", shown["status"])
	require.EqualValues(t, 1<<20, shown["size"])
	require.Equal(t, "private", shown["visibility"])
	require.Equal(t, true, shown["protected"])
	require.Equal(t, [2]any{1.0, 64.0}, [2]any{shown["min_disk"], shown["min_ram"]})
	require.ElementsMatch(t, []any{"by osc", "first"}, shown["tags"])
	require.Equal(t, "none", shown["properties"].(map[string]any)["os_distro"])
	// --progress draws for a terminal alone, and must not change what is sent.
	demo.run(t, "image", "create", "o two", "--progress", "--file", file, "--tag", "by osc", "--community")
	_, complaint, code := demo.try(t, "image", "delete", "o one")
	require.NotZero(t, code)
	require.Contains(t, complaint, "protected")
	_, complaint, code = demo.try(t, "image", "create", "o three", "--container-format", "docker")
	require.NotZero(t, code)
	require.Contains(t, complaint, "nothing could vouch")

	listed := func(by tool, args ...string) []string {
		t.Helper()
		var rows []row
		by.json(t, &rows, js(append([]string{"image", "list", "--tag", "by osc"}, args...)...)...)
		names := []string{}
		for _, r := range rows {
			names = append(names, r["Name"].(string))
		}
		return names
	}
	require.Equal(t, []string{"o one", "o two"}, listed(demo))
	require.Equal(t, []string{"o two", "o one"}, listed(demo, "--sort", "created_at:desc,name:asc"))
	require.Equal(t, []string{"o two"}, listed(demo, "--community", "--status", "active", "--long"))
	require.Equal(t, []string{"o one"}, listed(demo, "--private", "--name", "o one", "--tag", "first"))
	require.Equal(t, []string{"o one"}, listed(demo, "--property", "os_distro=none"))
	require.Equal(t, []string{"o one"}, listed(demo, "--marker", "o two", "--limit", "5"), "after it, the newest first")
	require.Equal(t, []string{"o one"}, listed(admin), "others' community images are listed by asking for them")

	demo.run(t, "image", "set", "o one", "--name", "o 1", "--property", "os_distro=debian", "--os-version", "12", "--tag", "second",
		"--unprotected", "--hidden", "--min-ram", "128", "--shared")
	require.Equal(t, []string{"o 1"}, listed(demo, "--hidden"))
	demo.run(t, "image", "unset", id, "--tag", "first", "--property", "os_version")
	demo.run(t, "image", "set", id, "--unhidden")
	demo.json(t, &shown, js("image", "show", "o 1")...)
	require.ElementsMatch(t, []any{"by osc", "second"}, shown["tags"])
	require.Equal(t, "debian", shown["properties"].(map[string]any)["os_distro"])
	require.NotContains(t, shown["properties"], "os_version")
	require.EqualValues(t, 128, shown["min_ram"])

	saved := filepath.Join(t.TempDir(), "saved")
	demo.run(t, "image", "set", id, "--deactivate")
	_, complaint, code = demo.try(t, "image", "save", id, "--file", saved)
	require.NotZero(t, code)
	require.Contains(t, complaint, "Unable to download image")
	demo.run(t, "image", "set", id, "--activate")
	demo.run(t, "image", "save", id, "--file", saved)
	sameFile(t, file, saved)

	demo.json(t, &made, js("image", "create", "o three", "--import", "--file", file, "--tag", "by osc")...)
	require.EqualValues(t, 1<<20, becomes(t, system.Image(t, s.Demo()), made["id"].(string), "active").SizeBytes)

	// The admin's project shares an image with demo's.
	project := shown["owner"].(string)
	admin.json(t, &made, js("image", "create", "o given", "--file", file, "--shared", "--tag", "by osc")...)
	given := made["id"].(string)
	admin.run(t, "image", "add", "project", "o given", project)
	require.Equal(t, []string{"o given"}, listed(demo, "--shared", "--member-status", "pending", "--project", made["owner"].(string)))
	for _, answer := range []string{"accept", "reject", "pending"} {
		demo.run(t, "image", "set", given, "--"+answer)
		var rows []row
		admin.json(t, &rows, js("image", "member", "list", given)...)
		require.Equal(t, []row{{"Image ID": given, "Member ID": project, "Status": map[string]string{
			"accept": "accepted", "reject": "rejected", "pending": "pending"}[answer]}}, rows)
	}
	admin.run(t, "image", "remove", "project", given, project)
	_, _, code = demo.try(t, "image", "show", given)
	require.NotZero(t, code)
	admin.run(t, "image", "delete", given)

	demo.run(t, "image", "delete", "o 1", "o two", "o three")
	require.Empty(t, listed(demo))
}

// theGlanceCommandKeepsImages runs each of the commands of `glance` that Slipway answers. uri is where a web server has an image.
func theGlanceCommandKeepsImages(t *testing.T, s *system.System, path, uri string) {
	// The command reads an image's bytes from its standard input where that is no terminal; so there is none.
	without := []string{"-c", `exec "$0" "$@" <&-`, path}
	demo, admin := newTool(t, s, "/bin/sh", "demo", system.DemoPassword), newTool(t, s, "/bin/sh", "admin", system.AdminPassword)
	demo.before, admin.before = without, without
	demoProject := ""
	file := noise(t, 1<<20)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := fmt.Sprintf("%x", md5.Sum(data))
	shows := func(table string, lines ...string) {
		t.Helper()
		for _, want := range lines {
			require.True(t, hasRow(table, strings.Split(want, "|")...), "no row %s in\n%s", want, table)
		}
	}

	shows(demo.run(t, "explain", "image"), "os_hash_algo|Algorithm to calculate the os_hash_value", "protected|If true, image will not be deletable.")
	id := uuid.NewString()
	shows(demo.run(t, "image-create", "--id", id, "--name", "c one", "--disk-format", "raw", "--container-format", "bare", "--tags", "by glance",
		"--property", "os_distro=none", "--min-ram", "64", "--protected", "True", "--hidden", "False"),
		"id|"+id, "name|c one", "status|queued", "os_distro|none", "min_ram|64", "protected|True", `tags|["by glance"]`)
	_, complaint, code := demo.try(t, "image-download", id, "--file", filepath.Join(t.TempDir(), "none"))
	require.NotZero(t, code)
	require.Contains(t, complaint, "has no data")
	demo.run(t, "image-upload", id, "--file", file, "--progress", "--store", "slow")
	shown := demo.run(t, "image-show", id)
	shows(shown, "status|active", "checksum|"+sum, "size|1048576", "stores|slow", "os_hash_algo|sha512")
	demoProject = rowOf(shown, "owner")
	// The command sends everything before it looks.
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, data, 0o600))
	require.NoError(t, os.Truncate(large, 256<<20))
	_, complaint, code = demo.try(t, "image-upload", id, "--file", large)
	require.NotZero(t, code)
	require.Contains(t, complaint, "409")
	require.Contains(t, complaint, "takes data only once")
	saved := filepath.Join(t.TempDir(), "saved")
	demo.run(t, "image-download", id, "--file", saved, "--progress") // which holds the bytes against os_hash_value
	sameFile(t, file, saved)

	created := demo.run(t, "image-create", "--name", "c two", "--disk-format", "raw", "--container-format", "bare", "--tags", "by glance", "--file", file, "--store", "fast")
	shows(created, "status|active", "stores|fast")
	two := rowOf(created, "id")
	list := func(args ...string) string {
		t.Helper()
		return demo.run(t, append([]string{"image-list", "--tag", "by glance"}, args...)...)
	}
	table := list("--sort", "name:asc", "--page-size", "1", "--include-stores")
	shows(table, id+"|c one|slow", two+"|c two|fast")
	require.Less(t, strings.Index(table, "c one"), strings.Index(table, "c two"))
	table = list("--property-filter", "os_distro=none", "--checksum", sum, "--visibility", "shared", "--owner", demoProject, "--limit", "9")
	shows(table, id+"|c one")
	require.NotContains(t, table, "c two")

	shows(demo.run(t, "image-update", id, "--name", "c 1", "--property", "os_version=12", "--remove-property", "os_distro", "--visibility", "private",
		"--protected", "False", "--min-disk", "3", "--hidden", "True"),
		"name|c 1", "os_version|12", "visibility|private", "protected|False", "min_disk|3", "os_hidden|True")
	require.NotContains(t, demo.run(t, "image-show", id), "os_distro")
	shows(list("--hidden"), id+"|c 1")
	shows(demo.run(t, "image-tag-update", id, "extra"), id+`|['by glance', 'extra']`)
	demo.run(t, "image-tag-delete", id, "extra")
	_, complaint, code = demo.try(t, "image-tag-delete", id, "extra")
	require.NotZero(t, code)
	require.Contains(t, complaint, "404")
	_, complaint, code = demo.try(t, "location-add", id, "--url", "file:///etc/passwd")
	require.NotZero(t, code)
	require.NotEmpty(t, complaint)

	demo.run(t, "image-deactivate", id)
	_, complaint, code = demo.try(t, "image-download", id, "--file", saved)
	require.NotZero(t, code)
	require.Contains(t, complaint, "deactivated")
	demo.run(t, "image-reactivate", id)

	created = admin.run(t, "image-create", "--name", "c given", "--tags", "by glance", "--visibility", "shared")
	given := rowOf(created, "id")
	shows(admin.run(t, "member-create", given, demoProject), given+"|"+demoProject+"|pending")
	shows(demo.run(t, "member-update", given, demoProject, "accepted"), given+"|"+demoProject+"|accepted")
	shows(demo.run(t, "member-list", "--image-id", given), given+"|"+demoProject+"|accepted")
	shows(demo.run(t, "member-get", given, demoProject), "status|accepted")
	shows(list("--member-status", "accepted"), given+"|c given")
	admin.run(t, "member-delete", given, demoProject)
	_, complaint, code = demo.try(t, "image-show", given)
	require.NotZero(t, code)
	require.Contains(t, complaint, "404")

	require.Contains(t, demo.run(t, "stores-info"), `{"default": "true", "id": "fast"}`)
	require.Contains(t, admin.run(t, "stores-info", "--detail"), `"type": "file"`)
	_, complaint, code = demo.try(t, "stores-info", "--detail")
	require.NotZero(t, code)
	require.Contains(t, complaint, "403")
	require.Contains(t, demo.run(t, "usage"), "image_size_total")
	_, complaint, code = admin.try(t, "stores-delete", two, "--store", "fast")
	require.NotZero(t, code)
	require.Contains(t, complaint, "only store")

	api := system.Image(t, s.Demo())
	require.Contains(t, demo.run(t, "import-info"), "web-download")
	three := rowOf(demo.run(t, "image-create", "--name", "c three", "--disk-format", "raw", "--container-format", "bare", "--tags", "by glance"), "id")
	demo.run(t, "image-stage", three, "--file", file)
	shows(demo.run(t, "image-show", three), "status|uploading", "size|1048576")
	demo.run(t, "image-import", three, "--stores", "slow")
	require.Equal(t, sum, becomes(t, api, three, "active").Checksum)
	four := rowOf(demo.run(t, "image-create-via-import", "--name", "c four", "--disk-format", "raw", "--container-format", "bare", "--tags", "by glance",
		"--import-method", "web-download", "--uri", uri), "id")
	require.EqualValues(t, 3<<20, becomes(t, api, four, "active").SizeBytes)
	five := rowOf(demo.run(t, "image-create-via-import", "--name", "c five", "--disk-format", "raw", "--container-format", "bare", "--tags", "by glance",
		"--file", file, "--all-stores", "True"), "id")
	lies := func(id, where string) {
		t.Helper()
		system.Eventually(t, commandPatience, func() (bool, string) {
			in := becomes(t, api, id, "active").Properties["stores"]
			return in == where, fmt.Sprint("the image lies in ", in)
		})
	}
	lies(five, "fast,slow")
	admin.run(t, "image-import", three, "--import-method", "copy-image", "--stores", "fast")
	lies(three, "slow,fast")
	admin.run(t, "stores-delete", three, "--store", "slow")
	shows(demo.run(t, "image-show", three), "stores|fast", "checksum|"+sum)
	require.Regexp(t, "processing|success", demo.run(t, "image-tasks", four))
	require.Contains(t, admin.run(t, "task-list"), "api_image_import")

	admin.run(t, "image-delete", given)
	demo.run(t, "image-delete", id, two, three, four, five)
	_, complaint, code = demo.try(t, "image-delete", id)
	require.NotZero(t, code)
	require.Contains(t, complaint, "No image with an ID of '"+id+"' exists.")
}

// hasRow says whether a table that a Python client drew has a row of these cells.
func hasRow(table string, cells ...string) bool {
	for line := range strings.SplitSeq(table, "\n") {
		if row := cellsOf(line); len(row) == len(cells) {
			same := true
			for i := range cells {
				same = same && row[i] == cells[i]
			}
			if same {
				return true
			}
		}
	}
	return false
}

// rowOf is the second cell of the row that begins with the property.
func rowOf(table, property string) string {
	for line := range strings.SplitSeq(table, "\n") {
		if row := cellsOf(line); len(row) == 2 && row[0] == property {
			return row[1]
		}
	}
	return ""
}

func cellsOf(line string) []string {
	if !strings.HasPrefix(line, "|") {
		return nil
	}
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i, cell := range cells {
		cells[i] = strings.TrimSpace(cell)
	}
	return cells
}
