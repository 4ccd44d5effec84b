package imagestore

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

const id = "6b1f9d0c-6c2a-4a3e-9d5e-2f0b6f1c7e11"

func filesOf(t *testing.T, dir string) []string {
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

func open(t *testing.T) (*Files, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	f, err := NewFiles(dir)
	require.NoError(t, err)
	return f, dir
}

func TestCommittedBytesAreReadFromAnyOffset(t *testing.T) {
	ctx := context.Background()
	f, dir := open(t)
	u, err := f.Create(ctx, id)
	require.NoError(t, err)
	_, err = u.Write([]byte("hello, image"))
	require.NoError(t, err)
	head := make([]byte, 5)
	_, err = u.ReadAt(head, 0)
	require.NoError(t, err)
	require.Equal(t, "hello", string(head))

	_, err = f.Size(ctx, id)
	require.True(t, fault.Is(err, fault.NotFound), "nothing shows before Commit: %v", err)
	require.NoError(t, u.Commit())
	require.NoError(t, u.Close())

	size, err := f.Size(ctx, id)
	require.NoError(t, err)
	require.EqualValues(t, 12, size)
	r, err := f.Open(ctx, id, 7)
	require.NoError(t, err)
	require.NoError(t, f.Delete(ctx, id), "a reader under way goes on")
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, "image", string(rest))
	require.NoError(t, f.Delete(ctx, id), "absent is success")
	require.Empty(t, filesOf(t, dir))
}

func TestStoredImagesAreReadableByNobodyElse(t *testing.T) {
	f, dir := open(t)
	u, err := f.Create(context.Background(), id)
	require.NoError(t, err)
	require.NoError(t, u.Commit())
	require.NoError(t, u.Close())
	for path, mode := range map[string]os.FileMode{"images": 0o700, "uploads": 0o700, "images/" + id: 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestAnUploadThatEndsWithoutCommitLeavesNothing(t *testing.T) {
	for name, end := range map[string]func(Upload) error{"close": Upload.Close, "abort": Upload.Abort} {
		t.Run(name, func(t *testing.T) {
			f, dir := open(t)
			u, err := f.Create(context.Background(), id)
			require.NoError(t, err)
			_, err = u.Write(make([]byte, 1<<20))
			require.NoError(t, err)
			require.NoError(t, end(u))
			require.Empty(t, filesOf(t, dir))
			require.NoError(t, end(u), "ending twice is ending")
		})
	}
}

func TestAbortWithdrawsWhatWasPublished(t *testing.T) {
	f, dir := open(t)
	u, err := f.Create(context.Background(), id)
	require.NoError(t, err)
	require.NoError(t, u.Commit())
	require.NoError(t, u.Abort())
	require.Empty(t, filesOf(t, dir))
}

func TestOnlyOneUploadOfAnImageIsUnderWay(t *testing.T) {
	ctx := context.Background()
	f, dir := open(t)
	other, err := NewFiles(dir) // another process sees the same folder
	require.NoError(t, err)
	u, err := f.Create(ctx, id)
	require.NoError(t, err)
	_, err = other.Create(ctx, id)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	ids, err := other.IDs(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{id}, ids)
	require.NoError(t, u.Close())
	u, err = other.Create(ctx, id)
	require.NoError(t, err)
	require.NoError(t, u.Close())
}

func TestTheLockOfADeadProcessIsFree(t *testing.T) {
	if os.Getenv("IMAGESTORE_DIE_IN") != "" { // the process that dies: see below
		f, err := NewFiles(os.Getenv("IMAGESTORE_DIE_IN"))
		require.NoError(t, err)
		u, err := f.Create(context.Background(), id)
		require.NoError(t, err)
		_, err = u.Write([]byte("half an ima"))
		require.NoError(t, err)
		os.Exit(7)
	}
	f, dir := open(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "IMAGESTORE_DIE_IN="+dir)
	_ = cmd.Run()
	require.Equal(t, 7, cmd.ProcessState.ExitCode())
	require.ElementsMatch(t, []string{"uploads/" + id + ".lock", "uploads/" + id + ".part"}, filesOf(t, dir))

	u, err := f.Create(context.Background(), id)
	require.NoError(t, err)
	require.NoError(t, u.Abort())
	require.Empty(t, filesOf(t, dir))
}

func TestAnIDCannotLeaveTheStore(t *testing.T) {
	ctx := context.Background()
	f, _ := open(t)
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", "a.part", "-a", "a\x00b"} {
		_, err := f.Create(ctx, bad)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		_, err = f.Open(ctx, bad, 0)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		_, err = f.Size(ctx, bad)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		require.True(t, fault.Is(f.Delete(ctx, bad), fault.Invalid), bad)
	}
}
