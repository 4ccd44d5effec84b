package disk

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// bases are the same 8 MiB with a word in them, in both formats.
func bases(t testing.TB) (raw, qcow2 Base) {
	t.Helper()
	dir := t.TempDir()
	data := make([]byte, 8<<20)
	copy(data[1<<20:], "here lies the guest")
	raw = Base{filepath.Join(dir, "base.raw"), imageformat.Raw, 8 << 20}
	qcow2 = Base{filepath.Join(dir, "base.qcow2"), imageformat.QCOW2, 8 << 20}
	require.NoError(t, os.WriteFile(raw.Path, data, 0o444))
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw.Path, qcow2.Path)
	return raw, qcow2
}

type info struct {
	Format  string `json:"format"`
	Virtual int64  `json:"virtual-size"`
	Backing string `json:"backing-filename"`
	BackFmt string `json:"backing-filename-format"`
}

func look(t testing.TB, path string) (i info) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(run(t, "qemu-img", "info", "--output=json", path)), &i))
	return i
}

func inode(t testing.TB, path string) os.FileInfo {
	t.Helper()
	st, err := os.Stat(path)
	require.NoError(t, err)
	return st
}

func TestARootDiskIsAnOverlayOrACopyOfTheSizeOfTheFlavor(t *testing.T) {
	raw, qcow2 := bases(t)
	for name, c := range map[string]struct {
		base  Base
		bytes int64
		copy  bool
		want  info
	}{
		"overlay on qcow2":             {qcow2, 1 << 30, false, info{"qcow2", 1 << 30, qcow2.Path, "qcow2"}},
		"overlay on raw":               {raw, 1 << 30, false, info{"qcow2", 1 << 30, raw.Path, "raw"}},
		"overlay as large as the base": {qcow2, 0, false, info{"qcow2", 8 << 20, qcow2.Path, "qcow2"}},
		"copy of qcow2":                {qcow2, 1 << 30, true, info{"qcow2", 1 << 30, "", ""}},
		"copy of raw, as large":        {raw, 0, true, info{"qcow2", 8 << 20, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, Maker{}.Root(t.Context(), dir, c.base, c.bytes, c.copy))
			path := filepath.Join(dir, RootName)
			require.Equal(t, c.want, look(t, path))
			require.Contains(t, run(t, "qemu-io", "-r", "-f", "qcow2", "-c", "read -v 1048576 32", path), "here.lies.the.gu")

			first := inode(t, path)
			require.NoError(t, Maker{}.Root(t.Context(), dir, c.base, c.bytes, c.copy))
			require.True(t, os.SameFile(first, inode(t, path)), "the disk that was there is kept")

			require.NoError(t, Remove(dir))
			require.NoError(t, Remove(dir))
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestAnImageOfAFormatThatIsOnlyConvertedBecomesADiskOfItsOwn(t *testing.T) {
	raw, _ := bases(t)
	for declared, format := range map[string]imageformat.Format{
		"vmdk": imageformat.VMDK, "vdi": imageformat.VDI, "vhd": imageformat.VHD, "vhdx": imageformat.VHDX,
	} {
		t.Run(declared, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "base")
			run(t, "qemu-img", "convert", "-f", "raw", "-O", string(format), raw.Path, path)
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			found, err := imageformat.Inspect(f, inode(t, path).Size(), imageformat.Rules{Declared: declared})
			require.NoError(t, err)
			require.NoError(t, Maker{}.Root(t.Context(), dir, Base{path, found.Format, found.VirtualBytes}, 1<<30, false))
			disk := filepath.Join(dir, RootName)
			require.Equal(t, info{"qcow2", 1 << 30, "", ""}, look(t, disk))
			require.Contains(t, run(t, "qemu-io", "-r", "-f", "qcow2", "-c", "read -v 1048576 32", disk), "here.lies.the.gu")
		})
	}
}

func TestAnImageThatTakesMoreThanTheLimitsToReadIsInvalidAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	run(t, "qemu-img", "create", "-q", "-f", "vdi", image, "60T") // a map of 240 MiB
	m := Maker{Limits: program.Limits{MemoryBytes: 256 << 20}}
	err := m.Root(t.Context(), dir, Base{image, imageformat.VDI, 60 << 40}, 0, false)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Contains(t, fault.Public(err), "more memory than is allowed")
	require.NoError(t, os.Remove(image))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDisksAreClosedToOthersFromTheirFirstMoment(t *testing.T) {
	raw, qcow2 := bases(t)
	for name, c := range map[string]struct {
		file string
		make func(dir string) error
	}{
		"overlay": {RootName, func(dir string) error { return Maker{}.Root(t.Context(), dir, qcow2, 1<<30, false) }},
		"copy":    {RootName, func(dir string) error { return Maker{}.Root(t.Context(), dir, raw, 1<<30, true) }},
		"ext4":    {EphemeralName(0), func(dir string) error { return Maker{}.Ephemeral(t.Context(), dir, 0, 64<<20, Ext4) }},
		"vfat":    {EphemeralName(0), func(dir string) error { return Maker{}.Ephemeral(t.Context(), dir, 0, 64<<20, VFAT) }},
		"swap":    {SwapName, func(dir string) error { return Maker{}.Swap(t.Context(), dir, 1<<20) }},
		"any other": {"x", func(dir string) error {
			return Maker{}.make(t.Context(), filepath.Join(dir, "x"), 0, yes, modeIs(t, 0o600))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// What a process that died left is not written on, whoever may read it.
			require.NoError(t, os.WriteFile(filepath.Join(dir, c.file+partSuffix), []byte("half"), 0o666))
			require.NoError(t, c.make(dir))
			require.Equal(t, os.FileMode(0o600), inode(t, filepath.Join(dir, c.file)).Mode())
		})
	}
}

func yes(*os.File) bool { return true }

func modeIs(t *testing.T, mode os.FileMode) func(ctx context.Context, part string) error {
	return func(_ context.Context, part string) error {
		require.Equal(t, mode, inode(t, part).Mode(), "before anything is written")
		return nil
	}
}

func TestADiskThatIsNotTheWantedOneIsMadeAnew(t *testing.T) {
	raw, qcow2 := bases(t)
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"half written by a crash": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, RootName), 100))
		},
		"empty after a crash": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, RootName), 0))
		},
		"of another size": func(t *testing.T, dir string) {
			require.NoError(t, Maker{}.Root(t.Context(), dir, qcow2, 2<<30, false))
		},
		"of another image": func(t *testing.T, dir string) { require.NoError(t, Maker{}.Root(t.Context(), dir, raw, 1<<30, false)) },
		"of another kind":  func(t *testing.T, dir string) { require.NoError(t, Maker{}.Root(t.Context(), dir, qcow2, 1<<30, true)) },
		"a leftover besides": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, RootName+partSuffix), []byte("half"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, Maker{}.Root(t.Context(), dir, qcow2, 1<<30, false))
			spoil(t, dir)
			require.NoError(t, Maker{}.Root(t.Context(), dir, qcow2, 1<<30, false))
			require.Equal(t, info{"qcow2", 1 << 30, qcow2.Path, "qcow2"}, look(t, filepath.Join(dir, RootName)))
			require.NoError(t, Remove(dir))
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestAFlavorSmallerThanTheImageIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	_, base := bases(t)
	base.VirtualBytes = 3 << 30
	dir := t.TempDir()
	err := Maker{}.Root(t.Context(), dir, base, 2<<30, false)
	require.True(t, fault.Is(err, fault.Invalid))
	require.ErrorContains(t, err, "2 GiB")
	left, readErr := os.ReadDir(dir)
	require.NoError(t, readErr)
	require.Empty(t, left)
}

func TestEphemeralAndSwapDisksAreReadyForUseAndKept(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		make  func() error
		file  string
		check func(path string)
	}{
		"ext4": {func() error { return Maker{}.Ephemeral(t.Context(), dir, 0, 1<<30, Ext4) }, EphemeralName(0), func(p string) {
			run(t, "e2fsck", "-fn", p)
			require.Contains(t, run(t, "e2label", p), "ephemeral0")
		}},
		"ext2, the second of them": {func() error { return Maker{}.Ephemeral(t.Context(), dir, 1, 1<<30, Ext2) }, EphemeralName(1), func(p string) {
			require.Contains(t, run(t, "e2label", p), "ephemeral1")
			require.NotContains(t, run(t, "dumpe2fs", "-h", p), "has_journal")
		}},
		"ext3, the eleventh": {func() error { return Maker{}.Ephemeral(t.Context(), dir, 10, 1<<30, Ext3) }, EphemeralName(10), func(p string) {
			require.Contains(t, run(t, "dumpe2fs", "-h", p), "has_journal")
		}},
		"vfat": {func() error { return Maker{}.Ephemeral(t.Context(), dir, 0, 1<<30, VFAT) }, EphemeralName(0), func(p string) {
			run(t, "fsck.vfat", "-n", p)
			require.Contains(t, run(t, "blkid", p), `LABEL="ephemeral0"`)
		}},
		"swap": {func() error { return Maker{}.Swap(t.Context(), dir, 64<<20) }, SwapName, func(p string) {
			require.Contains(t, run(t, "blkid", p), `TYPE="swap"`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			require.NoError(t, c.make())
			require.Less(t, time.Since(start), 20*time.Second)
			path := filepath.Join(dir, c.file)
			c.check(path)
			first := inode(t, path)
			require.NoError(t, c.make())
			require.True(t, os.SameFile(first, inode(t, path)))
			require.NoError(t, os.Truncate(path, 1000))
			require.NoError(t, c.make())
			c.check(path)
			require.NoError(t, Remove(dir))
			require.NoFileExists(t, path)
		})
	}
}

func TestTheEphemeralFilesystemFollowsTheImagesOSType(t *testing.T) {
	require.Equal(t, Ext4, EphemeralFilesystem("linux"))
	require.Equal(t, VFAT, EphemeralFilesystem(""))
	require.Equal(t, VFAT, EphemeralFilesystem("windows"))
}

func TestAFullDiskIsTheHostsFaultWithItsTrueCauseAndLeavesNothing(t *testing.T) {
	_, qcow2 := bases(t)
	for name, do := range map[string]func(dir string) error{
		"overlay": func(dir string) error { return Maker{}.Root(t.Context(), dir, qcow2, 1<<30, false) },
		"copy": func(dir string) error {
			data := make([]byte, 1<<20)
			for i := range data {
				data[i] = byte(i*7 + 1)
			}
			full := Base{filepath.Join(t.TempDir(), "full"), imageformat.Raw, 1 << 20}
			require.NoError(t, os.WriteFile(full.Path, data, 0o444))
			return Maker{}.Root(t.Context(), dir, full, 1<<30, true)
		},
		"ephemeral": func(dir string) error { return Maker{}.Ephemeral(t.Context(), dir, 0, 1<<30, Ext4) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testenv.SmallDisk(t, "64k")
			err := do(dir)
			require.Error(t, err)
			require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "the host's disk is full")
			left, readErr := os.ReadDir(dir)
			require.NoError(t, readErr)
			require.Empty(t, left)
		})
	}
}

// A copy is refused where its image alone is too large, and ended where it grows to more; an overlay has to find the reserve.
func TestADiskThatWouldTakeTheReserveIsNotMadeAndLeavesNothing(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	data := make([]byte, 64<<20)
	for i := range data {
		data[i] = byte(i>>16 + 1) // packs well
	}
	require.NoError(t, os.WriteFile(image, data, 0o600))
	packed := filepath.Join(t.TempDir(), "packed")
	run(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", image, packed)
	reserve, err := space.Parse("25%")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		size string
		base Base
		copy bool
		fill int
	}{
		"the image is too large": {"64m", Base{image, imageformat.Raw, 64 << 20}, true, 0},
		"what it packs is":       {"64m", Base{packed, imageformat.QCOW2, 64 << 20}, true, 0},
		"others took the room":   {"16m", Base{image, imageformat.Raw, 64 << 20}, false, 13 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(testenv.SmallDisk(t, c.size), "instance")
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.WriteFile(dir+".other", make([]byte, c.fill), 0o600))
			err := Maker{Reserve: reserve}.Root(t.Context(), dir, c.base, 0, c.copy)
			require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
			require.ErrorContains(t, err, "the host's disk is full")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestABrokenBaseIsToldWithTheProgramsOwnWords(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	require.NoError(t, os.WriteFile(base, []byte("no image"), 0o444)) //nolint:gosec // G306: as images are
	err := Maker{}.Root(t.Context(), t.TempDir(), Base{base, imageformat.QCOW2, 1 << 20}, 0, false)
	require.True(t, fault.Is(err, fault.Internal))
	require.ErrorContains(t, err, "Image is not in qcow2 format")
}

func BenchmarkOverlay(b *testing.B) {
	_, base := bases(b)
	dir := b.TempDir()
	for b.Loop() {
		if err := (Maker{}).Root(b.Context(), dir, base, 20<<30, false); err != nil {
			b.Fatal(err)
		}
		if err := Remove(dir); err != nil {
			b.Fatal(err)
		}
	}
}
