package imagecache

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
)

// restarted is the cache as the next process opens it, and what it logs.
func restarted(t *testing.T, c *Cache) (*Cache, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o := c.opts
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	again, err := New(o)
	require.NoError(t, err)
	return again, &log
}

func fetched(t *testing.T, c *Cache, image contract.Image, want []byte) string {
	t.Helper()
	path, _, err := c.Fetch(t.Context(), image, nil)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	return path
}

// spoil changes one byte of a closed file as a broken disk does: nothing but the bytes tells.
func spoil(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.Chmod(path, 0o644))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 1000)
	require.NoError(t, err)
	require.NoError(t, f.Chmod(fileMode))
	require.NoError(t, f.Close())
}

func TestACachedImageIsReadOnceByEachProcessBeforeItsFirstUse(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	fetched(t, c, image, s.data)
	fetched(t, c, image, s.data)
	c, log := restarted(t, c)
	var told []int64
	_, moved, err := c.Fetch(t.Context(), image, func(n, _ int64) { told = append(told, n) })
	require.NoError(t, err)
	require.Zero(t, moved)
	require.NotEmpty(t, told, "whoever waits hears how far it is")
	for range 3 {
		fetched(t, c, image, s.data)
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("is what it should be")), log)
	require.EqualValues(t, 1, s.opens.Load())
}

func TestACachedImageThatIsNotWhatItShouldBeIsThrownAwayAndFetchedAnew(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	path := fetched(t, c, image, s.data)
	for name, damage := range map[string]func(){
		"changed": func() { spoil(t, path) },
		"short":   func() { require.NoError(t, os.Truncate(path, 5000)) },
		"link": func() {
			require.NoError(t, os.Rename(path, path+"-away"))
			require.NoError(t, os.Symlink(path+"-away", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := s.opens.Load()
			damage()
			again, log := restarted(t, c)
			fetched(t, again, image, s.data)
			require.Equal(t, was+1, s.opens.Load())
			require.Contains(t, log.String(), "level=ERROR")
			require.Contains(t, log.String(), "thrown away and fetched anew")
		})
	}
}

func TestAnImageThatIsTouchedWhileTheProcessRunsIsReadAgain(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	path := fetched(t, c, image, s.data)
	st, err := os.Stat(path)
	require.NoError(t, err)
	spoil(t, path)
	require.NoError(t, os.Chtimes(path, st.ModTime(), st.ModTime()), "whoever writes it can set this back")
	fetched(t, c, image, s.data)
	require.EqualValues(t, 2, s.opens.Load())
}

func TestAServersImageThatIsNotWhatItShouldBeIsReplacedInOneMoment(t *testing.T) {
	s := &store{data: content(1 << 20), gate: make(chan struct{})}
	close(s.gate)
	c, image := open(t, s), imageOf(s.data)
	path := fetched(t, c, image, s.data)
	const server = "83679162-1378-4288-a2d4-70e13ec132aa"
	dir := filepath.Join(c.opts.InstancesDir, server)
	require.NoError(t, os.MkdirAll(dir, 0o711))
	require.NoError(t, disk.Maker{}.Root(t.Context(), dir, disk.Base{Path: path, Format: imageformat.Raw, VirtualBytes: 1 << 20}, 0, false))
	spoil(t, path)
	running, err := os.Open(path) // as its QEMU has it
	require.NoError(t, err)
	defer running.Close()

	s.gate = make(chan struct{})
	c, log := restarted(t, c)
	done := make(chan error, 1)
	go func() {
		_, _, err := c.Fetch(t.Context(), image, nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return s.opens.Load() == 2 }, 10*time.Second, time.Millisecond)
	require.FileExists(t, path, "a guest that starts meanwhile finds its disk's image")
	close(s.gate)
	require.NoError(t, <-done)
	fetched(t, c, image, s.data)
	require.Contains(t, log.String(), server)
	b := make([]byte, 1)
	_, err = running.ReadAt(b, 1000)
	require.NoError(t, err)
	require.Equal(t, byte(0xff), b[0], "the running guest keeps what it has open")
}

func TestWhatWasGivenAwayIsTakenBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root gives files away")
	}
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	path := fetched(t, c, image, s.data)
	give := func() {
		require.NoError(t, os.Chown(path, 64055, 64055))
		require.NoError(t, os.Chmod(path, 0o644))
	}
	back := func() {
		t.Helper()
		_, ours, err := stat(path)
		require.NoError(t, err)
		require.True(t, ours)
	}
	give()
	require.NoError(t, os.Chmod(c.opts.Dir, 0o755))
	c, _ = restarted(t, c)
	back()
	st, err := os.Stat(c.opts.Dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(folderMode), st.Mode().Perm())

	give()
	fetched(t, c, image, s.data)
	back()

	const server = "83679162-1378-4288-a2d4-70e13ec132aa"
	dir := filepath.Join(c.opts.InstancesDir, server)
	require.NoError(t, os.MkdirAll(dir, 0o711))
	require.NoError(t, os.WriteFile(filepath.Join(dir, UsesName), []byte(image.SHA512+"\n../"+filepath.Base(filepath.Dir(c.opts.Dir))+"\n"), 0o600))
	give()
	c.TakeBack(server)
	back()
	require.EqualValues(t, 1, s.opens.Load())
}

func TestAnImageThatIsGoneFromItsStoreStaysUnderItsServers(t *testing.T) {
	s := &store{data: content(1 << 20)}
	c, image := open(t, s), imageOf(s.data)
	path := fetched(t, c, image, s.data)
	dir := filepath.Join(c.opts.InstancesDir, "83679162-1378-4288-a2d4-70e13ec132aa")
	require.NoError(t, os.MkdirAll(dir, 0o711))
	require.NoError(t, disk.Maker{}.Root(t.Context(), dir, disk.Base{Path: path, Format: imageformat.Raw, VirtualBytes: 1 << 20}, 0, false))
	spoil(t, path)
	s.data = s.data[:1<<19] // the store has lost it too
	c, _ = restarted(t, c)
	_, _, err := c.Fetch(t.Context(), image, nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.FileExists(t, path)
}

// BenchmarkAWarmFetch is what each step of a build pays for an image that was read already.
func BenchmarkAWarmFetch(b *testing.B) {
	s := &store{data: content(64 << 20)}
	c, err := New(Options{Dir: b.TempDir(), InstancesDir: b.TempDir(), Source: s, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	image := imageOf(s.data)
	for b.Loop() {
		_, _, err := c.Fetch(b.Context(), image, nil)
		require.NoError(b, err)
	}
}

// BenchmarkTheFirstFetchOfAProcess reads 64 MiB that are there.
func BenchmarkTheFirstFetchOfAProcess(b *testing.B) {
	s := &store{data: content(64 << 20)}
	o := Options{Dir: b.TempDir(), InstancesDir: b.TempDir(), Source: s, Logger: slog.New(slog.DiscardHandler)}
	image := imageOf(s.data)
	b.SetBytes(64 << 20)
	for b.Loop() {
		c, err := New(o)
		require.NoError(b, err)
		_, _, err = c.Fetch(b.Context(), image, nil)
		require.NoError(b, err)
	}
}
