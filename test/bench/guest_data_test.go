package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

const (
	drives     = 40 // how often a config drive is made: one is short
	injections = 15
	// What they may take: a drive by what genisoimage takes alone.
	driveTarget     = 1.3
	injectionTarget = 400 * time.Millisecond
)

// guestDataReport is what was measured of what guests are given.
type guestDataReport struct {
	drive, bareDrive, bareDriveSync series
	injection, bareInjection        series
}

var guestData = contract.InstanceMetadata{
	ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", ProjectID: "p", Name: "bench", Hostname: "bench", AvailabilityZone: "nova",
	AdminPass: "secret", Seed: []byte("a seed"), UserData: []byte("#!/bin/sh\necho hello\n"),
	KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAAC3 me@here", Type: "ssh"}},
	Files:    []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}},
	Ports: []contract.Port{{
		ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "n1", MAC: "fa:16:3e:9c:bf:3d", MTU: 1450,
		Addresses: []contract.Address{{IP: "10.0.0.5", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.2"}}},
	}},
}

// benchDrive makes a config drive, and one of the same files with genisoimage alone, by turns. Alone it finds the files written.
func benchDrive(b *testing.B, r *report) {
	dir, tree := b.TempDir(), b.TempDir()
	files, err := metadata.Files(guestData, nil)
	require.NoError(b, err)
	for _, f := range files {
		lay(b, filepath.Join(tree, f.Path), string(f.Contents))
	}
	bare := filepath.Join(dir, "bare")
	alone := []string{"genisoimage", "-quiet", "-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-J", "-r", "-V", "config-2", "-o", bare, tree}
	for range drives {
		r.drive = append(r.drive, measured(func() {
			require.NoError(b, configdrive.Build(b.Context(), program.Limits{}, dir, configdrive.ISO9660, nil, guestData))
		}))
		require.NoError(b, configdrive.Remove(dir))

		r.bareDrive = append(r.bareDrive, measured(func() { shell(b, "", alone...) }))
		require.NoError(b, os.Remove(bare))

		r.bareDriveSync = append(r.bareDriveSync, measured(func() {
			shell(b, "", alone...)
			shell(b, "", "sync", bare, dir)
		}))
		require.NoError(b, os.Remove(bare))
	}
}

// benchInjection injects a key, the network and five files into the ext4 filesystem of a root disk, and has debugfs alone do the
// same, by turns. Alone it is given one list of commands, by one who knows what is there, on a file that is no qcow2.
func benchInjection(b *testing.B, r *report) {
	dir, tree := b.TempDir(), b.TempDir()
	for path, contents := range map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/network/interfaces": "", "root/.profile": ""} {
		lay(b, filepath.Join(tree, path), contents)
	}
	image := filepath.Join(dir, "image")
	shell(b, "", "mkfs.ext4", "-q", "-d", tree, image, "256M")
	md := contract.InstanceMetadata{ServerID: guestData.ServerID, KeyPairs: guestData.KeyPairs, Ports: guestData.Ports}
	commands := []string{
		"mkdir /root/.ssh", "set_inode_field /root/.ssh mode 040700", "cd /root/.ssh", "write " + filepath.Join(dir, "key") + " authorized_keys",
		"set_inode_field /root/.ssh/authorized_keys mode 0100600", "cd /etc/network", "rm interfaces", "write " + filepath.Join(dir, "network") + " interfaces",
	}
	lay(b, filepath.Join(dir, "key"), guestData.KeyPairs[0].PublicKey)
	lay(b, filepath.Join(dir, "network"), metadata.Interfaces(guestData.Ports))
	for i := range 5 {
		name := fmt.Sprintf("file%d", i)
		md.Files = append(md.Files, contract.File{Path: "/etc/" + name, Contents: []byte(strings.Repeat("x", 1000*i))})
		lay(b, filepath.Join(dir, name), strings.Repeat("x", 1000*i))
		commands = append(commands, "cd /etc", "write "+filepath.Join(dir, name)+" "+name)
	}
	for i := range injections {
		instance := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(b, os.Mkdir(instance, 0o700))
		base := disk.Base{Path: image, Format: imageformat.Raw, VirtualBytes: 256 << 20}
		require.NoError(b, disk.Maker{}.Root(b.Context(), instance, base, 1<<30, false))
		r.injection = append(r.injection, measured(func() {
			notes, err := guestfs.Inject(b.Context(), program.Limits{}, nil, instance, md, contract.InjectOptions{Partition: contract.InjectInspect})
			require.NoError(b, err)
			require.Empty(b, notes)
		}))

		bare := filepath.Join(instance, "bare")
		shell(b, "", "cp", "--sparse=always", image, bare)
		r.bareInjection = append(r.bareInjection, measured(func() {
			shell(b, "", "e2fsck", "-p", bare)
			shell(b, strings.Join(commands, "\n")+"\n", "debugfs", "-w", "-f", "-", bare)
		}))
	}
}

func measured(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func shell(b *testing.B, stdin string, command ...string) {
	cmd := exec.CommandContext(b.Context(), command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s", out)
}

func lay(b *testing.B, path, contents string) {
	require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(b, os.WriteFile(path, []byte(contents), 0o644))
}

func (r *guestDataReport) rows(line func(what string, ours, raw any, nova string)) {
	if len(r.drive) > 0 {
		line("a config drive, iso9660", r.drive, r.bareDrive, "")
		line("the same, bare tools with `sync`", "", r.bareDriveSync, "")
	}
	if len(r.injection) > 0 {
		line("injection of a key, the network and five files, ext4", r.injection, r.bareInjection, "")
	}
}

func (r *guestDataReport) text() string {
	var w strings.Builder
	if len(r.drive) > 0 {
		fmt.Fprintf(&w, "\nA config drive takes %.2f times as long as `genisoimage` alone, which finds the files written and does not sync, and %.2f times as\n"+
			"long where `sync` follows it. It may take %.1f times as long.\n", times(r.drive, r.bareDrive), times(r.drive, r.bareDriveSync), driveTarget)
	}
	if len(r.injection) > 0 {
		fmt.Fprintf(&w, "\nAn injection may take %d ms. The bare tools are `e2fsck` and one run of `debugfs` on a raw file, unconfined, whose commands know what is\n"+
			"there. Slipway exports the qcow2, looks where each path leads, and reads back what it wrote.\n", injectionTarget.Milliseconds())
	}
	return w.String()
}
