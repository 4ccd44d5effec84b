package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAProgramThatIsBuiltForTestsLeavesNothingButItself(t *testing.T) {
	dir := t.TempDir()
	var first os.FileInfo
	for range 2 {
		path, err := build(dir, "faultinject")
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, "slipway-faultinject"), path)
		require.NoError(t, exec.CommandContext(t.Context(), path, "--version").Run())
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, files, 1)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.False(t, first != nil && os.SameFile(first, info), "who runs the first keeps it")
		first = info
	}
}

func TestAProgramThatDoesNotBuildLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GOFLAGS", "-mod=nonsense")
	_, err := build(dir, "")
	require.ErrorContains(t, err, "building slipway")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, files)
}
