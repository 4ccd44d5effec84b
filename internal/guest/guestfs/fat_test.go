package guestfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// dos is a FAT filesystem of 16 MiB with the files of a Linux root.
func dos(t testing.TB, options ...string) []byte {
	t.Helper()
	return dosOf(t, 16<<20, options...)
}

func dosOf(t testing.TB, size int64, options ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fat")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	run(t, "", "mkfs.vfat", append(options, image)...)
	for _, dir := range []string{"etc", "ROOT"} {
		mtools(t, "mmd", "-i", image, "::/"+dir)
	}
	file := filepath.Join(t.TempDir(), "file")
	for path, contents := range map[string]string{
		"etc/motd": "old", "etc/shadow": "root:*:19000:0:99999:7:::\n", "etc/A long name.text": "long",
	} {
		require.NoError(t, os.WriteFile(file, []byte(contents), 0o600))
		require.NoError(t, os.Chtimes(file, epoch, epoch))
		mtools(t, "mcopy", "-m", "-i", image, file, "::/"+path)
	}
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	return b
}

// mtools runs as in Inject: in UTC, and without a rule for how many clusters a FAT has.
func mtools(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, "", "env", append([]string{"TZ=UTC", "MTOOLS_SKIP_CHECK=1"}, args...)...)
}

// sound is a FAT filesystem of the finished disk as a file of its own, which fsck.vfat finds nothing in.
func sound(t testing.TB, dir string, start, size int64) string {
	t.Helper()
	b, err := os.ReadFile(raw(t, dir, int(start+size)))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "fat")
	require.NoError(t, os.WriteFile(path, b[start:start+size], 0o600))
	run(t, "", "fsck.vfat", "-n", path)
	return path
}

func fatCat(t testing.TB, image, path string) string {
	t.Helper()
	return mtools(t, "mtype", "-i", image, "::"+path)
}

func TestEverythingIsInjectedIntoAFATFilesystem(t *testing.T) {
	uefi := "label: gpt\nstart=2048 size=32768 type=uefi\nstart=36864 size=32768\n"
	for name, c := range map[string]struct {
		image     []byte
		partition int
		at        int64
	}{
		"FAT16":               {dos(t, "-F", "16"), contract.InjectInspect, 0},
		"FAT32, whole disk":   {dosOf(t, 40<<20, "-F", "32", "-s", "1"), contract.InjectWholeDisk, 0},
		"FAT12 in a table":    {table(t, "start=2048 size=32768 type=c\n", map[int64][]byte{1: dos(t, "-F", "12")}), contract.InjectInspect, 1 << 20},
		"the one with /etc":   {table(t, uefi, map[int64][]byte{1: esp(t), 18: dos(t)}), contract.InjectInspect, 18 << 20},
		"by number, of three": {table(t, uefi, map[int64][]byte{1: dos(t), 18: linux(t, true)}), 1, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, c.image, imageformat.Raw)
			some := md
			some.Files = []contract.File{
				{Path: "/etc/motd", Contents: []byte("hello\n")}, {Path: "/srv/a b/$deep;/file.conf", Contents: []byte{0, 1, 2, 255}},
				{Path: "/ETC/a LONG name.TEXT", Contents: []byte("longer\n")}, {Path: "/etc/../root/-x", Contents: nil},
			}
			for range 2 {
				notes, err := Inject(t.Context(), program.Limits{}, nil, dir, some, contract.InjectOptions{Partition: c.partition})
				require.NoError(t, err)
				require.Empty(t, notes)
			}
			size := int64(16 << 20)
			if c.at == 0 {
				size = int64(len(c.image))
			}
			fs := sound(t, dir, c.at, size)
			require.Equal(t, "\n# The following ssh key was injected by Slipway\nssh-ed25519 AAAAC3 me@here\n", fatCat(t, fs, "/root/.ssh/authorized_keys"))
			require.Equal(t, `{"role":"web"}`, fatCat(t, fs, "/meta.js"))
			require.Equal(t, "hello\n", fatCat(t, fs, "/etc/motd"))
			require.Equal(t, "old", fatCat(t, fs, "/etc/motd.20260102T0304"), "what was there is kept")
			require.Equal(t, "longer\n", fatCat(t, fs, "/etc/A long name.text"), "case tells no names apart")
			require.Equal(t, "long", fatCat(t, fs, "/etc/A long name.text.20260102T0304"))
			require.Equal(t, "\x00\x01\x02\xff", fatCat(t, fs, "/srv/a b/$deep;/file.conf"))
			require.Empty(t, fatCat(t, fs, "/root/-x"))
			require.Contains(t, fatCat(t, fs, "/etc/network/interfaces"), "address 10.0.0.5")
			require.True(t, matches(strings.Split(fatCat(t, fs, "/etc/shadow"), ":")[1], md.AdminPass))
			listing := mtools(t, "mdir", "-b", "-i", fs, "::/etc")
			require.Equal(t, 6, strings.Count(listing, "\n"), "injecting again leaves nothing more: %s", listing)
		})
	}
}

// esp is what a machine boots from by UEFI.
func esp(t testing.TB) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "esp")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 16<<20))
	run(t, "", "mkfs.vfat", image)
	run(t, "", "mmd", "-i", image, "::/EFI")
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	return b
}

func TestTheRootOfAnImageIsNotTheFilesystemItBootsFrom(t *testing.T) {
	with := func(magic string, at int) []byte {
		b := make([]byte, 16<<20)
		copy(b[at:], magic)
		return b
	}
	xfs, btrfs, lvm := with("XFSB", 0), with("_BHRfS_M", 64<<10+64), with("LABELONE", 512)
	two := "label: gpt\nstart=2048 size=32768\nstart=36864 size=32768\n"
	for name, c := range map[string]struct {
		image []byte
		says  string // "" is taken
		at    int64
	}{
		"the only ext beside UEFI's":        {table(t, two, map[int64][]byte{1: esp(t), 18: linux(t, false)}), "", 18 << 20},
		"ext with /etc before FAT with one": {table(t, two, map[int64][]byte{1: dos(t), 18: linux(t, true)}), "", 18 << 20},
		"xfs beside UEFI's":                 {table(t, two, map[int64][]byte{1: esp(t), 18: xfs}), "none of the image's filesystems (FAT, xfs) is", 0},
		"what is not known beside UEFI's":   {table(t, two, map[int64][]byte{1: esp(t), 18: with("\x10\x20\xf5\xf2", 1024)}), "none of the image's filesystems (FAT) is", 0}, // f2fs
		"LVM beside ext, as /boot":          {table(t, two, map[int64][]byte{1: linux(t, false), 18: lvm}), "none of the image's filesystems (ext, LVM) is", 0},
		"xfs":                               {xfs, "the image has xfs and no ext or FAT filesystem", 0},
		"btrfs":                             {btrfs, "the image has btrfs and no ext or FAT filesystem", 0},
		"NTFS":                              {with("\xeb\x52\x90NTFS    ", 0), "the image has NTFS and no", 0},
		"LUKS":                              {with("LUKS\xba\xbe", 0), "the image has LUKS and no", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, c.image, imageformat.Raw)
			_, err := Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: []contract.File{{Path: "/etc/new", Contents: []byte("new\n")}}}, inspect)
			if c.says != "" {
				require.True(t, fault.Is(err, fault.Invalid), "%v", err)
				require.ErrorContains(t, err, c.says)
				require.ErrorContains(t, err, "Use a config drive")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "new\n", cat(t, partitionOf(t, dir, c.at), "/etc/new"))
		})
	}
}

// hostileFAT are filesystems and paths that want to get a file of the host written, a tool to run wild, or another file of the guest.
var hostileFAT = map[string]struct {
	bytes func([]byte) []byte
	path  string // "" is /etc/new
	also  string // a file that is put before
	full  bool
	want  string
}{
	"a file as a folder":             {path: "/etc/motd/x", want: refuses},
	"a folder as a file":             {path: "/etc", want: refuses},
	"the root":                       {path: "/", want: refuses},
	"dots that lead out":             {path: "/../../../tmp/x", want: takes},
	"dots through what is not there": {path: "/none/../etc/x", want: refuses},
	"a folder behind dots":           {path: "/etc/../ETC/x", want: takes},
	"a pattern":                      {path: "/etc/*", want: refuses},
	"a pattern of one":               {path: "/etc/[m]otd", want: refuses},
	"a question":                     {path: "/etc/mot?", want: refuses},
	"a drive":                        {path: "/etc/c:x", want: refuses},
	"another separator":              {path: `/etc/..\..\x`, want: refuses},
	"a quote":                        {path: `/etc/"x"`, want: refuses},
	"a line break":                   {path: "/etc/x\ny", want: refuses},
	"an end of text":                 {path: "/etc/x\x00y", want: refuses},
	"no text":                        {path: "/etc/\xff\xfe", want: refuses},
	"beyond ASCII":                   {path: "/etc/é", want: refuses},
	"a dot at the end":               {path: "/etc/motd.", want: refuses},
	"a space at the end":             {path: "/etc/motd ", want: refuses},
	"a device of DOS":                {path: "/etc/CON", want: refuses},
	"a folder that is a device":      {path: "/aux/x", want: refuses},
	"another name of a file":         {path: "/etc/ALONGN~1.TEX", want: refuses},
	"a name in another case":         {path: "/etc/X", also: "/etc/x", want: refuses},
	"a folder in another case":       {path: "/NEW/x", also: "/new/x", want: refuses},
	"a name that is too long":        {path: "/" + strings.Repeat("n", 256), want: refuses},
	"the longest name":               {path: "/" + strings.Repeat("n", 255), want: takes},
	"a path that is too long":        {path: strings.Repeat("/n", 600), want: refuses},
	"a deep path":                    {path: strings.Repeat("/n", 40), want: takes},
	"what mtools takes for options":  {path: "/-i/-n", want: takes},
	"what a shell would run":         {path: "/$(touch here)`touch here`", want: takes},
	"no room":                        {path: "/etc/x", full: true, want: refuses},
	"not cleanly unmounted":          {bytes: at8(0x25, 1), want: takes},
	"no sectors in a cluster":        {bytes: at8(13, 0), want: refuses},
	"no FAT":                         {bytes: at8(16, 0), want: refuses},
	"no reserved sectors":            {bytes: at8(14, 0), want: refuses},
	"sectors of 4096":                {bytes: at16(11, 4096), want: refuses},
	"no entries in the root":         {bytes: at16(17, 0), want: refuses},
	"more entries than fit":          {bytes: at16(17, 0xffff), want: refuses},
	"more sectors than there are":    {bytes: at16(19, 0xffff), want: refuses},
	"a FAT of no sectors":            {bytes: at16(22, 0), want: refuses},
	"a FAT larger than all":          {bytes: at16(22, 0xffff), want: refuses},
	"nothing but a boot sector":      {bytes: func(b []byte) []byte { clear(b[512:]); return b }, want: refuses},
	"a FAT that leads in circles":    {bytes: fats(func(fat []byte) { clearTo(fat[4:], 2) }), want: refuses},
	"a FAT that leads outside":       {bytes: fats(func(fat []byte) { clearTo(fat[4:], 0xff00) }), want: takes},
	"FATs that differ":               {bytes: func(b []byte) []byte { b[4*512+10] ^= 0x55; return b }, want: takes},
	"a folder that is its own":       {bytes: entryOf("ETC", func(e []byte) { binary.LittleEndian.PutUint16(e[26:], 0) }), want: takes},
	"a folder outside":               {bytes: entryOf("ETC", func(e []byte) { binary.LittleEndian.PutUint16(e[26:], 0xfff0) }), want: refuses},
	"a folder that has a size":       {bytes: entryOf("ETC", func(e []byte) { binary.LittleEndian.PutUint32(e[28:], 1<<31) }), want: takes},
	"a folder with a slash in it":    {bytes: entryOf("ETC", func(e []byte) { copy(e, "E/../X") }), path: "/new", want: takes},
}

func at8(at int, v byte) func([]byte) []byte {
	return func(b []byte) []byte { b[at] = v; return b }
}

func at16(at int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
}

func clearTo(fat []byte, v uint16) {
	for i := 0; i+1 < len(fat); i += 2 {
		binary.LittleEndian.PutUint16(fat[i:], v)
	}
}

// fats changes both FATs of a FAT16 filesystem.
func fats(change func(fat []byte)) func([]byte) []byte {
	return func(b []byte) []byte {
		reserved, size := 512*int(binary.LittleEndian.Uint16(b[14:])), 512*int(binary.LittleEndian.Uint16(b[22:]))
		for i := range 2 {
			change(b[reserved+i*size : reserved+i*size+40])
		}
		return b
	}
}

// entryOf changes the entry of a folder in the root.
func entryOf(name string, change func(entry []byte)) func([]byte) []byte {
	return func(b []byte) []byte {
		change(b[bytes.Index(b, fmt.Appendf(nil, "%-11s\x10", name)):])
		return b
	}
}

func TestWhatAHostileFATFilesystemGets(t *testing.T) {
	plain := dos(t, "-F", "16")
	for name, c := range hostileFAT {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bytes.Clone(plain)
			if c.bytes != nil {
				b = c.bytes(b)
				require.NotEqual(t, sha256.Sum256(plain), sha256.Sum256(b), "it is no other filesystem")
			}
			if c.full {
				image := filepath.Join(t.TempDir(), "fat")
				filler := filepath.Join(t.TempDir(), "filler")
				require.NoError(t, os.WriteFile(image, b, 0o600))
				require.NoError(t, os.WriteFile(filler, make([]byte, 16<<20-400<<10), 0o600))
				run(t, "", "mcopy", "-i", image, filler, "::/")
				var err error
				b, err = os.ReadFile(image)
				require.NoError(t, err)
			}
			dir := instance(t, b, imageformat.Raw)
			base, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
			require.NoError(t, err)
			before := sum(t, base)
			var files []contract.File
			if c.also != "" {
				files = append(files, contract.File{Path: c.also, Contents: []byte("before")})
			}
			path := c.path
			if path == "" {
				path = "/etc/new"
			}
			files = append(files, contract.File{Path: path, Contents: bytes.Repeat([]byte("injected"), 100<<10)})
			_, err = Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: files}, inspect)
			switch c.want {
			case takes:
				require.NoError(t, err)
				sound(t, dir, 0, 16<<20)
			case refuses:
				require.True(t, fault.Is(err, fault.Invalid), "%v", err)
				t.Log(err)
			}
			run(t, "", "qemu-img", "check", "-q", "-f", "qcow2", filepath.Join(dir, disk.RootName))
			require.Equal(t, before, sum(t, base), "the image of all servers is as it was")
			left, err := filepath.Glob(dir + "/*")
			require.NoError(t, err)
			for _, l := range left {
				require.Contains(t, []string{disk.RootName, unfinishedName}, filepath.Base(l))
			}
		})
	}
}

var epoch = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
