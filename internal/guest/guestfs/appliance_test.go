package guestfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// makeDisks lays three disks out as distributions do. What it makes them with is libguestfs's and Linux's, and nothing of Slipway's.
const makeDisks = `
add-drive %[1]s/xfs format:raw
add-drive %[1]s/btrfs format:raw
add-drive %[1]s/lvm format:raw
run
part-init /dev/sda gpt
part-add /dev/sda p 2048 34815
part-add /dev/sda p 34816 -2048
part-set-gpt-type /dev/sda 1 C12A7328-F81F-11D2-BA4B-00A0C93EC93B
mkfs vfat /dev/sda1
mkfs xfs /dev/sda2
mount /dev/sda2 /
tar-in %[1]s/tree.tar / xattrs:true
write /etc/fstab "/dev/vda2 / xfs defaults 0 0\n/dev/vda1 /boot/efi vfat defaults 0 0\n"
setxattr security.selinux "system_u:object_r:shadow_t:s0" 29 /etc/shadow
umount-all
part-init /dev/sdb mbr
part-add /dev/sdb p 2048 43007
part-add /dev/sdb p 43008 -1
mkfs ext4 /dev/sdb1
mkfs btrfs /dev/sdb2
mount /dev/sdb2 /
btrfs-subvolume-create /root
btrfs-subvolume-create /home
umount /
mount btrfsvol:/dev/sdb2/root /
tar-in %[1]s/tree.tar /
write /etc/fstab "/dev/vda2 / btrfs subvol=root 0 0\n/dev/vda2 /home btrfs subvol=home 0 0\n/dev/vda1 /boot ext4 defaults 0 0\n"
umount-all
part-init /dev/sdc mbr
part-add /dev/sdc p 2048 43007
part-add /dev/sdc p 43008 -1
mkfs ext4 /dev/sdc1
pvcreate /dev/sdc2
vgcreate vg /dev/sdc2
lvcreate root vg 64
lvcreate home vg 32
mkfs ext4 /dev/vg/root
mkfs ext4 /dev/vg/home
mount /dev/vg/root /
tar-in %[1]s/tree.tar /
write /etc/fstab "/dev/mapper/vg-root / ext4 defaults 0 0\n/dev/mapper/vg-home /home ext4 defaults 0 0\n/dev/vda1 /boot ext4 defaults 0 0\n"
umount-all
`

// fish has guestfish do what no Slipway stands beside.
func fish(t testing.TB, a *Appliance, script string) string {
	t.Helper()
	return run(t, script, "env", append(a.environment(), "guestfish")...)
}

func TestWhoWaitsForTheMachineToBeTriedGivesUpWithHisOwnTime(t *testing.T) {
	a := NewAppliance(t.TempDir())
	a.trying <- struct{}{} // another tries it
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Ready(ctx), context.DeadlineExceeded)
}

func TestATrialThatFailedIsMadeAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	a, busy := NewAppliance(filepath.Join(file, "none")), errors.New("the host was busy")
	a.tried, a.why = time.Now(), busy
	require.ErrorIs(t, a.Ready(t.Context()), busy)
	a.tried = a.tried.Add(-2 * again)
	err := a.Ready(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, busy)
	a.tried, a.why = a.tried.Add(-2*again), nil
	require.NoError(t, a.Ready(t.Context()), "one that worked is not")
}

// TestThroughLibguestfs needs it, which is a kernel and a hundred packages: `make test-libguestfs` installs them and runs it.
func TestThroughLibguestfs(t *testing.T) {
	var none *Appliance
	require.ErrorContains(t, none.Ready(t.Context()), "the host has no libguestfs")
	if !testenv.Libguestfs() {
		fmt.Println("SLIPWAY-NOT-RUN: injection into xfs, btrfs and LVM through libguestfs: make test-libguestfs installs it and does it")
		return
	}
	a := NewAppliance(filepath.Join(t.TempDir(), "appliance"))
	require.NoError(t, a.Ready(t.Context()), "it works here")

	work := t.TempDir()
	tree := linuxTree(t, true)
	require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\ndebian:x:70000:1001::/home/debian:/bin/sh\n"), 0o644)) //nolint:gosec // G306: as in a guest
	require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/os-release"), []byte("ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n"), 0o644))                     //nolint:gosec // G306: as above
	for _, dir := range []string{"bin", "home", "boot/efi"} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, dir), 0o755)) //nolint:gosec // G301: as in a guest
	}
	require.NoError(t, os.Chtimes(filepath.Join(tree, "etc/motd"), epoch, epoch))
	run(t, "", "tar", "-C", tree, "--owner=0", "--group=0", "-cf", filepath.Join(work, "tree.tar"), ".")
	const size = 400 << 20
	for _, name := range []string{"xfs", "btrfs", "lvm"} {
		require.NoError(t, os.WriteFile(filepath.Join(work, name), nil, 0o600))
		require.NoError(t, os.Truncate(filepath.Join(work, name), size))
	}
	fish(t, a, fmt.Sprintf(makeDisks, work))
	hostilePaths(t, a, work)
	hostileBytes(t, a)
	fullHost(t, a, work)

	layouts := []struct {
		name      string
		partition int
		root      string // as guestfish mounts it
		home      string // what is mounted at /home; "" is the root
		check     string
	}{
		{"xfs", 2, "/dev/sda2", "", "xfs_repair -n /dev/sda2"},
		{"btrfs", contract.InjectInspect, "btrfsvol:/dev/sdb2/root", "btrfsvol:/dev/sdb2/home", "btrfs check --readonly /dev/sdb2"},
		{"lvm", contract.InjectInspect, "/dev/vg/root", "/dev/vg/home", "e2fsck -fn /dev/vg/root && e2fsck -fn /dev/vg/home"},
	}
	script := ""
	for i, l := range layouts {
		t.Run("everything is injected into "+l.name, func(t *testing.T) {
			dir := instanceOf(t, filepath.Join(work, l.name), size, imageformat.QCOW2)
			base, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
			require.NoError(t, err)
			before := sum(t, base)
			for range 1 + i%2 { // again, where everything is there
				notes, err := Inject(t.Context(), program.Limits{}, a, dir, md, contract.InjectOptions{Partition: l.partition, User: "debian"})
				require.NoError(t, err)
				require.Empty(t, notes)
			}
			require.Equal(t, before, sum(t, base), "the image of all servers is as it was")
			require.NoFileExists(t, "/tmp/slipway-must-not-exist")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1, "only the disk is left")
			run(t, "", "qemu-img", "check", "-q", "-f", "qcow2", filepath.Join(dir, disk.RootName))
			run(t, "", "qemu-img", "convert", "-f", "qcow2", "-O", "raw", filepath.Join(dir, disk.RootName), filepath.Join(work, l.name))
		})
		script += fmt.Sprintf("echo \"== %s\"\nmount-ro %s /\n", l.name, l.root)
		if l.home != "" {
			script += "mount-ro " + l.home + " /home\n"
		}
		script += readBack + "umount-all\ndebug sh \"(" + l.check + ") 2>&1 || echo DAMAGED\"\n"
	}
	disks := ""
	for _, l := range layouts {
		disks += "add-drive " + filepath.Join(work, l.name) + " format:raw\n"
	}
	said := strings.Split("\n"+fish(t, a, disks+"run\n"+script), "\n== ")[1:]
	for i, l := range layouts {
		t.Run("and is read back from "+l.name, func(t *testing.T) {
			title, text, _ := strings.Cut(said[i], "\n")
			require.Equal(t, l.name, title)
			t.Log(text)
			for _, want := range []string{
				"ssh-rsa OLD\n\n# The following ssh key was injected by Slipway\nssh-ed25519 AAAAC3 me@here\n",
				"debian:\n\n# The following ssh key was injected by Slipway\nssh-ed25519 AAAAC3 me@here\n\n",
				`{"role":"web"}`, "motd:\nhello\n", "motd.20260102T030400Z:\nold\n", "00 01 02 ff", "through:\nthrough\n", "escape:\ninside\n", "    address 10.0.0.5\n",
				"\nroot:$6$", ":19000:0:99999:7:::\n",
			} {
				require.Contains(t, text, want)
			}
			for _, mode := range []string{
				`drwx------ +\d+ 0 +0 .* \.\n(.*\n)*-rw------- +\d+ 0 +0 .* authorized_keys\n`,
				`drwx------ +\d+ 70000 +1001 .* \.\n(.*\n)*-rw------- +\d+ 70000 +1001 .* authorized_keys\n`,
				`-rw------- .* motd\n`, `-rw------- .* motd\.20260102T030400Z\n`, `-rw-r-----\.? .* shadow\n`, `drwxr-xr-x +\d+ 0 +0 .* a b\n`, `-rw-r--r-- +\d+ 0 +0 .* meta\.js\n`,
			} {
				require.Regexp(t, mode, text)
			}
			require.Equal(t, l.name == "xfs", strings.Contains(text, "attrval: system_u:object_r:shadow_t:s0"), "shadow keeps its label")
			require.NotContains(t, text, "slipway-injected", "nothing stays that was on its way")
			require.NotContains(t, text, "DAMAGED")
		})
	}
}

const readBack = `
cat /root/.ssh/authorized_keys
echo debian:
cat /home/debian/.ssh/authorized_keys
cat /meta.js
echo "motd:"
cat /etc/motd
echo "motd.20260102T030400Z:"
cat /etc/motd.20260102T030400Z
hexdump "/srv/a b/\"deep\"/file"
echo "through:"
cat /real/through
echo "escape:"
cat /tmp/slipway-must-not-exist
cat /etc/network/interfaces
cat /etc/shadow
ll /root/.ssh
ll /home/debian/.ssh
ll /etc
ll /srv
ll /
find /
-getxattrs /etc/shadow
`

// What is in the way of debugfs is not in Linux's: a name may be any.
var takenByLinux = []string{"a link to an inode", "an inode"}

func hostilePaths(t *testing.T, a *Appliance, work string) {
	dir := instanceOf(t, filepath.Join(work, "xfs"), 400<<20, imageformat.Raw)
	e, err := open(t.Context(), program.Limits{}, filepath.Join(dir, disk.RootName), filepath.Join(dir, workName), a)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.close()) }()
	g, err := e.mount(t.Context(), program.Limits{}, a, 2)
	require.NoError(t, err)
	defer func() { require.NoError(t, g.close(t.Context())) }()
	m := g.filesystem.(tree).posix.(*mounted)
	tried := 0
	for name, c := range hostile {
		commands, ok := inLinux(c.debugfs)
		if !ok || c.bytes != nil {
			continue // it is about ext's own structures
		}
		tried++
		t.Run("hostile: "+name, func(t *testing.T) {
			_, err := m.run(t.Context(), commands...)
			require.NoError(t, err)
			path := c.path
			if path == "" {
				path = "/etc/new"
			}
			want := c.want
			if slices.Contains(takenByLinux, name) {
				want = takes
			}
			err = g.put(t.Context(), file{path: path, contents: []byte("injected"), newMode: 0o644})
			if want == refuses {
				require.Error(t, err)
				require.False(t, isHostFault(t.Context(), err), "%v", err)
			} else {
				require.NoError(t, err)
				got, err := g.read(t.Context(), path)
				require.NoError(t, err)
				require.Equal(t, "injected", string(got))
			}
			_, err = m.run(t.Context(), "rm-rf /l", "rm-rf /d", "rm-rf /a", "rm-rf /b")
			require.NoError(t, err)
		})
	}
	require.Greater(t, tried, 25)
}

// inLinux is debugfs's symlink and mknod for guestfish.
func inLinux(debugfs string) (commands []string, ok bool) {
	if debugfs == "" {
		return nil, true
	}
	for c := range strings.SplitSeq(debugfs, "; ") {
		f := strings.SplitN(c, " ", 3)
		switch {
		case f[0] == "symlink":
			commands = append(commands, "ln-s "+fishQuote(strings.ReplaceAll(strings.Trim(f[2], `"`), `""`, `"`))+" "+f[1])
		case f[0] == "mknod" && f[2] == "p":
			commands = append(commands, "mkfifo 0666 /"+f[1])
		case f[0] == "mknod":
			commands = append(commands, "mknod-"+f[2][:1]+" 0666"+f[2][1:]+" /"+f[1])
		default:
			return nil, false
		}
	}
	return commands, true
}

// hostileBytes are filesystems that Linux is to choke on, in the machine.
func hostileBytes(t *testing.T, a *Appliance) {
	noise := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // G404: the same in each run
	noisy := func(magic string, at int) []byte {
		b := make([]byte, 64<<20)
		for i := range 8 << 20 {
			b[i] = byte(noise.Uint32())
		}
		copy(b[at:], magic)
		return b
	}
	for name, c := range map[string]struct {
		magic     string
		at        int
		partition int
	}{
		"xfs that is noise":   {"XFSB", 0, contract.InjectWholeDisk},
		"btrfs that is noise": {"_BHRfS_M", 64<<10 + 64, contract.InjectWholeDisk},
		"LVM that is noise":   {"LABELONE", 512, contract.InjectInspect},
	} {
		t.Run("hostile: "+name, func(t *testing.T) {
			dir := instance(t, noisy(c.magic, c.at), imageformat.Raw)
			_, err := Inject(t.Context(), program.Limits{}, a, dir, contract.InstanceMetadata{Files: md.Files[:1]}, contract.InjectOptions{Partition: c.partition})
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.ErrorContains(t, err, "Use a config drive")
			t.Log(errors.Unwrap(err))
			run(t, "", "qemu-img", "check", "-q", "-f", "qcow2", filepath.Join(dir, disk.RootName))
		})
	}
}

func fullHost(t *testing.T, a *Appliance, work string) {
	t.Run("a full host is not the image's fault", func(t *testing.T) {
		dir := instanceOf(t, filepath.Join(work, "xfs"), 400<<20, imageformat.Raw)
		small := smallDisk(t, dir)
		_, err := Inject(t.Context(), program.Limits{}, a, small, contract.InstanceMetadata{Files: tooMuch()}, contract.InjectOptions{Partition: 2})
		require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
		require.ErrorContains(t, err, "the host's disk is full")
	})
}
