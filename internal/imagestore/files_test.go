package imagestore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
)

const id = "6b1f9d0c-6c2a-4a3e-9d5e-2f0b6f1c7e11"
const otherID = "7c1f9d0c-6c2a-4a3e-9d5e-2f0b6f1c7e12"

// filesOf lists what lies below dir.
func filesOf(t testing.TB, dir string) []string {
	t.Helper()
	found := []string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, rel)
		}
		return err
	}))
	return found
}

func open(t testing.TB, o imagestore.FilesOptions) (*imagestore.Files, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	f, err := imagestore.OpenFiles(dir, o)
	require.NoError(t, err)
	return f, dir
}

var kindsOfFolder = map[string]imagestore.FilesOptions{"plain": {}, "content": {Content: true}}

func TestFilesKeepTheContract(t *testing.T) {
	for name, o := range kindsOfFolder {
		t.Run(name, func(t *testing.T) {
			imagestoretest.Run(t, 1<<20, func(t *testing.T) func() imagestore.Store {
				_, dir := open(t, o)
				return func() imagestore.Store {
					f, err := imagestore.OpenFiles(dir, o)
					require.NoError(t, err)
					return f
				}
			})
		})
	}
}

func TestStoredImagesAreReadableByNobodyElse(t *testing.T) {
	f, dir := open(t, imagestore.FilesOptions{Content: true})
	data := []byte("hello, image")
	require.NoError(t, imagestoretest.Put(t.Context(), f, id, data))
	for path, mode := range map[string]os.FileMode{
		"images": 0o700, "uploads": 0o700, "blobs": 0o700, "images/" + id: 0o600, "blobs/" + imagestoretest.SHA512(data): 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestAReaderUnderWayFinishesAfterTheDelete(t *testing.T) {
	for name, o := range kindsOfFolder {
		t.Run(name, func(t *testing.T) {
			f, dir := open(t, o)
			require.NoError(t, imagestoretest.Put(t.Context(), f, id, []byte("hello, image")))
			r, err := f.Open(t.Context(), id, 7, -1)
			require.NoError(t, err)
			require.NoError(t, f.Delete(t.Context(), id))
			rest := make([]byte, 5)
			_, err = r.Read(rest)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.Equal(t, "image", string(rest))
			require.Empty(t, filesOf(t, dir))
		})
	}
}

func TestEqualBytesAreKeptOnceAsLongAsAnImageHasThem(t *testing.T) {
	f, dir := open(t, imagestore.FilesOptions{Content: true})
	ctx, data := t.Context(), imagestoretest.Noise(1, 1<<20)
	blob := filepath.Join(dir, "blobs", imagestoretest.SHA512(data))
	require.NoError(t, imagestoretest.Put(ctx, f, id, data))
	require.NoError(t, imagestoretest.Put(ctx, f, otherID, data))
	sameFile := func(a, b string) {
		t.Helper()
		x, err := os.Stat(a)
		require.NoError(t, err)
		y, err := os.Stat(b)
		require.NoError(t, err)
		require.True(t, os.SameFile(x, y))
	}
	sameFile(filepath.Join(dir, "images", id), blob)
	sameFile(filepath.Join(dir, "images", otherID), blob)
	require.NoError(t, f.Delete(ctx, id))
	sameFile(filepath.Join(dir, "images", otherID), blob)
	require.NoError(t, f.Delete(ctx, otherID))
	require.Empty(t, filesOf(t, dir), "the last one takes the bytes along")
}

func TestContentAddressingIsSwitchedOnAndOffOverTheSameImages(t *testing.T) {
	plain, dir := open(t, imagestore.FilesOptions{})
	ctx, data := t.Context(), imagestoretest.Noise(2, 10_000)
	require.NoError(t, imagestoretest.Put(ctx, plain, "before", data)) // as every image of an older installation lies
	content, err := imagestore.OpenFiles(dir, imagestore.FilesOptions{Content: true})
	require.NoError(t, err)
	require.NoError(t, imagestoretest.Put(ctx, content, "one", data))
	require.NoError(t, imagestoretest.Put(ctx, content, "two", data))
	for _, image := range []string{"before", "one", "two"} {
		for _, store := range []imagestore.Store{plain, content} {
			got, err := imagestoretest.Get(ctx, store, image, 0, -1)
			require.NoError(t, err)
			require.Equal(t, data, got)
		}
	}
	require.NoError(t, content.Delete(ctx, "before"))
	require.NoError(t, plain.Delete(ctx, "one"))
	require.NoError(t, plain.Delete(ctx, "two"))
	require.Empty(t, filesOf(t, dir))
}

func TestADamagedBlobIsNotSharedAndItsNameIsTold(t *testing.T) {
	f, dir := open(t, imagestore.FilesOptions{Content: true})
	data := imagestoretest.Noise(3, 10_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", imagestoretest.SHA512(data)), data[:9000], 0o600))
	err := imagestoretest.Put(t.Context(), f, id, data)
	require.ErrorContains(t, err, "is damaged, move it away")
	_, err = f.Size(t.Context(), id)
	require.Error(t, err)
}

func TestAFolderThatCannotBeWrittenIsNotReady(t *testing.T) {
	f, dir := open(t, imagestore.FilesOptions{})
	require.NoError(t, f.Ready(t.Context()))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "uploads")))
	err := f.Ready(t.Context())
	require.ErrorContains(t, err, "cannot be written")
	require.True(t, strings.Contains(err.Error(), dir), err)
}
