package guestfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// wholeOf is the finished disk, as a file that has no more than it.
func wholeOf(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whole")
	run(t, "", "qemu-img", "convert", "-f", "qcow2", "-O", "raw", filepath.Join(dir, disk.RootName), path)
	return path
}

func TestTheOnlyFilesystemOfADiskFillsIt(t *testing.T) {
	const to = 1 << 30
	for name, l := range map[string]struct {
		image  []byte
		format imageformat.Format
		start  int64
		spare  int64 // of the disk's end
		is     string
	}{
		"none": {linux(t, true), imageformat.Raw, 0, 0, ""},
		"MBR": {
			table(t, "start=2048 size=32768 type=83 bootable\n", map[int64][]byte{1: linux(t, true)}), imageformat.QCOW2, 1 << 20, 0, "type=83, bootable",
		},
		"GPT": {
			table(t, "label: gpt\nstart=2048 size=32768 type=L name=root\n", map[int64][]byte{1: linux(t, true)}), imageformat.Raw, 1 << 20, 1 << 20, `name="root"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, l.image, l.format)
			for range 2 {
				note, err := Grow(t.Context(), program.Limits{}, dir)
				require.NoError(t, err)
				require.Empty(t, note)
				left, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Len(t, left, 1, "only the disk is left")
				whole := wholeOf(t, dir)
				if l.start > 0 {
					run(t, "", "sfdisk", "--verify", whole)
					require.Contains(t, run(t, "", "sfdisk", "--dump", whole), l.is)
				}
				fs := fmt.Sprintf("%s?offset=%d", whole, l.start)
				run(t, "", "e2fsck", "-fn", fs)
				var blocks, size int64
				for line := range strings.Lines(run(t, "", "dumpe2fs", "-h", fs)) {
					_, _ = fmt.Sscanf(line, "Block count: %d", &blocks)
					_, _ = fmt.Sscanf(line, "Block size: %d", &size)
				}
				require.LessOrEqual(t, blocks*size, to-l.start)
				require.Greater(t, blocks*size, to-l.start-l.spare-size)
				require.Equal(t, "old", cat(t, fs, "/etc/motd"))
			}
		})
	}
}

func TestAnImageThatCannotBeGrownIsLeftAsItIs(t *testing.T) {
	zeroes := make([]byte, 16<<20)
	xfs := append([]byte("XFSB"), zeroes...)
	for want, image := range map[string][]byte{
		"the image has 2 partitions": table(t, "label: gpt\nstart=2048 size=32768\nstart=36864 size=32768\n", map[int64][]byte{1: linux(t, true), 18: linux(t, true)}),
		"no ext filesystem (xfs)":    table(t, "start=2048 size=32768 type=83\n", map[int64][]byte{1: xfs}),
		"no ext filesystem (nothing": zeroes,
	} {
		dir := instance(t, image, imageformat.Raw)
		before := sum(t, raw(t, dir, 64<<20))
		note, err := Grow(t.Context(), program.Limits{}, dir)
		require.NoError(t, err)
		require.Contains(t, note, "the root filesystem was not grown: ")
		require.Contains(t, note, want)
		require.Equal(t, before, sum(t, raw(t, dir, 64<<20)))
		torn, err := Torn(dir)
		require.NoError(t, err)
		require.False(t, torn)
	}
}

func TestAFilesystemThatFailsWhileItIsGrownLeavesTheDiskTorn(t *testing.T) {
	broken := linux(t, true)
	copy(broken[1024+0x60:], []byte{0xff, 0xff, 0xff, 0xff}) // features that nobody has (s_feature_incompat)
	dir := instance(t, broken, imageformat.Raw)
	note, err := Grow(t.Context(), program.Limits{}, dir)
	require.NoError(t, err)
	require.Contains(t, note, "e2fsck")
	torn, err := Torn(dir)
	require.NoError(t, err)
	require.True(t, torn)
}
