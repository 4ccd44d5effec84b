package imagecache

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/space"
)

// store is an image store of one image; gate, where set, holds the bytes after the first half until it is closed.
type store struct {
	data    []byte
	opens   atomic.Int32
	offsets sync.Map
	gate    chan struct{}
	breakAt int64 // of the first connection
	gone    atomic.Int32
}

func (s *store) Open(ctx context.Context, _ string, offset int64) (io.ReadCloser, int64, error) {
	n := s.opens.Add(1)
	s.offsets.Store(int(n), offset)
	r, w := io.Pipe()
	go func() {
		half := max(int64(len(s.data)/2), offset)
		if s.breakAt > 0 && n == 1 {
			w.Write(s.data[offset:s.breakAt])
			w.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		w.Write(s.data[offset:half])
		if s.gate != nil {
			select {
			case <-s.gate:
			case <-ctx.Done():
				s.gone.Add(1)
				w.CloseWithError(ctx.Err())
				return
			}
		}
		w.Write(s.data[half:])
		w.Close()
	}()
	return r, int64(len(s.data)), nil
}

func (s *store) offset(n int) int64 { v, _ := s.offsets.Load(n); return v.(int64) }

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>9) | 1
	}
	return b
}

func imageOf(data []byte) contract.Image {
	sum := sha512.Sum512(data)
	return contract.Image{ID: "70a599e0-31e7-49b7-b260-868f441e862b", SHA512: hex.EncodeToString(sum[:]), SizeBytes: int64(len(data)), DiskFormat: "raw"}
}

func open(t *testing.T, s Source) *Cache {
	t.Helper()
	dir := t.TempDir()
	c, err := New(Options{Dir: filepath.Join(dir, "cache"), InstancesDir: filepath.Join(dir, "instances"), Source: s, MinAge: time.Nanosecond})
	require.NoError(t, err)
	return c
}

func names(t *testing.T, c *Cache) []string {
	t.Helper()
	entries, err := os.ReadDir(c.opts.Dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestAnImageIsFetchedOnceVerifiedAndMadeReadOnly(t *testing.T) {
	s := &store{data: content(3 << 20)}
	c, image := open(t, s), imageOf(s.data)
	var last, total int64
	path, moved, err := c.Fetch(t.Context(), image, func(n, of int64) { last, total = n, of })
	require.NoError(t, err)
	require.Equal(t, image.SizeBytes, moved)
	require.Equal(t, image.SizeBytes, last)
	require.Equal(t, image.SizeBytes, total)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(s.data, got))
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o444), st.Mode().Perm())

	again, moved, err := c.Fetch(t.Context(), image, nil)
	require.NoError(t, err)
	require.Equal(t, path, again)
	require.Zero(t, moved)
	require.EqualValues(t, 1, s.opens.Load())
	require.Equal(t, []string{image.SHA512}, names(t, c))
}

func TestAnyNumberOfBuildsShareOneDownloadAndACancelledOneDoesNotStopIt(t *testing.T) {
	s := &store{data: content(3 << 20), gate: make(chan struct{})}
	c, image := open(t, s), imageOf(s.data)
	first, stopFirst := context.WithCancel(t.Context())
	began := make(chan struct{}, 100)
	errs := make(chan error, 10)
	var moved atomic.Int64
	fetch := func(ctx context.Context) {
		var once sync.Once
		_, n, err := c.Fetch(ctx, image, func(int64, int64) { once.Do(func() { began <- struct{}{} }) })
		moved.Add(n)
		errs <- err
	}
	go fetch(first)
	<-began
	for range 8 {
		go fetch(t.Context())
	}
	waitFor(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.downloads[image.SHA512].waiters) == 9 })
	stopFirst()
	require.True(t, fault.Is(<-errs, fault.Unavailable), "the cancelled one")
	close(s.gate)
	for range 8 {
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 1, s.opens.Load())
	require.Zero(t, s.gone.Load())
	require.Zero(t, moved.Load(), "who began it is gone; nobody else moved a byte")
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, time.Millisecond)
}

func TestTheLastBuildGoneStopsTheDownloadAndTheNextResumesIt(t *testing.T) {
	s := &store{data: content(3 << 20), gate: make(chan struct{})}
	c, image := open(t, s), imageOf(s.data)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, _, err := c.Fetch(ctx, image, nil); done <- err }()
	path, err := c.Path(image.SHA512)
	require.NoError(t, err)
	waitFor(t, func() bool { st, err := os.Stat(path + partSuffix); return err == nil && st.Size() == 3<<19 })
	stop()
	require.Error(t, <-done)
	require.EqualValues(t, 1, s.gone.Load(), "the connection is closed before the caller goes on")

	close(s.gate)
	restarted, err := New(c.opts) // as after a restart of the host's service
	require.NoError(t, err)
	_, moved, err := restarted.Fetch(t.Context(), image, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3<<19, moved)
	require.EqualValues(t, 3<<19, s.offset(2))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(s.data, got))
}

func TestABrokenConnectionIsUnavailableAndIsResumed(t *testing.T) {
	s := &store{data: content(3 << 20), breakAt: 1 << 20}
	c, image := open(t, s), imageOf(s.data)
	_, _, err := c.Fetch(t.Context(), image, nil)
	require.True(t, fault.Is(err, fault.Unavailable))
	require.ErrorContains(t, err, "after 1048576 of 3145728 bytes")
	_, moved, err := c.Fetch(t.Context(), image, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, moved)
	require.EqualValues(t, 1<<20, s.offset(2))
}

func TestAnImageWhoseLastMomentsWereCutOffIsOpenToItsWriterAgain(t *testing.T) {
	s := &store{data: content(3 << 20), breakAt: 2 << 20}
	c, image := open(t, s), imageOf(s.data)
	path, err := c.Path(image.SHA512)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+partSuffix, s.data[:1<<20], 0o444))
	_, _, err = c.Fetch(t.Context(), image, nil)
	require.True(t, fault.Is(err, fault.Unavailable))
	st, err := os.Stat(path + partSuffix)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode(), "only root could go on writing a file that is read-only")
	require.EqualValues(t, 2<<20, st.Size())
}

func TestAConnectionOverWhichNothingComesIsGivenUp(t *testing.T) {
	s := &store{data: content(3 << 20), gate: make(chan struct{})}
	c, image := open(t, s), imageOf(s.data)
	c.opts.StallAfter = 100 * time.Millisecond
	_, _, err := c.Fetch(t.Context(), image, nil)
	require.True(t, fault.Is(err, fault.Unavailable))
	require.ErrorContains(t, err, "broke off after 1572864 of 3145728 bytes: nothing came for 100ms")
	require.NotErrorIs(t, err, context.Canceled, "nobody cancelled it")
}

func TestBytesThatDoNotMatchTheirChecksumAreThrownAwayWithBothChecksumsTold(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c := open(t, s)
	image := imageOf(s.data)
	got := image.SHA512
	image.SHA512 = strings.Repeat("ab", 64)
	_, _, err := c.Fetch(t.Context(), image, nil)
	require.True(t, fault.Is(err, fault.HostUnfit), "another host may get them whole")
	require.ErrorContains(t, err, "do not match its checksum")
	require.ErrorContains(t, err, image.SHA512)
	require.ErrorContains(t, err, got)
	require.Empty(t, names(t, c))
}

func TestABadPrefixLeftByACrashIsReadAnewInsteadOfFailingTheBuild(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	path, err := c.Path(image.SHA512)
	require.NoError(t, err)
	for name, leftover := range map[string][]byte{"zeros after a power failure": make([]byte, 1000), "too long": make([]byte, 2<<20), "whole but wrong": make([]byte, 1<<20)} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path+partSuffix, leftover, 0o600))
			_, _, err := c.Fetch(t.Context(), image, nil)
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(s.data, got))
			require.NoError(t, os.Remove(path))
		})
	}
}

func TestAnImageThatIsNotWhatItIsDeclaredToBeIsNeverCached(t *testing.T) {
	hostile := content(1 << 20)
	copy(hostile, "QFI\xfb\x00\x00\x00\x03")
	s := &store{data: hostile}
	c := open(t, s)
	_, _, err := c.Fetch(t.Context(), imageOf(hostile), nil)
	require.True(t, fault.Is(err, fault.Invalid))
	require.ErrorContains(t, err, "declared to be raw but its content is qcow2")
	require.Empty(t, names(t, c))
}

func TestACachedImageIsCheckedAgainForAnotherDeclaration(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	_, _, err := c.Fetch(t.Context(), image, nil)
	require.NoError(t, err)
	image.DiskFormat = "qcow2"
	_, _, err = c.Fetch(t.Context(), image, nil)
	require.True(t, fault.Is(err, fault.Invalid))
}

func TestAChecksumThatIsNoneNeverBecomesAPath(t *testing.T) {
	c := open(t, &store{})
	for _, sha := range []string{"", "../../etc/passwd", strings.Repeat("AB", 64), strings.Repeat("zz", 64), strings.Repeat("ab", 32)} {
		_, _, err := c.Fetch(t.Context(), contract.Image{SHA512: sha}, nil)
		require.True(t, fault.Is(err, fault.Invalid), sha)
	}
}

func TestEvictionTakesTheOldestThatNothingLeansOn(t *testing.T) {
	c := open(t, nil)
	put := func(n int, age time.Duration) (contract.Image, string) {
		data := bytes.Repeat([]byte{byte(n)}, 1<<20)
		image := imageOf(data)
		path, err := c.Path(image.SHA512)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, 0o444))
		when := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(path, when, when))
		return image, path
	}
	backed, backedPath := put(1, 9*time.Hour)
	kernel, kernelPath := put(2, 8*time.Hour)
	pinned, pinnedPath := put(3, 7*time.Hour)
	_, oldPath := put(4, 6*time.Hour)
	_, newerPath := put(5, 5*time.Hour)
	_, newestPath := put(6, time.Minute)
	stale := filepath.Join(c.opts.Dir, strings.Repeat("ab", 64)+partSuffix)
	require.NoError(t, os.WriteFile(stale, make([]byte, 1<<20), 0o600))
	require.NoError(t, os.Chtimes(stale, time.Time{}, time.Now().Add(-10*time.Hour)))

	instance := filepath.Join(c.opts.InstancesDir, "83679162-1378-4288-a2d4-70e13ec132aa")
	require.NoError(t, os.MkdirAll(instance, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(c.opts.InstancesDir, "note"), nil, 0o600))
	require.NoError(t, disk.Maker{}.Root(t.Context(), instance, disk.Base{Path: backedPath, Format: imageformat.Raw, VirtualBytes: 1 << 20}, 0, false))
	require.NoError(t, os.WriteFile(filepath.Join(instance, UsesName), []byte(kernel.SHA512+"\n"), 0o600))
	release := c.Pin(pinned.SHA512)

	c.opts.MaxBytes = 5 << 20
	freed, err := c.Evict()
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, freed)
	require.NoFileExists(t, stale)
	require.NoFileExists(t, oldPath)
	require.FileExists(t, newerPath)

	c.opts.MaxBytes = 1
	_, err = c.Evict()
	require.NoError(t, err)
	for _, p := range []string{backedPath, kernelPath, pinnedPath} {
		require.FileExists(t, p)
	}
	require.NoFileExists(t, newerPath)
	require.NoFileExists(t, newestPath)

	release()
	require.NoError(t, os.RemoveAll(instance))
	_, err = c.Evict()
	require.NoError(t, err)
	require.Empty(t, names(t, c))
	_ = backed
}

func TestNothingIsEvictedWhenItIsNotKnownWhatIsInUse(t *testing.T) {
	c := open(t, nil)
	image := imageOf(content(1 << 20))
	path, err := c.Path(image.SHA512)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content(1<<20), 0o444))
	instance := filepath.Join(c.opts.InstancesDir, "83679162-1378-4288-a2d4-70e13ec132aa")
	require.NoError(t, os.MkdirAll(instance, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(instance, disk.RootName), []byte("rubbish"), 0o600))
	c.opts.MaxBytes = 1
	_, err = c.Evict()
	require.ErrorContains(t, err, instance)
	require.FileExists(t, path)
}

func TestAFullDiskIsTheHostsFault(t *testing.T) {
	dir := testenv.SmallDisk(t, "256k")
	s := &store{data: content(1 << 20)}
	c, err := New(Options{Dir: dir, Source: s})
	require.NoError(t, err)
	_, _, err = c.Fetch(t.Context(), imageOf(s.data), nil)
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.ErrorContains(t, err, "the host's disk is full")
	require.Empty(t, names(t, c), "the part that filled the disk is gone")
}

func TestADownloadLeavesTheReserveAndTakesTheRoomOfWhatNobodyUses(t *testing.T) {
	dir := testenv.SmallDisk(t, "16m")
	reserve, err := space.Parse("50%")
	require.NoError(t, err)
	s := &store{data: content(5 << 20)}
	c, err := New(Options{Dir: dir, Source: s, Reserve: reserve, MinAge: time.Nanosecond})
	require.NoError(t, err)
	first, _, err := c.Fetch(t.Context(), imageOf(s.data), nil)
	require.NoError(t, err)
	s.data = content(6 << 20)
	release := c.Pin(filepath.Base(first))
	_, _, err = c.Fetch(t.Context(), imageOf(s.data), nil)
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.ErrorContains(t, err, "the host's disk is full")
	require.Equal(t, []string{filepath.Base(first)}, names(t, c))
	release()
	second, _, err := c.Fetch(t.Context(), imageOf(s.data), nil)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Base(second)}, names(t, c), "the one that nobody uses made room")

	s.data = content(9 << 20)
	unknown := imageOf(s.data)
	unknown.SizeBytes = 0
	_, _, err = c.Fetch(t.Context(), unknown, nil)
	require.ErrorContains(t, err, "the host's disk is full", "whose size nobody said")
	require.NoError(t, reserve.Check(dir, 0))
	require.Empty(t, names(t, c))
}

func TestTheHTTPSourceResumesAndTellsFailuresApart(t *testing.T) {
	data := content(1 << 20)
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		if r.URL.Path != "/hosts/images/img/file" || r.Header.Get("Authorization") != "Bearer tok" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer srv.Close()
	source := HTTPSource{API: srv.URL + "/", Token: func() string { return "tok" }, Client: srv.Client()}
	for _, offset := range []int64{0, 1000} {
		body, total, err := source.Open(t.Context(), "img", offset)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.EqualValues(t, len(data), total)
		require.True(t, bytes.Equal(data[offset:], got))
	}
	_, _, err := source.Open(t.Context(), "img", 2<<20)
	require.True(t, fault.Is(err, fault.Invalid))
	for code, kind := range map[int]fault.Kind{
		401: fault.HostUnfit, 403: fault.HostUnfit, 404: fault.NotFound, 500: fault.Unavailable, 503: fault.Unavailable, 429: fault.Unavailable, 418: fault.Internal,
	} {
		status = code
		_, _, err := source.Open(t.Context(), "img", 0)
		require.Equal(t, kind, fault.KindOf(err), fmt.Sprint(code))
	}
	srv.Close()
	_, _, err = source.Open(t.Context(), "img", 0)
	require.True(t, fault.Is(err, fault.Unavailable))
}

func TestAnImageIsStoredWithTheHostsTokenAndARefusalSaysWhy(t *testing.T) {
	data, status, answer, got := content(1<<20), http.StatusNoContent, "", []byte(nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || r.URL.Path != "/hosts/images/img/file" || r.Header.Get("Authorization") != "Bearer tok" || r.ContentLength != int64(len(data)) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer srv.Close()
	source := HTTPSource{API: srv.URL + "/", Token: func() string { return "tok" }, Client: srv.Client()}
	put := func() error { return source.Put(t.Context(), "img", bytes.NewReader(data), int64(len(data))) }
	require.NoError(t, put())
	require.True(t, bytes.Equal(data, got))
	answer = `{"error":{"message":"it is no qcow2"}}`
	for code, kind := range map[int]fault.Kind{
		400: fault.Invalid, 413: fault.TooLarge, 401: fault.HostUnfit, 403: fault.HostUnfit, 404: fault.NotFound, 410: fault.NotFound,
		409: fault.Unavailable, 429: fault.Unavailable, 503: fault.Unavailable, 418: fault.Internal, 200: fault.Internal,
	} {
		status = code
		err := put()
		require.Equal(t, kind, fault.KindOf(err), fmt.Sprint(code))
		require.Equal(t, kind == fault.Invalid || kind == fault.TooLarge, strings.Contains(fault.Public(err), "it is no qcow2"), fmt.Sprint(code))
	}
	srv.Close()
	require.True(t, fault.Is(put(), fault.Unavailable))
}

func TestAServerWithoutRangesIsReadOverWhatIsThere(t *testing.T) {
	data := content(1 << 20)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }))
	defer srv.Close()
	body, _, err := HTTPSource{API: srv.URL, Token: func() string { return "" }}.Open(t.Context(), "img", 1000)
	require.NoError(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data[1000:], got))
}

func TestAnImageIsReadFromItsStoreAndOverTheAPIOnlyWhereThatCannotBe(t *testing.T) {
	const id = "6b1f9d0c-6c2a-4a3e-9d5e-2f0b6f1c7e11"
	dir, data := t.TempDir(), []byte("0123456789")
	files, err := imagestore.NewFiles(dir)
	require.NoError(t, err)
	u, err := files.Create(t.Context(), id)
	require.NoError(t, err)
	_, err = u.Write(data)
	require.NoError(t, err)
	require.NoError(t, u.Commit(""))
	require.NoError(t, u.Close())
	reader, err := imagestore.OpenStores(imagestore.Settings{Dir: dir})
	require.NoError(t, err)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	source := StoreSource{
		Store: reader, Logger: slog.New(slog.DiscardHandler),
		Else: HTTPSource{API: server.URL, Token: func() string { return "token" }},
	}
	read := func(offset int64) string {
		body, total, err := source.Open(t.Context(), id, offset)
		require.NoError(t, err)
		defer body.Close()
		require.EqualValues(t, len(data), total)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		return string(got)
	}
	require.Equal(t, "0123456789", read(0))
	require.Equal(t, "6789", read(6))
	require.Zero(t, asked)
	require.NoError(t, os.RemoveAll(dir))
	require.Equal(t, "6789", read(6))
	require.Equal(t, 1, asked)
}
