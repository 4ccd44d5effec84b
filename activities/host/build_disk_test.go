package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// rootBlocks is how many blocks the root filesystem of a disk has, which is one, whole and sound.
func rootBlocks(t *testing.T, disk string) (blocks, size int) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("e2fsck", "-fn", raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("dumpe2fs", "-h", raw).Output()
	require.NoError(t, err)
	for line, into := range map[string]*int{"Block count:": &blocks, "Block size:": &size} {
		_, after, _ := strings.Cut(string(out), line)
		_, err := fmt.Sscan(after, into)
		require.NoError(t, err, line)
	}
	return blocks, size
}

func TestARootFilesystemIsGrownWhereThatIsAskedForAndTheDiskIsLarger(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	disk := filepath.Join(p.dir, server, "disk")
	for _, c := range []struct {
		gib   int
		grow  bool
		bytes int64
	}{{1, false, 16 * mib}, {0, true, 16 * mib}, {1, true, gib}} {
		grown, err := p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: c.gib, Grow: c.grow})
		require.NoError(t, err)
		require.Empty(t, grown.Notes)
		blocks, size := rootBlocks(t, disk)
		require.Equal(t, c.bytes, int64(blocks)*int64(size), "%+v", c)
		require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
	}
}

func TestAGrowthThatWasCutOffIsDoneAgainOnADiskMadeAnew(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	in := contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 1}
	require.NoError(t, made(p.BuildDisk(t.Context(), in)))
	disk := filepath.Join(p.dir, server, "disk")
	out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 255 0 16M", disk).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, "inject.unfinished"), nil, 0o600))
	in.Grow = true
	grown, err := p.BuildDisk(t.Context(), in)
	require.NoError(t, err)
	require.Empty(t, grown.Notes)
	blocks, size := rootBlocks(t, disk)
	require.Equal(t, gib, int64(blocks)*int64(size))
	require.NoFileExists(t, filepath.Join(p.dir, server, "inject.unfinished"))
}
