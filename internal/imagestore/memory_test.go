package imagestore_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
)

// resident is the process's memory, in bytes: the line of /proc/self/status.
func resident(t *testing.T, line string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatalf("no %s in /proc/self/status", line)
	return 0
}

// SLIPWAY_TEST_IMAGE_MIB=1024 does it with a whole GiB. The server is a process of its own and does not count.
func TestAnUploadNeedsLittleMemoryHoweverLargeTheImage(t *testing.T) {
	mib := 192
	if v := os.Getenv("SLIPWAY_TEST_IMAGE_MIB"); v != "" {
		var err error
		mib, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	server := s3test.Start(t)
	s3, err := imagestore.OpenS3(imagestore.S3Options{ // with parts as they are unless somebody says otherwise
		Name: "cold", Endpoint: server.URL, Bucket: server.Bucket("images"), Region: s3test.Region, Locks: imagestore.FolderLocks(t.TempDir()),
		Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey},
	})
	require.NoError(t, err)
	files, _ := open(t, imagestore.FilesOptions{})
	chunk := imagestoretest.Noise(1, 1<<20)
	for name, store := range map[string]imagestore.Store{"files": files, "s3": s3} {
		t.Run(name, func(t *testing.T) {
			// What is only made once, as the pages of code, is made now.
			require.NoError(t, imagestoretest.Put(t.Context(), store, id, bytes.Repeat(chunk, 20)))
			debug.FreeOSMemory()
			before := resident(t, "VmRSS")
			require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0), "reset the peak: proc(5)")
			u, err := store.Create(t.Context(), id)
			require.NoError(t, err)
			for range mib {
				_, err := u.Write(chunk)
				require.NoError(t, err)
			}
			require.NoError(t, u.Commit(""))
			require.NoError(t, u.Close())
			r, err := store.Open(t.Context(), id, 0, -1)
			require.NoError(t, err)
			n, err := io.Copy(io.Discard, r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.EqualValues(t, mib<<20, n)
			grown := resident(t, "VmHWM") - before
			t.Logf("%d MiB up and down: the process grew by %.1f MiB", mib, float64(grown)/(1<<20))
			require.Less(t, grown, int64(32<<20))
		})
	}
}

const benchMiB = 64

func benchmarkStores(b *testing.B, work func(*testing.B, imagestore.Store)) {
	for name, o := range kindsOfFolder {
		b.Run("files/"+name, func(b *testing.B) {
			f, _ := open(b, o)
			work(b, f)
		})
	}
	b.Run("s3", func(b *testing.B) {
		server := s3test.Start(b)
		store, err := imagestore.OpenS3(imagestore.S3Options{
			Name: "cold", Endpoint: server.URL, Bucket: server.Bucket("images"), Region: s3test.Region, Locks: imagestore.FolderLocks(b.TempDir()),
			Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey},
		})
		require.NoError(b, err)
		work(b, store)
	})
}

func BenchmarkUpload(b *testing.B) {
	data := imagestoretest.Noise(1, benchMiB<<20)
	sum := imagestoretest.SHA512(data)
	benchmarkStores(b, func(b *testing.B, store imagestore.Store) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			u, err := store.Create(b.Context(), id)
			require.NoError(b, err)
			for at := 0; at < len(data); at += 1 << 20 {
				_, err := u.Write(data[at : at+1<<20])
				require.NoError(b, err)
			}
			require.NoError(b, u.Commit(sum))
			require.NoError(b, u.Close())
		}
	})
	b.Run("plain copy", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "copy")
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			f, err := os.Create(path)
			require.NoError(b, err)
			for at := 0; at < len(data); at += 1 << 20 {
				_, err := f.Write(data[at : at+1<<20])
				require.NoError(b, err)
			}
			require.NoError(b, f.Sync())
			require.NoError(b, f.Close())
		}
	})
}

func BenchmarkDownload(b *testing.B) {
	data := imagestoretest.Noise(1, benchMiB<<20)
	read := func(b *testing.B, open func() (io.ReadCloser, error)) {
		b.SetBytes(int64(len(data)))
		buffer := make([]byte, 256<<10)
		for b.Loop() {
			r, err := open()
			require.NoError(b, err)
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buffer)
			require.NoError(b, err)
			require.EqualValues(b, len(data), n)
			require.NoError(b, r.Close())
		}
	}
	benchmarkStores(b, func(b *testing.B, store imagestore.Store) {
		require.NoError(b, imagestoretest.Put(b.Context(), store, id, data))
		read(b, func() (io.ReadCloser, error) { return store.Open(b.Context(), id, 0, -1) })
	})
	b.Run("plain copy", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "copy")
		require.NoError(b, os.WriteFile(path, data, 0o600))
		read(b, func() (io.ReadCloser, error) { return os.Open(path) })
	})
}
