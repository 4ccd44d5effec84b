package guestfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// superblock is where an ext filesystem's is.
const superblock = 1024

// Offsets of Documentation/filesystems/ext4/super.rst.
func le32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[superblock+at:], v); return b }
}

func le16(at int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[superblock+at:], v); return b }
}

const (
	takes   = "takes it"
	refuses = "refuses it"
	// A filesystem that says that it is clean is not looked through, which would cost seconds: it is its tenant's.
	stays = "takes it, and its damage stays"
)

// hostile are filesystems and paths that want to get a file of the host written, or a tool to run wild.
var hostile = map[string]struct {
	debugfs string              // its commands, with ; between them
	bytes   func([]byte) []byte // done to the filesystem after that
	path    string              // "" is /etc/new
	want    string
}{
	"a link to a folder of the host":           {debugfs: "symlink /l /root", path: "/l/x", want: takes},
	"a link out, relative":                     {debugfs: "symlink /l ../../../../../../etc", path: "/l/x", want: takes},
	"a link to what the host alone has":        {debugfs: "symlink /l /var/lib/libvirt/images", path: "/l/x", want: takes},
	"a link through proc":                      {debugfs: "symlink /l /proc/self/root/etc/passwd", path: "/l", want: takes},
	"a link to a device of the host":           {debugfs: "symlink /l /dev/vda", path: "/l", want: takes},
	"a link to itself":                         {debugfs: "symlink /l /l", path: "/l", want: refuses},
	"two links to each other":                  {debugfs: "symlink /a /b; symlink /b /a", path: "/a/x", want: refuses},
	"a link that grows as it is followed":      {debugfs: "symlink /l l/x", path: "/l", want: refuses},
	"a link with a quote in it":                {debugfs: `symlink /l "/a""b"`, path: "/l/x", want: takes},
	"a link to an inode":                       {debugfs: `symlink /l "<2>"`, path: "/l", want: refuses},
	"a long link":                              {debugfs: "symlink /l /" + strings.Repeat("d/", 400) + "x", path: "/l", want: refuses},
	"dots that lead out":                       {path: "/etc/../../../../../../tmp/x", want: takes},
	"dots through what is not there":           {path: "/none/../etc/x", want: refuses},
	"dots below a link":                        {debugfs: "symlink /l /root/.ssh", path: "/l/../x", want: takes},
	"a character device":                       {debugfs: "mknod d c 1 3", path: "/d", want: refuses},
	"a block device":                           {debugfs: "mknod d b 8 0", path: "/d", want: refuses},
	"a fifo":                                   {debugfs: "mknod d p", path: "/d", want: refuses},
	"a device as a folder":                     {debugfs: "mknod d b 8 0", path: "/d/x", want: refuses},
	"a fifo behind a link":                     {debugfs: "mknod d p; symlink /l /d", path: "/l", want: refuses},
	"a file as a folder":                       {path: "/etc/passwd/x", want: refuses},
	"a folder as a file":                       {path: "/etc", want: refuses},
	"the root":                                 {path: "/", want: refuses},
	"no path":                                  {path: ".", want: refuses},
	"a name that is too long":                  {path: "/" + strings.Repeat("n", 256), want: refuses},
	"a path that is too long":                  {path: strings.Repeat("/n", 2100), want: refuses},
	"a line break":                             {path: "/x\nrm /etc/passwd", want: refuses},
	"an end of text":                           {path: "/x\x00y", want: refuses},
	"an inode":                                 {path: "/<8>", want: refuses},
	"what debugfs takes for options":           {path: "/-p -x", want: takes},
	"what a shell would run":                   {path: "/$(touch here)`touch here`|touch here", want: takes},
	"a folder that lies in itself":             {debugfs: "ln / /etc/loop", path: "/etc/loop/etc/loop/x", want: stays},
	"a root that is gone":                      {debugfs: "clri <2>", want: refuses},
	"a root that is a file":                    {debugfs: "sif <2> mode 0100644", want: refuses},
	"blocks behind the end":                    {debugfs: "sif /etc flags 0; sif /etc block[0] 4000000000", want: refuses},
	"a size without end":                       {debugfs: "sif /etc/motd size 4611686018427387904", path: "/etc/motd", want: stays},
	"a folder that is encrypted":               {debugfs: "sif /etc flags 0x80800", want: stays},
	"a folder with an index that is not there": {debugfs: "sif /etc flags 0x81000", want: refuses},
	"a dirty journal":                          {debugfs: "feature needs_recovery", want: takes},
	"a journal that is no file":                {debugfs: "sif <8> mode 040755; feature needs_recovery", want: takes},
	"a filesystem with errors":                 {debugfs: "ssv state 2", want: takes},
	"a check that is overdue":                  {debugfs: "ssv max_mnt_count 1; ssv mnt_count 100", want: takes},
	"more blocks than there are":               {bytes: le32(0x4, 1<<31), want: refuses},
	"no blocks":                                {bytes: le32(0x4, 0), want: refuses},
	"no inodes":                                {bytes: le32(0x0, 0), want: refuses},
	"no inodes in a group":                     {bytes: le32(0x28, 0), want: refuses},
	"no blocks in a group":                     {bytes: le32(0x20, 0), want: refuses},
	"blocks of a terabyte":                     {bytes: le32(0x18, 30), want: refuses},
	"a first block in the middle":              {bytes: le32(0x14, 5000), want: refuses},
	"inodes of seven bytes":                    {bytes: le16(0x58, 7), want: refuses},
	"a version of the future":                  {bytes: le32(0x4c, 99), want: refuses},
	"features of the future":                   {bytes: le32(0x60, 0xffffffff), want: refuses},
	"features that allow no write":             {bytes: le32(0x64, 0x40000000), want: refuses},
	"descriptors of another size":              {bytes: le16(0xfe, 0xffff), want: refuses},
	"nothing but a superblock":                 {bytes: func(b []byte) []byte { clear(b[2*superblock:]); return b }, want: refuses},
	"noise after the superblock": {bytes: func(b []byte) []byte {
		noise := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // G404: the same in each run
		for i := 2 * superblock; i < 1<<20; i++ {
			b[i] = byte(noise.Uint32())
		}
		return b
	}, want: refuses},
	"noise that begins as one": {bytes: func(b []byte) []byte {
		noise := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // G404: as above
		for i := range b {
			b[i] = byte(noise.Uint32())
		}
		return le16(56, 0xef53)(b)
	}, want: refuses},
}

func TestWhatAHostileImageGets(t *testing.T) {
	plain := linux(t, true)
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(t.TempDir(), "fs")
			b := bytes.Clone(plain)
			if c.debugfs != "" {
				require.NoError(t, os.WriteFile(image, b, 0o600))
				run(t, strings.ReplaceAll(c.debugfs, "; ", "\n"), "debugfs", "-w", "-f", "-", image)
				var err error
				b, err = os.ReadFile(image)
				require.NoError(t, err)
			}
			if c.bytes != nil {
				b = c.bytes(b)
			}
			require.True(t, c.debugfs == "" && c.bytes == nil || !bytes.Equal(b, plain), "it is no other filesystem")
			dir := instance(t, b, imageformat.Raw)
			base, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
			require.NoError(t, err)
			before := sum(t, base)

			path := c.path
			if path == "" {
				path = "/etc/new"
			}
			_, err = Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: []contract.File{{Path: path, Contents: []byte("injected")}}}, inspect)
			switch c.want {
			case takes:
				require.NoError(t, err)
				run(t, "", "e2fsck", "-fn", raw(t, dir, len(b)))
			case stays:
				require.NoError(t, err)
			case refuses:
				require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			}
			run(t, "", "qemu-img", "check", "-q", "-f", "qcow2", filepath.Join(dir, disk.RootName))
			require.Equal(t, before, sum(t, base), "the image of all servers is as it was")
			left, err := filepath.Glob(dir + "/*")
			require.NoError(t, err)
			for _, l := range left {
				require.Contains(t, []string{disk.RootName, unfinishedName}, filepath.Base(l))
			}
			st, err := os.Stat(filepath.Join(dir, disk.RootName))
			require.NoError(t, err)
			require.Contains(t, fmt.Sprintf("%+v", st.Sys()), "Uid:0 Gid:0", "the disk is root's again")
		})
	}
}

func sum(t testing.TB, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

// raw is the beginning of the disk as a file of its own.
func raw(t testing.TB, dir string, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw")
	out, err := exec.Command("qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", fmt.Sprintf("count=%d", size>>20), "if="+filepath.Join(dir, disk.RootName), "of="+path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

func TestALongLineIsNotTheBeginningOfAnotherCommand(t *testing.T) {
	image := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(image, linux(t, true), 0o600))
	e := &ext{image: image, work: t.TempDir(), writable: true}
	long := "stat " + strings.Repeat("x", 8191-len("stat "))
	_, err := e.run(t.Context(), long+"rm /etc/passwd")
	require.ErrorContains(t, err, "too long")
	require.NoError(t, e.close(t.Context()))
	require.Contains(t, cat(t, image, "/etc/passwd"), "root:x:0:0")
	run(t, long+"rm /etc/passwd\n", "debugfs", "-w", "-f", "-", image)
	require.Empty(t, cat(t, image, "/etc/passwd"), "debugfs reads more of a line than it did")
}

// smallDisk is an instance folder's disk on a filesystem that has next to no room.
func smallDisk(t *testing.T, dir string) string {
	t.Helper()
	small := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(small, unix.MNT_DETACH)) })
	run(t, "", "cp", "--sparse=always", filepath.Join(dir, disk.RootName), small)
	return small
}

// tooMuch are files that do not fit there.
func tooMuch() (files []contract.File) {
	for i := range 4 {
		files = append(files, contract.File{Path: fmt.Sprintf("/file%d", i), Contents: bytes.Repeat([]byte("full"), 200<<10)})
	}
	return files
}

func TestAFullHostIsNotTheImagesFault(t *testing.T) {
	for name, image := range map[string][]byte{"ext": linux(t, true), "FAT": dos(t)} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, instance(t, image, imageformat.Raw))
			_, err := Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: tooMuch()}, inspect)
			require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
			require.ErrorContains(t, err, "the host's disk is full")
		})
	}
}

// What says that it is clean is believed by e2fsck -p, and debugfs would write over files whose blocks the bitmap has for free.
func TestDamageBelowASuperblockThatSaysCleanIsNotMadeWorse(t *testing.T) {
	for name, c := range map[string]struct {
		options []string
		damage  string // debugfs's commands
		want    string
	}{
		"ext2, blocks in use are free":          {[]string{"-t", "ext2"}, "freeb 40 4000", takes},
		"ext3, blocks in use are free":          {[]string{"-t", "ext3"}, "freeb 40 4000", takes},
		"an old ext4, blocks in use are free":   {[]string{"-t", "ext4", "-O", "^metadata_csum"}, "freeb 40 4000", takes},
		"ext2, a folder that is no folder":      {[]string{"-t", "ext2"}, "sif /etc mode 0100755", refuses},
		"ext3, one block in two files":          {[]string{"-t", "ext3"}, "sif /data block[0] 60; sif /etc/motd block[0] 60", refuses},
		"an old ext4, an inode that is cleared": {[]string{"-t", "ext4", "-O", "^metadata_csum"}, "clri /etc", refuses},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "fs")
			tree := linuxTree(t, true)
			run(t, "", "mke2fs", append(c.options, "-q", "-d", tree, image, "16M")...)
			run(t, strings.ReplaceAll(c.damage, "; ", "\n"), "debugfs", "-w", "-f", "-", image)
			require.Contains(t, run(t, "", "e2fsck", "-p", image), "clean")
			require.Error(t, exec.Command("e2fsck", "-fn", image).Run(), "it is damaged")
			b, err := os.ReadFile(image)
			require.NoError(t, err)
			dir := instance(t, b, imageformat.Raw)
			_, err = Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: tooMuch()}, inspect)
			if c.want == refuses {
				require.True(t, fault.Is(err, fault.Invalid), "%v", err)
				return
			}
			require.NoError(t, err)
			fs := raw(t, dir, len(b))
			run(t, "", "e2fsck", "-fn", fs)
			require.Equal(t, "data", cat(t, fs, "/data"))
			require.Contains(t, cat(t, fs, "/etc/passwd"), "root:x:0:0")
			require.Equal(t, string(tooMuch()[3].Contents), cat(t, fs, "/file3"))
		})
	}
}
