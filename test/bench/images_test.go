package bench

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/test/system"
)

const (
	imageBytes   = 1 << 30
	imageRuns    = 3
	manyImages   = 100_000
	imagePage    = 100
	listingsEach = 50
)

// imageReport is what was measured of the image service.
type imageReport struct {
	upload, tee, teeSync, download series
	uploadGrowth, downloadGrowth   int // MiB, the largest
	list                           []listing
}

type listing struct {
	what string
	took series
}

// benchImages sends an image of 1 GiB to the API and gets it back, over HTTP on this machine, each time beside the same
// work by shell tools in the same folder: what the disk and the processors give at that moment is the same for all.
func benchImages(b *testing.B, r *report) {
	s := system.Start(b, system.Options{Hypervisor: "fake"})
	i := &imageBench{System: s, b: b, file: filepath.Join(s.Dir, "1GiB"), token: s.Demo().Token(), service: system.Image(b, s.Demo()).ResourceBaseURL()}
	i.makeFile()
	id := i.upload(nil) // both programs are warm now
	for range imageRuns {
		i.remove(id)
		r.tee = append(r.tee, i.shellCopy(""))
		r.teeSync = append(r.teeSync, i.shellCopy("sync g"))
		r.uploadGrowth = max(r.uploadGrowth, i.growth(func() { id = i.upload(&r.upload) }))
		r.downloadGrowth = max(r.downloadGrowth, i.growth(func() { i.download(id, &r.download) }))
	}
	i.remove(id)
	require.NoError(b, os.Remove(i.file))

	i.makeImages()
	var page struct{ Images []struct{ ID string } }
	i.get("images?sort=size:asc&limit=500", &page)
	marker := page.Images[len(page.Images)-1].ID
	member, admin := i.token, s.Admin().Token()
	for _, c := range []struct{ what, query, token string }{
		{"in the default order", "", member},
		{"of one name", "&name=image%207", member},
		{"in the order of names", "&sort=name:asc", member},
		{"by size, after a marker", "&sort=size:asc&marker=" + marker, member},
		{"with a property and a tag", "&os_distro=distro3&tag=lts", member},
		{"public ones", "&visibility=public", member},
		{"everybody's, by an admin", "", admin},
		{"everybody's in the order of size, by an admin", "&sort=size:asc", admin},
	} {
		l := listing{what: c.what}
		i.token = c.token
		for range listingsEach {
			began := time.Now()
			i.get("images?limit=100"+c.query, &page)
			l.took = append(l.took, time.Since(began))
			require.Len(b, page.Images, imagePage, c.what)
		}
		r.list = append(r.list, l)
	}
}

type imageBench struct {
	*system.System
	b       *testing.B
	service string // URL of the image service
	file    string
	md5     string
	token   string
}

// makeFile writes bytes that nothing can compress, look for holes in, or take for a disk.
func (i *imageBench) makeFile() {
	f, err := os.Create(i.file)
	require.NoError(i.b, err)
	sum := md5.New()
	_, err = io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{1}), imageBytes)
	require.NoError(i.b, err)
	require.NoError(i.b, f.Close())
	i.md5 = hex.EncodeToString(sum.Sum(nil))
}

func (i *imageBench) do(method, path string, body io.Reader, length int64, status int) *http.Response {
	request, err := http.NewRequestWithContext(context.Background(), method, i.service+path, body)
	require.NoError(i.b, err)
	request.ContentLength = length
	request.Header.Set("X-Auth-Token", i.token)
	request.Header.Set("Content-Type", "application/octet-stream")
	answer, err := i.HTTP().Do(request)
	require.NoError(i.b, err)
	if answer.StatusCode != status {
		text, _ := io.ReadAll(answer.Body)
		require.Equal(i.b, status, answer.StatusCode, "%s %s: %s", method, path, text)
	}
	return answer
}

func (i *imageBench) get(path string, into any) {
	answer := i.do(http.MethodGet, path, nil, 0, http.StatusOK)
	defer answer.Body.Close()
	require.NoError(i.b, json.NewDecoder(answer.Body).Decode(into))
}

// settle lets the disk finish what earlier work left in the page cache.
func settle() { unix.Sync() }

func (i *imageBench) upload(took *series) string {
	image, err := images.Create(context.Background(), system.Image(i.b, i.Demo()), images.CreateOpts{
		Name: "1 GiB", DiskFormat: "raw", ContainerFormat: "bare",
	}).Extract()
	require.NoError(i.b, err)
	f, err := os.Open(i.file)
	require.NoError(i.b, err)
	defer f.Close()
	settle()
	began := time.Now()
	i.do(http.MethodPut, "images/"+image.ID+"/file", f, imageBytes, http.StatusNoContent).Body.Close()
	if took != nil {
		*took = append(*took, time.Since(began))
	}
	image, err = images.Get(context.Background(), system.Image(i.b, i.Demo()), image.ID).Extract()
	require.NoError(i.b, err)
	require.Equal(i.b, images.ImageStatusActive, image.Status)
	require.Equal(i.b, i.md5, image.Checksum)
	return image.ID
}

func (i *imageBench) download(id string, took *series) {
	settle()
	began := time.Now()
	answer := i.do(http.MethodGet, "images/"+id+"/file", nil, 0, http.StatusOK)
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	require.NoError(i.b, err)
	require.EqualValues(i.b, imageBytes, n)
	*took = append(*took, time.Since(began))
}

func (i *imageBench) remove(id string) {
	require.NoError(i.b, images.Delete(context.Background(), system.Image(i.b, i.Demo()), id).ExtractErr())
}

// shellCopy is the work of an upload done by shell tools: a copy and both sums in one pass. It ends when the copy and the
// sums are there, and after then has run.
func (i *imageBench) shellCopy(then string) time.Duration {
	script := `cat "$0" | tee >(md5sum) >(sha512sum) >g`
	if then != "" {
		script += " && " + then
	}
	cmd := exec.Command("bash", "-c", script, i.file)
	cmd.Dir = filepath.Join(i.Dir, "images", "uploads") // where the API writes too
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	settle()
	began := time.Now()
	sums, err := cmd.Output() // the sums have the pipe open until they end
	took := time.Since(began)
	require.NoError(i.b, err, stderr.String())
	require.Contains(i.b, string(sums), i.md5)
	require.NoError(i.b, os.Remove(filepath.Join(cmd.Dir, "g")))
	return took
}

var (
	rssLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
	hwmLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)
)

// growth is by how many MiB the API's resident size at its largest, while f runs, exceeds what it was before.
func (i *imageBench) growth(f func()) int {
	pid := i.Pid("api")
	require.NoError(i.b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)) // VmHWM begins again
	status := func(line *regexp.Regexp) (kib int) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		require.NoError(i.b, err)
		found := line.FindSubmatch(text)
		require.NotNil(i.b, found)
		_, err = fmt.Sscan(string(found[1]), &kib)
		require.NoError(i.b, err)
		return kib
	}
	before := status(rssLine)
	f()
	return (status(hwmLine) - before + 1023) / 1024
}

// makeImages adds rows of 100,000 images without bytes: of the demo project one in a hundred, the others of a hundred
// projects; one in five hundred is public. Names repeat 200 times.
func (i *imageBench) makeImages() {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, i.DSN)
	require.NoError(i.b, err)
	defer db.Close(ctx)
	for _, sql := range []string{
		`INSERT INTO projects (id, name, domain_id, enabled, created_at)
			SELECT 'other' || i, 'other' || i, 'default', true, now() FROM generate_series(0, 99) i`,
		fmt.Sprintf(`INSERT INTO images (id, name, owner_id, status, visibility, hidden, protected, disk_format, container_format,
				min_disk_gib, min_ram_mib, size_bytes, virtual_bytes, md5, sha512, tags, properties, created_at, updated_at)
			SELECT gen_random_uuid(), 'image ' || i %% 500, CASE WHEN i %% 100 = 7 THEN (SELECT id FROM projects WHERE name = 'demo') ELSE 'other' || i %% 100 END,
				'active', CASE WHEN i %% 500 = 3 THEN 'public' ELSE 'private' END, false, false, 'raw', 'bare', 0, 0, i %% 997, i %% 997,
				md5(i::text), repeat(md5(i::text), 4), CASE WHEN i %% 10 = 7 THEN '["lts"]' ELSE '[]' END::jsonb,
				jsonb_build_object('os_distro', 'distro' || i %% 7), at, at
			FROM generate_series(1, %d) i, LATERAL (SELECT now() - make_interval(secs => (i * 7919) %% 100003) AS at) x`, manyImages),
		`VACUUM ANALYZE images`,
	} {
		_, err := db.Exec(ctx, sql)
		require.NoError(i.b, err)
	}
}

func (r *imageReport) rows(line func(what string, ours, raw any, nova string)) {
	line("image upload 1 GiB", r.upload, r.tee, "")
	line("the same, bare tools with `sync`", "", r.teeSync, "")
	line("image download 1 GiB", r.download, "", "")
	line("RSS growth of the API, upload 1 GiB", fmt.Sprintf("%d MiB", r.uploadGrowth), "", "")
	line("RSS growth of the API, download 1 GiB", fmt.Sprintf("%d MiB", r.downloadGrowth), "", "")
	for _, l := range r.list {
		line("list 100 of 100,000 images, "+l.what, l.took, "", "")
	}
}

func (r *imageReport) text() string {
	percent := func(raw series) float64 { return 100 * float64(raw.at(.5)) / float64(r.upload.at(.5)) }
	return fmt.Sprintf("\nAn upload has %.0f %% of the speed of the bare tools, which are `cat | tee >(md5sum) >(sha512sum) > file` in one shell, and\n"+
		"%.0f %% where these `sync` the file as the API does before it answers. Glance has 70 %% on such a machine. Both start with the\n"+
		"file in the page cache and a disk that has nothing left to write. RSS growth is the largest resident size during the\n"+
		"transfer less the one before it.\n", percent(r.tee), percent(r.teeSync))
}
