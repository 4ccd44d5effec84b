package api

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

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

// A client that waits for 100 Continue sends nothing where the request alone is enough for a refusal.
func TestAnUploadThatAsksFirstIsRefusedBeforeItsFirstByte(t *testing.T) {
	w := newWorld(t)
	id, active := w.queued("demo", nil), w.active("demo", nil, noise(1000))
	for name, c := range map[string]struct {
		as, id, headers string
		status          int
	}{
		"nobody":             {"", id, "", 401},
		"an absent image":    {"demo", uuid.NewString(), "", 404},
		"another's":          {"other", id, "", 404},
		"one that has bytes": {"demo", active, "", 409},
		"no such store":      {"demo", id, "X-Image-Meta-Store: none\r\n", 400},
		"packed":             {"demo", id, "Content-Encoding: gzip\r\n", 415},
		"too large":          {"demo", id, fmt.Sprintf("X-Openstack-Image-Size: %d\r\n", maxImage+1), 413},
		"nothing wrong":      {"demo", id, "", 100},
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.putSlowly(c.as, c.id, c.headers+"Content-Length: 1000\r\nExpect: 100-continue")
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			first := make([]byte, 12)
			_, err := io.ReadFull(conn, first)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("HTTP/1.1 ", c.status), string(first))
			if c.status == 100 {
				conn.Close()
				return
			}
			_, err = io.ReadAll(conn)
			require.NoError(t, err, "the answer ends and the connection with it")
		})
	}
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

func TestAClientThatSendsChunksCanSayHowMuchItIs(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	before := w.everything()
	for said, status := range map[string]int{
		"x": 400, "-1": 400, "999": 400, "1001": 400, fmt.Sprint(maxImage + 1): 413,
	} {
		a := w.do("demo", "PUT", "/image/v2/images/"+id+"/file", io.MultiReader(bytes.NewReader(noise(1000))), "X-Openstack-Image-Size", said)
		require.Equal(t, status, a.status, "%s: %s", said, a.body)
		require.Equal(t, before, w.everything())
	}
	a := w.do("demo", "PUT", "/image/v2/images/"+id+"/file", io.MultiReader(bytes.NewReader(noise(1000))), "X-Openstack-Image-Size", "1000")
	require.Equal(t, 204, a.status, string(a.body))
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

func TestAFileThatIsNoDiskIsRefusedByItsFirstBytes(t *testing.T) {
	w := newWorld(t)
	for declared, file := range map[string]string{"qcow2": "\x1f\x8b\x08", "raw": "<!DOCTYPE html><html><title>404</title></html>"} {
		id := w.queued("demo", object{"disk_format": declared})
		a := w.do("demo", "PUT", "/image/v2/images/"+id+"/file", []byte(file+strings.Repeat("x", 1<<20)))
		require.Equal(t, 400, a.status, string(a.body))
		require.Contains(t, string(a.body), map[string]string{
			"qcow2": "its content is a gzip file. Unpack it first (gunzip)", "raw": "its content is an HTML page. ",
		}[declared])
		require.Equal(t, "queued", w.do("demo", "GET", "/image/v2/images/"+id, nil).json(t)["status"], "it can be uploaded anew")
	}
}
