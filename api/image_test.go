package api

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
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

func noise(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
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
		"unsafe disk format":   {object{"disk_format": "ploop"}, 400, "not one of"},
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
		"property with slash":  {object{"a/b": "x"}, 400, "slash"},
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

func TestARefusedUploadLeavesTheImageQueuedAndNoBytes(t *testing.T) {
	w := newWorld(t)
	bare := w.do("demo", "POST", "/image/v2/images", object{"name": "without formats"}).json(t)["id"].(string)
	raw := w.queued("demo", nil)
	cow := w.queued("demo", object{"disk_format": "qcow2"})
	vm := w.queued("demo", object{"disk_format": "vmdk"})
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, make([]byte, 1<<20), 0o600))
	before := w.everything()
	for name, c := range map[string]struct {
		id     string
		body   any
		status int
		text   string
	}{
		"formats not set":     {bare, noise(10), 400, "must be set"},
		"over-large":          {raw, noise(maxImage + 1), 413, "larger than"},
		"over-large, chunked": {raw, io.MultiReader(bytes.NewReader(noise(maxImage + 1))), 413, "larger than"},
		"empty":               {raw, []byte{}, 400, "empty"},
		"another format":      {cow, noise(5000), 400, "declared to be qcow2"},
		"a disguise":          {raw, qcow2(t), 400, "declared to be raw"},
		"a way to the host":   {cow, qcow2(t, "-F", "raw", "-b", secret), 400, "backing file"},
		"another file":        {cow, qcow2(t, "-o", "data_file="+filepath.Join(t.TempDir(), "data")), 400, "another file"},
		"a list of files":     {vm, []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"" + secret + "\" 0\n"), 400, "self-contained"},
		"two at once":         {cow, append(qcow2(t), disk(t, "vpc", "-o", "subformat=dynamic")[:512]...), 400, "qcow2 and vhd"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("demo", "PUT", "/image/v2/images/"+c.id+"/file", c.body)
			require.Equal(t, c.status, a.status, string(a.body))
			require.Contains(t, a.json(t)["message"], c.text)
			require.Equal(t, before, w.everything())
		})
	}
	require.Equal(t, 415, w.do("demo", "PUT", "/image/v2/images/"+raw+"/file", "{}").status)
	require.Equal(t, before, w.everything())
	require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+cow+"/file", qcow2(t)).status, "it can be tried again")
	a := w.do("demo", "PUT", "/image/v2/images/"+cow+"/file", qcow2(t))
	require.Equal(t, 409, a.status, "an image takes data once")
	require.Equal(t, "active", w.image("demo", cow)["status"])
}

func TestAnImageOfAnyFormatIsTakenWithItsVirtualSize(t *testing.T) {
	w := newWorld(t)
	for declared, image := range map[string][]byte{
		"qcow2": qcow2(t), "vmdk": disk(t, "vmdk", "-o", "subformat=streamOptimized"), "vdi": disk(t, "vdi"),
		"vhd": disk(t, "vpc", "-o", "subformat=dynamic,force_size=on"),
	} {
		id := w.queued("demo", object{"disk_format": declared})
		a := w.do("demo", "PUT", "/image/v2/images/"+id+"/file", image)
		require.Equal(t, 204, a.status, "%s: %s", declared, a.body)
		got := w.image("demo", id)
		require.Equal(t, "active", got["status"])
		require.EqualValues(t, 64<<20, got["virtual_size"], declared)
	}
}

// putSlowly begins an upload by hand; what it returns goes on with it.
func (w *world) putSlowly(as, id, headers string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PUT /image/v2/images/%s/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nContent-Type: application/octet-stream\r\n%s\r\n\r\n",
		id, w.tokens[as], headers)
	return conn
}

func TestAnUploadThatIsCutOffReturnsTheImageToQueued(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	before := w.everything()
	part := noise(1 << 20)
	for name, c := range map[string]struct {
		headers string
		send    func(conn net.Conn)
	}{
		"the client goes away": {"Content-Length: 3000000", func(conn net.Conn) { conn.Write(part); w.await(id, models.ImageSaving); conn.Close() }},
		"fewer bytes than announced": {"Content-Length: 3000000", func(conn net.Conn) {
			conn.Write(part)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		}},
		"at a chunk's edge": {"Transfer-Encoding: chunked", func(conn net.Conn) {
			fmt.Fprintf(conn, "%x\r\n%s\r\n", len(part), part)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		}},
		"broken chunks":    {"Transfer-Encoding: chunked", func(conn net.Conn) { fmt.Fprintf(conn, "%x\r\n%s\r\nnonsense\r\n", len(part), part) }},
		"it stands still":  {"Content-Length: 3000000", func(conn net.Conn) { conn.Write(part) }},
		"not a single one": {"Content-Length: 3000000", func(conn net.Conn) { require.NoError(t, conn.(*net.TCPConn).CloseWrite()) }},
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.putSlowly("demo", id, c.headers)
			c.send(conn)
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			head, _ := io.ReadAll(io.LimitReader(conn, 12)) // "HTTP/1.1 400", or nothing for one that went away
			if len(head) > 0 {
				require.Equal(t, "HTTP/1.1 400", string(head))
			}
			require.Eventually(t, func() bool { return len(w.bytesKept()) == 0 }, 10*time.Second, 5*time.Millisecond)
			w.await(id, models.ImageQueued)
			require.Equal(t, before, w.everything())
		})
	}
	require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+id+"/file", part).status)
}

func TestMoreBytesThanAnnouncedAreNotTheImages(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	conn := w.putSlowly("demo", id, "Content-Length: 5")
	fmt.Fprint(conn, "12345and more")
	head := make([]byte, 12)
	_, err := io.ReadFull(conn, head)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 204", string(head))
	require.Equal(t, "12345", string(w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).body))
}

func TestOfTwoUploadsAtOnceOneWins(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	const racers = 6
	var start, done sync.WaitGroup
	start.Add(1)
	answers := make([]answer, racers)
	bodies := make([][]byte, racers)
	for i := range racers {
		bodies[i] = noise(1 << 20)
		done.Go(func() {
			start.Wait()
			answers[i] = w.do("demo", "PUT", "/image/v2/images/"+id+"/file", bodies[i])
		})
	}
	start.Done()
	done.Wait()
	winner := -1
	for i, a := range answers {
		switch a.status {
		case 204:
			require.Equal(t, -1, winner, "two won")
			winner = i
		case 409:
		default:
			t.Errorf("status %d: %s", a.status, a.body)
		}
	}
	require.NotEqual(t, -1, winner, "nobody won")
	require.Equal(t, bodies[winner], w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).body)
	require.Equal(t, []string{"images/" + id}, w.bytesKept())
}

func TestAnImageThatIsDeletedWhileItsBytesArriveIsGone(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	body, feed := io.Pipe()
	done := make(chan answer, 1)
	go func() { done <- w.do("demo", "PUT", "/image/v2/images/"+id+"/file", body) }()
	_, err := feed.Write(noise(1 << 20))
	require.NoError(t, err)
	w.await(id, models.ImageSaving)
	require.Equal(t, 204, w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).status, "not before it is active")
	require.Equal(t, 204, w.do("demo", "DELETE", "/image/v2/images/"+id, nil).status)
	require.NoError(t, feed.Close())
	a := <-done
	require.Equal(t, 410, a.status, string(a.body))
	require.Empty(t, w.bytesKept())
	require.Equal(t, 404, w.do("demo", "GET", "/image/v2/images/"+id, nil).status)
}

func TestARangeOfAnImageIsServed(t *testing.T) {
	w := newWorld(t)
	data := noise(100_000)
	id := w.active("demo", nil, data)
	etag := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).header.Get("ETag")
	for _, c := range []struct {
		spec, ifRange string
		status        int
		from, to      int
	}{
		{"bytes=0-0", "", 206, 0, 1},
		{"bytes=10-19", "", 206, 10, 20},
		{"bytes=99990-", "", 206, 99_990, 100_000},
		{"bytes=99990-999999999", "", 206, 99_990, 100_000},
		{"bytes=-10", "", 206, 99_990, 100_000},
		{"bytes=-999999999", "", 206, 0, 100_000},
		{"bytes=50-", etag, 206, 50, 100_000},
		{"bytes=50-", `"another"`, 200, 0, 100_000},
		{"bytes=100000-", "", 416, 0, 0},
		{"bytes=-0", "", 416, 0, 0},
		{"bytes=5-4", "", 200, 0, 100_000},
		{"bytes=a-b", "", 200, 0, 100_000},
		{"bytes=0-1,5-6", "", 200, 0, 100_000},
		{"lines=0-1", "", 200, 0, 100_000},
	} {
		headers := []string{"Range", c.spec}
		if c.ifRange != "" {
			headers = append(headers, "If-Range", c.ifRange)
		}
		a := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil, headers...)
		require.Equal(t, c.status, a.status, c.spec)
		switch c.status {
		case 416:
			require.Equal(t, "bytes */100000", a.header.Get("Content-Range"), c.spec)
		case 206:
			require.Equal(t, fmt.Sprintf("bytes %d-%d/100000", c.from, c.to-1), a.header.Get("Content-Range"), c.spec)
			require.Empty(t, a.header.Get("Content-MD5"), "the sum of the whole says nothing of a part")
			fallthrough
		default:
			require.True(t, bytes.Equal(data[c.from:c.to], a.body), c.spec)
		}
	}
}

func TestAnActiveImageWithoutBytesIsOurFaultNotTheUsers(t *testing.T) {
	w := newWorld(t)
	id := w.active("demo", nil, noise(1000))
	require.NoError(t, w.files.Delete(context.Background(), id))
	a := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil)
	require.Equal(t, 500, a.status, string(a.body))
	require.Contains(t, w.log.String(), "level=ERROR")
}

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
		"":                                     {"zeta", "gamma", "beta", "alpha"},
		"name=beta":                            {"beta"},
		"name=in:alpha,gamma":                  {"gamma", "alpha"},
		`name=in:"alpha,beta",beta`:            {"beta"},
		"status=queued":                        {"zeta", "beta"},
		"status=in:active":                     {"gamma", "alpha"},
		"visibility=private":                   {"gamma"},
		"visibility=public":                    {"zeta"},
		"visibility=community":                 {"delta"},
		"visibility=all":                       {"zeta", "delta", "gamma", "beta", "alpha"},
		"owner=" + demoProject:                 {"gamma", "beta", "alpha"},
		"owner=" + otherProject:                {},
		"disk_format=in:qcow2,iso":             {"zeta", "beta"},
		"container_format=bare":                {"zeta", "gamma", "beta", "alpha"},
		"container_format=ami":                 {},
		"tag=x":                                {"beta", "alpha"},
		"tag=x&tag=y":                          {"alpha"},
		"protected=true":                       {"beta"},
		"os_distro=debian":                     {"gamma", "alpha"},
		"no_such_property=x":                   {},
		"size_min=1000":                        {"gamma"},
		"size_max=1000":                        {"alpha"},
		"size=lte:1000":                        {"alpha"},
		"created_at=gt:2020-01-01T00:00:00Z":   {"zeta", "gamma", "beta", "alpha"},
		"created_at=lt:2020-01-01":             {},
		"checksum=x":                           {},
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
		require.Equal(t, want, names(w.do("demo", "GET", "/image/v2/images?"+query, nil)), query)
	}
	require.Len(t, names(w.do("admin", "GET", "/image/v2/images", nil)), 6, "an admin sees all")

	for _, query := range []string{
		"limit=-1", "limit=x", "marker=nothing", "marker=" + ids["epsilon"], "sort_key=secret", "sort_dir=up", "sort=name:up",
		"sort=name&sort_key=name", "sort_key=name&sort_dir=asc&sort_dir=asc", "visibility=secret", "protected=maybe",
		"size_min=x", "size=gt:x", "created_at=gt:yesterday", "os_hash_algo=md5", "member_status=friend", "name=%00",
	} {
		require.Equal(t, 400, w.do("demo", "GET", "/image/v2/images?"+query, nil).status, query)
	}

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

func TestAPatchChangesWhatItNamesOrNothing(t *testing.T) {
	w := newWorld(t)
	const kind = "application/openstack-images-v2.1-json-patch"
	id := w.active("demo", object{"os_distro": "debian", "tags": []string{"a"}}, noise(1000))
	fresh := w.queued("demo", nil)
	patch := func(as, id, body string) answer {
		return w.do(as, "PATCH", "/image/v2/images/"+id, body, "Content-Type", kind)
	}
	before := w.everything()
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
		"locations":               {`[{"op": "add", "path": "/locations", "value": [{"url": "file:///etc/passwd"}]}]`, 403},
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
	require.Equal(t, 415, w.do("demo", "PATCH", "/image/v2/images/"+id, `[]`).status)
	require.Equal(t, before, w.everything())

	a := patch("demo", id, `[
		{"op": "replace", "path": "/name", "value": "new"}, {"op": "replace", "path": "/min_ram", "value": 128},
		{"op": "replace", "path": "/tags", "value": ["b", "c"]}, {"op": "add", "path": "/a~1b", "value": "no"}]`)
	require.Equal(t, 400, a.status, "a slash, escaped: %s", a.body)
	a = patch("demo", id, `[
		{"op": "replace", "path": "/name", "value": "new"}, {"op": "replace", "path": "/min_ram", "value": 128},
		{"op": "replace", "path": "/tags", "value": ["b", "c"]}, {"op": "add", "path": "/hw_machine_type", "value": "q35"},
		{"op": "replace", "path": "/os_distro", "value": "ubuntu"}, {"op": "replace", "path": "/visibility", "value": "private"},
		{"op": "replace", "path": "/protected", "value": true}, {"op": "add", "path": "/gone", "value": "x"}, {"op": "remove", "path": "/gone"}]`)
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
	require.Equal(t, "active", got["status"])

	require.Equal(t, 200, patch("demo", fresh, `[{"op": "replace", "path": "/disk_format", "value": "qcow2"}, {"op": "replace", "path": "/name", "value": null}]`).status)
	require.Equal(t, "qcow2", w.image("demo", fresh)["disk_format"])
	require.Nil(t, w.image("demo", fresh)["name"])
	require.Equal(t, 200, w.do("demo", "PATCH", "/image/v2/images/"+fresh, `[{"replace": "/name", "value": "old form"}]`, "Content-Type", "application/openstack-images-v2.0-json-patch").status)
	require.Equal(t, "old form", w.image("demo", fresh)["name"])
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

	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { w.do("demo", "PUT", path+fmt.Sprint("racer", i), nil) })
	}
	all.Wait()
	require.Len(t, w.image("demo", id)["tags"], 5, "none is lost to another that comes at once")
}

func TestAfterACrashTheImageIsQueuedAgainAndStrayBytesAreGone(t *testing.T) {
	w := newWorld(t)
	kept := w.active("demo", nil, noise(1000))
	for _, at := range []string{"write", "commit"} {
		t.Run(at, func(t *testing.T) {
			id := w.queued("demo", nil)
			before := w.everything()
			w.crash(id, at)
			require.NotEqual(t, before, w.everything(), "the crash left something")
			require.NoError(t, w.server.Settle(context.Background()))
			require.Equal(t, before, w.everything())
			require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+id+"/file", noise(10)).status)
		})
	}
	deleted := w.active("demo", nil, noise(1000))
	_, err := w.store.DeleteImage(context.Background(), deleted, nil) // and the process died before the bytes went
	require.NoError(t, err)
	require.Contains(t, w.bytesKept(), "images/"+deleted)
	require.NoError(t, w.server.Settle(context.Background()))
	require.NotContains(t, w.bytesKept(), "images/"+deleted)
	require.Equal(t, 200, w.do("demo", "GET", "/image/v2/images/"+kept+"/file", nil).status)
}

// crash leaves an image as an api process does that was killed while it took the bytes.
func (w *world) crash(id, at string) {
	w.t.Helper()
	ctx := context.Background()
	_, err := w.store.MoveImage(ctx, id, models.ImageMove{From: models.ImageQueued, To: models.ImageSaving})
	require.NoError(w.t, err)
	name := map[string]string{"write": "uploads/" + id + ".part", "commit": "images/" + id}[at]
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), noise(1000), 0o600))
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, "uploads", id+".lock"), nil, 0o600))
}

func TestSettlingLeavesALiveUploadOfAnotherProcessAlone(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	data := noise(2 << 20)
	body, feed := io.Pipe()
	done := make(chan answer, 1)
	first := w.url
	go func() { done <- w.do("demo", "PUT", "/image/v2/images/"+id+"/file", body) }()
	_, err := feed.Write(data[:1<<20])
	require.NoError(t, err)
	w.await(id, models.ImageSaving)

	w.serve() // a second api process starts, and settles before it serves
	require.Equal(t, 200, w.do("", "GET", "/readyz", nil).status)
	require.NoError(t, w.server.Settle(context.Background()))
	require.Equal(t, "saving", w.image("demo", id)["status"])
	require.NotEqual(t, first, w.url)

	_, err = feed.Write(data[1<<20:])
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	require.Equal(t, 204, (<-done).status)
	require.Equal(t, data, w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).body)
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

func BenchmarkUpload(b *testing.B) {
	const size = 4 << 20
	data := noise(size)
	w := newWorld(b)
	b.Run("api", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			id := w.queued("demo", nil)
			b.StartTimer()
			if a := w.do("demo", "PUT", "/image/v2/images/"+id+"/file", data); a.status != 204 {
				b.Fatal(a.status)
			}
		}
	})
	b.Run("raw", func(b *testing.B) { // the same work without HTTP and database: write, fsync, rename, both sums
		b.SetBytes(size)
		for b.Loop() {
			u, err := w.files.Create(context.Background(), "0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := u.Write(data); err != nil {
				b.Fatal(err)
			}
			md5.Sum(data)
			sha512.Sum512(data)
			if err := errors.Join(u.Commit(""), u.Abort()); err != nil {
				b.Fatal(err)
			}
		}
	})
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
