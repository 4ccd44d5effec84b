package guestfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

var inspect = contract.InjectOptions{Partition: contract.InjectInspect}

var md = contract.InstanceMetadata{
	ServerID: "83679162-1378-4288-a2d4-70e13ec132aa",
	KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAAC3 me@here\n", Type: "ssh"}},
	Metadata: map[string]string{"role": "web"}, AdminPass: `pa"ss w$rd`,
	Files: []contract.File{
		{Path: "/etc/motd", Contents: []byte("hello\n")},
		{Path: `/srv/a b/"deep"/file`, Contents: []byte{0, 1, 2, 255}},
		{Path: "/link/through", Contents: []byte("through\n")},
		{Path: "/etc/escape", Contents: []byte("inside\n")},
	},
	Ports: []contract.Port{{ID: "p1", MAC: "fa:16:3e:9c:bf:3d", Addresses: []contract.Address{
		{IP: "10.0.0.5", CIDR: "10.0.0.0/24", Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.2"}},
		{IP: "2001:db8::5", CIDR: "2001:db8::/64"},
	}}},
}

func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// linux is an ext4 filesystem of 16 MiB that looks like a Linux root, with links that would lead outside if the host
// followed them.
func linux(t testing.TB, root bool) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fs")
	run(t, "", "mkfs.ext4", "-q", "-d", linuxTree(t, root), image, "16M")
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	return b
}

// linuxTree are the files of linux.
func linuxTree(t testing.TB, root bool) (tree string) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "tree")
	write := func(path, contents string, mode os.FileMode) {
		path = filepath.Join(tree, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(contents), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	write("data", "data", 0o644)
	if root {
		write("etc/shadow", "daemon:*:1::::::\nroot:*:19000:0:99999:7:::\n", 0o640)
		write("etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644)
		write("etc/motd", "old", 0o600)
		write("root/.ssh/authorized_keys", "ssh-rsa OLD\n", 0o644)
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "real"), 0o755))
		require.NoError(t, os.Symlink("/real", filepath.Join(tree, "link")))
		require.NoError(t, os.Symlink("../../../../../../../../tmp/slipway-must-not-exist", filepath.Join(tree, "etc/escape")))
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "tmp"), 0o755))
	}
	return tree
}

// table lays filesystems on a disk, 1 MiB and then 18 MiB each, under a table that sfdisk writes.
func table(t testing.TB, script string, at map[int64][]byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 64<<20))
	run(t, script, "sfdisk", "-q", path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	for mib, b := range at {
		_, err := f.WriteAt(b, mib<<20)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// instance is a folder with a root disk on the image.
func instance(t testing.TB, image []byte, format imageformat.Format) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	require.NoError(t, os.WriteFile(raw, image, 0o444))
	return instanceOf(t, raw, int64(len(image)), format)
}

func instanceOf(t testing.TB, raw string, size int64, format imageformat.Format) string {
	t.Helper()
	dir := t.TempDir()
	base := disk.Base{Path: filepath.Join(t.TempDir(), "base"), Format: format, VirtualBytes: size}
	run(t, "", "qemu-img", "convert", "-f", "raw", "-O", string(format), raw, base.Path)
	require.NoError(t, os.Chmod(base.Path, 0o444))
	require.NoError(t, disk.Maker{}.Root(t.Context(), dir, base, 1<<30, false))
	return dir
}

// partitionOf is a partition of the finished disk as a file of its own, taken out by qemu-img.
func partitionOf(t testing.TB, dir string, start int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "partition")
	run(t, "", "qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", "count=64", "if="+filepath.Join(dir, disk.RootName), "of="+path)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b[start:start+16<<20], 0o600))
	run(t, "", "e2fsck", "-fn", path)
	return path
}

func cat(t testing.TB, fs, path string) string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+path, fs).Output()
	require.NoError(t, err)
	return string(out)
}

var layouts = map[string]struct {
	image  func(t testing.TB) []byte
	format imageformat.Format
	root   int64 // where the root filesystem begins
}{
	"a filesystem": {func(t testing.TB) []byte { return linux(t, true) }, imageformat.Raw, 0},
	"MBR, one": {func(t testing.TB) []byte {
		return table(t, "start=2048 size=32768 type=83\n", map[int64][]byte{1: linux(t, true)})
	}, imageformat.QCOW2, 1 << 20},
	"MBR, data first": {func(t testing.TB) []byte {
		return table(t, "start=2048 size=32768 type=83\nstart=36864 size=32768 type=83\n", map[int64][]byte{1: linux(t, false), 18: linux(t, true)})
	}, imageformat.QCOW2, 18 << 20},
	"MBR, logical root": {func(t testing.TB) []byte {
		return table(t, "start=2048 size=32768 type=83\nstart=34816 size=90000 type=5\nstart=36864 size=32768 type=83\n", map[int64][]byte{1: linux(t, false), 18: linux(t, true)})
	}, imageformat.Raw, 18 << 20},
	"GPT, boot first": {func(t testing.TB) []byte {
		return table(t, "label: gpt\nstart=2048 size=32768\nstart=36864 size=32768\n", map[int64][]byte{18: linux(t, true)})
	}, imageformat.QCOW2, 18 << 20},
}

func TestEverythingIsInjectedIntoTheRootFilesystemOfAnyLayout(t *testing.T) {
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, l.image(t), l.format)
			notes, err := Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
			require.NoError(t, err)
			require.Empty(t, notes)
			fs := partitionOf(t, dir, l.root)
			require.Equal(t, "ssh-rsa OLD\n\n# The following ssh key was injected by Slipway\nssh-ed25519 AAAAC3 me@here\n", cat(t, fs, "/root/.ssh/authorized_keys"))
			require.Equal(t, `{"role":"web"}`, cat(t, fs, "/meta.js"))
			require.Equal(t, "hello\n", cat(t, fs, "/etc/motd"))
			require.Equal(t, "\x00\x01\x02\xff", cat(t, fs, `"/srv/a b/""deep""/file"`))
			require.Equal(t, "through\n", cat(t, fs, "/real/through"), "a symlink is the guest's own")
			require.Equal(t, "inside\n", cat(t, fs, "/tmp/slipway-must-not-exist"), "no link leads out of the guest")
			require.NoFileExists(t, "/tmp/slipway-must-not-exist")
			require.Contains(t, cat(t, fs, "/etc/network/interfaces"), "auto eth0\niface eth0 inet static\n    hwaddress ether fa:16:3e:9c:bf:3d\n    address 10.0.0.5\n    netmask 255.255.255.0\n    gateway 10.0.0.1\n    dns-nameservers 10.0.0.2\niface eth0 inet6 static")
			modes := run(t, "", "debugfs", "-R", "stat /root/.ssh", fs) + run(t, "", "debugfs", "-R", "stat /root/.ssh/authorized_keys", fs) + run(t, "", "debugfs", "-R", "stat /etc/shadow", fs)
			require.Contains(t, modes, "Type: directory    Mode:  0700")
			require.Contains(t, modes, "Type: regular    Mode:  0600")
			require.Contains(t, modes, "Type: regular    Mode:  0640", "shadow keeps its mode")

			shadow := strings.Split(cat(t, fs, "/etc/shadow"), "\n")
			require.Equal(t, "daemon:*:1::::::", shadow[0])
			fields := strings.Split(shadow[1], ":")
			require.True(t, matches(fields[1], md.AdminPass), shadow[1])
			require.Equal(t, []string{"19000", "0", "99999", "7", "", "", ""}, fields[2:])

			notes, err = Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
			require.NoError(t, err)
			require.Empty(t, notes)
			again := partitionOf(t, dir, l.root)
			for _, path := range []string{"/root/.ssh/authorized_keys", "/etc/shadow", "/etc/network/interfaces"} {
				require.Equal(t, cat(t, fs, path), cat(t, again, path), "injecting again changes nothing")
			}
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1, "only the disk is left")
		})
	}
}

func TestOnlyFilesAreOwed(t *testing.T) {
	dir := instance(t, linux(t, false), imageformat.Raw) // without /etc/shadow
	some := md
	some.Files = nil
	notes, err := Inject(t.Context(), program.Limits{}, nil, dir, some, inspect)
	require.NoError(t, err)
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], "the admin password not injected")

	noFS := instance(t, make([]byte, 1<<20), imageformat.Raw)
	notes, err = Inject(t.Context(), program.Limits{}, nil, noFS, some, inspect)
	require.NoError(t, err)
	require.Equal(t, []string{"nothing was injected: the image has no ext or FAT filesystem, and the host has no libguestfs"}, notes)

	some.Files = []contract.File{{Path: "/x", Contents: []byte("x")}}
	_, err = Inject(t.Context(), program.Limits{}, nil, noFS, some, inspect)
	require.True(t, fault.Is(err, fault.Invalid))
	require.ErrorContains(t, err, "no ext or FAT filesystem")
}

func TestAFileThatTheFilesystemCannotTakeIsToldAndNeverHalfBelieved(t *testing.T) {
	for name, f := range map[string]contract.File{
		"over a folder":         {Path: "/etc", Contents: []byte("x")},
		"below a file":          {Path: "/etc/passwd/x", Contents: []byte("x")},
		"the root":              {Path: "/", Contents: []byte("x")},
		"a command in its name": {Path: "/x\nrm /etc/passwd", Contents: []byte("x")},
		"an inode as its name":  {Path: "/<2>", Contents: []byte("x")},
		"no room":               {Path: "/big", Contents: bytes.Repeat([]byte("x"), 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			image := linux(t, true)
			if name == "no room" {
				path := filepath.Join(t.TempDir(), "fs")
				require.NoError(t, os.WriteFile(path, image, 0o600))
				filler := filepath.Join(t.TempDir(), "filler")
				require.NoError(t, os.WriteFile(filler, make([]byte, 64<<20), 0o600))
				require.NoError(t, os.WriteFile(filler, bytes.Repeat([]byte("y"), 14<<20), 0o600))
				_ = exec.Command("debugfs", "-w", "-R", "write "+filler+" filler", path).Run()
				run(t, "", "e2fsck", "-fn", path)
				var err error
				image, err = os.ReadFile(path)
				require.NoError(t, err)
			}
			dir := instance(t, image, imageformat.Raw)
			_, err := Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: []contract.File{f}}, inspect)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Contains(t, cat(t, partitionOf(t, dir, 0), "/etc/passwd"), "root:x:0:0")
		})
	}
}

func TestSymlinksThatTurnInCirclesEnd(t *testing.T) {
	image := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(image, linux(t, true), 0o600))
	run(t, "", "debugfs", "-w", "-R", "symlink /loop /loop", image)
	g := guest{tree{&ext{image: image, work: t.TempDir(), writable: true}}}
	require.ErrorContains(t, g.put(t.Context(), file{path: "/loop/x"}), "too many symbolic links")
	require.NoError(t, g.close(t.Context()))
}

func TestAnSELinuxLabelStaysOnAReplacedFile(t *testing.T) {
	image := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(image, linux(t, true), 0o600))
	run(t, "", "debugfs", "-w", "-R", "ea_set /etc/shadow security.selinux system_u:object_r:shadow_t:s0", image)
	g := guest{tree{&ext{image: image, work: t.TempDir(), writable: true}}}
	require.NoError(t, g.injectPassword(t.Context(), "x"))
	require.NoError(t, g.close(t.Context()))
	require.Contains(t, run(t, "", "debugfs", "-R", "ea_get /etc/shadow security.selinux", image), "shadow_t")
	run(t, "", "e2fsck", "-fn", image)
}

func TestWhatAKilledInjectionLeftIsTakenAway(t *testing.T) {
	dir := instance(t, linux(t, true), imageformat.Raw)
	e, err := open(t.Context(), program.Limits{}, filepath.Join(dir, disk.RootName), filepath.Join(dir, workName), nil)
	require.NoError(t, err)
	_, err = e.wholeDisk()
	require.NoError(t, err)
	st, err := os.Stat(filepath.Join(dir, workName, "whole"))
	require.NoError(t, err)
	require.Zero(t, st.Size(), "what is exported is seen by the tools alone")
	e.daemon.Kill()
	_, err = e.daemon.End()
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, Cleanup(dir))
	require.NoError(t, Cleanup(dir))
	_, err = Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
	require.NoError(t, err)
}

// A debugfs that is killed leaves bitmaps half written under a superblock that says clean, and the check passed them by.
func TestAnInjectionThatWasCutOffIsRepairedBeforeItIsDoneAgain(t *testing.T) {
	torn := linux(t, true)
	fs := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(fs, torn, 0o600))
	said := run(t, "", "dumpe2fs", fs)
	at := regexp.MustCompile(`Block bitmap at (\d+)`).FindStringSubmatch(said)
	size := regexp.MustCompile(`Block size:\s+(\d+)`).FindStringSubmatch(said)
	require.NotNil(t, at)
	block, err := strconv.Atoi(at[1])
	require.NoError(t, err)
	bytes, err := strconv.Atoi(size[1])
	require.NoError(t, err)
	torn[block*bytes] ^= 0xff
	for name, c := range map[string]struct {
		image []byte
		root  int64
	}{
		"one filesystem": {torn, 0},
		"the second of two": {
			table(t, "start=2048 size=32768 type=83\nstart=36864 size=32768 type=83\n", map[int64][]byte{1: linux(t, false), 18: torn}), 18 << 20,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, c.image, imageformat.Raw)
			unfinished, err := begin(dir)
			require.NoError(t, err)
			require.False(t, unfinished)
			notes, err := Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
			require.NoError(t, err)
			require.Empty(t, notes)
			require.NoFileExists(t, filepath.Join(dir, unfinishedName))
			require.Contains(t, cat(t, partitionOf(t, dir, c.root), "/etc/network/interfaces"), "address 10.0.0.5")
		})
	}

	dir := instance(t, torn, imageformat.Raw)
	_, err = Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
	require.True(t, fault.Is(err, fault.Invalid), "an image that came so is refused: %v", err)
	require.FileExists(t, filepath.Join(dir, unfinishedName))
	require.NoError(t, Remove(dir))
	require.NoFileExists(t, filepath.Join(dir, unfinishedName))
}

// mbr is a sector with one entry and the mark.
func mbr(kind byte, start, length uint32) []byte {
	b := make([]byte, 1<<20)
	b[446+4] = kind
	binary.LittleEndian.PutUint32(b[446+8:], start)
	binary.LittleEndian.PutUint32(b[446+12:], length)
	b[510], b[511] = 0x55, 0xaa
	return b
}

func TestAPartitionTableNeverLeadsOutsideTheDisk(t *testing.T) {
	whole := []Partition{{0, 1 << 20, 0}}
	loop := mbr(5, 1, 100)
	copy(loop[512:], mbr(0x83, 1, 10)[:512])
	loop[512+446+16+4] = 5 // leads to itself
	for name, c := range map[string]struct {
		disk []byte
		want []Partition
	}{
		"within":        {mbr(0x83, 8, 16), []Partition{{8 * 512, 16 * 512, 1}}},
		"beyond":        {mbr(0x83, 1<<31, 16), whole},
		"too long":      {mbr(0x83, 8, 1<<31), whole},
		"empty":         {mbr(0x83, 8, 0), whole},
		"at the table":  {mbr(0x83, 0, 16), whole},
		"a GPT without": {mbr(0xee, 1, 100), nil},
		"logical":       {loop, []Partition{{2 * 512, 10 * 512, 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Partitions(bytes.NewReader(c.disk), int64(len(c.disk)))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAPasswordIsHashedAsTheGuestsLibcReadsIt(t *testing.T) {
	// The first example of https://www.akkadia.org/drepper/SHA-crypt.txt.
	const example = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
	require.True(t, matches(example, "Hello world!"))
	require.False(t, matches(example, "Hello world"))

	hash, err := crypt(md.AdminPass)
	require.NoError(t, err)
	require.Regexp(t, `^\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86}$`, hash)
	require.True(t, matches(hash, md.AdminPass))
}

func TestWhatAnImageHasForAHashCostsNoTime(t *testing.T) {
	for _, hash := range []string{
		"", "*", "!", "$6$", "$6$$", "$1$salt$hash", "$y$j9T$salt$hash",
		"$6$rounds=999999999$salt$hash",
		"$6$" + strings.Repeat("s", 1<<20) + "$hash",
	} {
		require.False(t, matches(hash, md.AdminPass))
	}
}

func FuzzPartitions(f *testing.F) {
	f.Add(mbr(0x83, 8, 16)[:4096])
	f.Add(mbr(5, 1, 16)[:4096])
	f.Add(append(mbr(0xee, 1, 16)[:512], "EFI PART"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := Partitions(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			if p.Start < 0 || p.Size < 0 || p.Start+p.Size > int64(len(b)) {
				t.Fatalf("%+v of %d bytes", p, len(b))
			}
		}
	})
}

// Key, network, metadata, password and five files, into a disk that has none of them.
func BenchmarkInject(b *testing.B) {
	image := linux(b, true)
	more := md
	more.Files = append(slices.Clone(md.Files), contract.File{Path: "/opt/five", Contents: bytes.Repeat([]byte("five\n"), 2000)})
	for b.Loop() {
		b.StopTimer()
		dir := instance(b, image, imageformat.QCOW2)
		b.StartTimer()
		if _, err := Inject(b.Context(), program.Limits{}, nil, dir, more, inspect); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWhereDataIsInjectedIsSaid(t *testing.T) {
	files := contract.InstanceMetadata{Files: []contract.File{{Path: "/etc/motd", Contents: []byte("new\n")}}}
	whole := linux(t, true)
	two := table(t, "start=2048 size=32768 type=83\nstart=36864 size=32768 type=83\n", map[int64][]byte{1: linux(t, false), 18: whole})
	for name, c := range map[string]struct {
		image     []byte
		partition int
		says      string // "" is taken
		at        int64
	}{
		"off":                       {whole, contract.InjectNothing, "build.inject_partition is -2", 0},
		"the whole disk":            {whole, contract.InjectWholeDisk, "", 0},
		"the whole disk is a table": {two, contract.InjectWholeDisk, "no ext or FAT filesystem where build.inject_partition says (0)", 0},
		"by number":                 {two, 2, "", 18 << 20},
		"the first, without a root": {two, 1, "", 1 << 20},
		"a number that is not":      {two, 3, "no ext or FAT filesystem where build.inject_partition says (3)", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := instance(t, c.image, imageformat.Raw)
			_, err := Inject(t.Context(), program.Limits{}, nil, dir, files, contract.InjectOptions{Partition: c.partition})
			if c.says != "" {
				require.True(t, fault.Is(err, fault.Invalid))
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "new\n", cat(t, partitionOf(t, dir, c.at), "/etc/motd"))
		})
	}
	notes, err := Inject(t.Context(), program.Limits{}, nil, t.TempDir(), contract.InstanceMetadata{AdminPass: "x"}, contract.InjectOptions{Partition: contract.InjectNothing})
	require.NoError(t, err)
	require.Len(t, notes, 1, "only files are owed")
}

func TestKeysOfAUserAndBackups(t *testing.T) {
	image := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(image, linux(t, true), 0o600))
	passwd := filepath.Join(t.TempDir(), "passwd")
	require.NoError(t, os.WriteFile(passwd, []byte("root:x:0:0::/root:/bin/sh\ndebian:x:70000:1001::/home/debian:/bin/sh\n"), 0o600))
	run(t, "rm /etc/passwd\nwrite "+passwd+" /etc/passwd\nmkdir /home\nmkdir /home/debian\nsif /etc/motd mtime 20260102030405\n", "debugfs", "-w", "-f", "-", image)
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	dir := instance(t, b, imageformat.Raw)
	some := contract.InstanceMetadata{KeyPairs: md.KeyPairs, Files: md.Files[:1]}
	for range 2 {
		notes, err := Inject(t.Context(), program.Limits{}, nil, dir, some, contract.InjectOptions{Partition: contract.InjectInspect, User: "debian"})
		require.NoError(t, err)
		require.Empty(t, notes)
	}
	fs := partitionOf(t, dir, 0)
	require.Contains(t, cat(t, fs, "/home/debian/.ssh/authorized_keys"), "me@here")
	require.Equal(t, "hello\n", cat(t, fs, "/etc/motd"))
	require.Equal(t, "old", cat(t, fs, "/etc/motd.20260102T030405Z"), "what was there is kept, once")
	for path, mode := range map[string]string{"/home/debian/.ssh": "directory    Mode:  0700", "/home/debian/.ssh/authorized_keys": "regular    Mode:  0600"} {
		stat := run(t, "", "debugfs", "-R", "stat "+path, fs)
		require.Contains(t, stat, "Type: "+mode)
		require.Regexp(t, `User:\s+70000\s+Group:\s+1001`, stat)
	}
	notes, err := Inject(t.Context(), program.Limits{}, nil, dir, some, contract.InjectOptions{Partition: contract.InjectInspect, User: "nobody-here"})
	require.NoError(t, err)
	require.Equal(t, []string{"the key mine for nobody-here not injected: the image has no user nobody-here"}, notes)
}

func TestWhatIsNewIsRootsAndWhatWasThereKeepsItsOwnerAndMode(t *testing.T) {
	image := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.WriteFile(image, linux(t, true), 0o600))
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte("ssh-rsa OLD\nssh-ed25519 AAAAC3 me@here"), 0o600))
	run(t, `rm /root/.ssh/authorized_keys
write `+keys+` /root/.ssh/authorized_keys
mkdir /etc/network
write `+keys+` /etc/network/interfaces
sif /etc/network/interfaces mode 0100600
sif /etc/network/interfaces mtime 20260102030405
sif /etc/motd mode 0104751
sif /etc/motd uid 33
sif /etc/motd gid 70000
`, "debugfs", "-w", "-f", "-", image)
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	dir := instance(t, b, imageformat.Raw)
	notes, err := Inject(t.Context(), program.Limits{}, nil, dir, md, inspect)
	require.NoError(t, err)
	require.Empty(t, notes)
	fs := partitionOf(t, dir, 0)
	for path, want := range map[string]string{
		"/etc/motd":                `Type: regular    Mode:  04751(?s:.*)User:\s+33\s+Group:\s+70000 `,
		`"/srv/a b"`:               `Type: directory    Mode:  0755(?s:.*)User:\s+0\s+Group:\s+0 `,
		`"/srv/a b/""deep""/file"`: `Type: regular    Mode:  0644(?s:.*)User:\s+0\s+Group:\s+0 `,
		"/meta.js":                 `Type: regular    Mode:  0644(?s:.*)User:\s+0\s+Group:\s+0 `,
		"/etc/network/interfaces":  `Type: regular    Mode:  0600`,
		"/etc/network/interfaces.20260102T030405Z": `Type: regular    Mode:  0600`,
	} {
		require.Regexp(t, want, run(t, "", "debugfs", "-R", "stat "+path, fs), path)
	}
	require.Equal(t, "ssh-rsa OLD\nssh-ed25519 AAAAC3 me@here", cat(t, fs, "/root/.ssh/authorized_keys"), "a key that is there is not told again")
}

func TestAGuestWithSELinuxIsToldToLabelItsFiles(t *testing.T) {
	plain := linux(t, true)
	for name, c := range map[string]struct {
		config string
		marked bool
	}{
		"enforcing":  {"# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", true},
		"permissive": {"SELINUXTYPE=targeted\n SELINUX=Permissive # for now\n", true},
		"disabled":   {"# SELINUX= can be: enforcing, permissive\nSELINUX=disabled\nSELINUXTYPE=enforcing\n", false},
		"no config":  {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "fs")
			require.NoError(t, os.WriteFile(image, plain, 0o600))
			commands := "mkdir /etc/selinux\n"
			if c.config != "" {
				config := filepath.Join(t.TempDir(), "config")
				require.NoError(t, os.WriteFile(config, []byte(c.config), 0o600))
				commands += "write " + config + " /etc/selinux/config\n"
			}
			run(t, commands, "debugfs", "-w", "-f", "-", image)
			b, err := os.ReadFile(image)
			require.NoError(t, err)
			dir := instance(t, b, imageformat.Raw)
			for range 2 {
				notes, err := Inject(t.Context(), program.Limits{}, nil, dir, contract.InstanceMetadata{Files: md.Files[:1]}, inspect)
				require.NoError(t, err)
				require.Empty(t, notes)
			}
			stat := run(t, "", "debugfs", "-R", "stat /.autorelabel", partitionOf(t, dir, 0))
			require.Equal(t, c.marked, strings.Contains(stat, "Type: regular    Mode:  0644"), stat)
		})
	}
}

func TestThisMachineCanInject(t *testing.T) {
	require.NoError(t, Trial(t.Context()))
}
