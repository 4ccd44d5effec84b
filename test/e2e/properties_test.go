package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

// lookAround has a guest print what machine it finds itself in: its virtio devices by number (1 is a network card, 2 a disk,
// 3 a serial port, 4 a source of random bytes, 8 a SCSI controller, 16 a display adapter), and whether UEFI started it.
const lookAround = `#!/bin/sh
for device in /sys/bus/virtio/devices/*; do read -r id <$device/device; echo virtio $((id)); done
for port in /sys/class/virtio-ports/*; do [ -f $port/name ] && read -r name <$port/name && echo port $name; done
for nic in /sys/bus/pci/devices/*/virtio*/net; do [ -d $nic ] && echo nic ${nic%/virtio*}; done
[ -d /sys/firmware/efi ] && echo started by uefi
echo looked around
`

// with makes an image with properties, for the length of a test, of what a guest's files hold.
func (r *rig) with(t *testing.T, o images.CreateOpts, file string, properties map[string]string) string {
	t.Helper()
	o.Properties = properties
	id := r.upload(t, r.demoImages, o, filepath.Join(testenv.Guest(t), file))
	t.Cleanup(func() {
		require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), r.demoImages, id).ExtractErr())
	})
	return id
}

// bootsOnTheHardwareOfItsImage also asks for no config drive, which its image overrules.
func bootsOnTheHardwareOfItsImage(t *testing.T, r *rig, _ string) {
	image := r.with(t, images.CreateOpts{Name: "on-scsi", DiskFormat: "qcow2", ContainerFormat: "bare"}, "slipway-demo.qcow2", map[string]string{
		"architecture": "amd64", "hw_machine_type": "pc", "hw_disk_bus": "scsi", "hw_cdrom_bus": "scsi", "hw_rng_model": "virtio",
		"hw_video_model": "virtio", "hw_qemu_guest_agent": "yes", "img_config_drive": "mandatory", "os_type": "linux",
		"os_require_quiesce": "yes", "of_my_own": "kept",
	})
	networks := r.on()
	networks[0].Tag = "front"
	s := r.create(t, servers.CreateOpts{
		Name: "on-scsi", ImageRef: image, FlavorRef: r.flavor, Networks: networks, ConfigDrive: ptr(false), UserData: []byte(lookAround),
	})
	require.True(t, r.active(t, s.ID).ConfigDrive, "the image cannot do without")
	lines := r.console(t, s.ID)
	for _, want := range []string{
		"config-drive dev=sr0 fs=iso9660", "root-disk bytes=1073741824 dev=sda",
		"user-data> virtio 1", "user-data> virtio 3", "user-data> virtio 4", "user-data> virtio 8", "user-data> virtio 16",
		"user-data> nic /sys/bus/pci/devices/0000:00:10.0", // where devices in meta_data.json has a tagged NIC
		"user-data> looked around",
	} {
		require.Contains(t, lines, want)
	}
	require.NotContains(t, lines, "user-data> virtio 2", "no disk is on virtio")
	require.Contains(t, r.domains(t)[s.ID], "org.qemu.guest_agent.0")
	kept, err := images.Get(t.Context(), r.demoImages, image).Extract()
	require.NoError(t, err)
	require.Equal(t, "kept", kept.Properties["of_my_own"])
}

// bootsByUEFI has the firmware start the kernel itself: the demo guest's own disk has a boot loader for BIOS alone, and its
// kernel no driver for q35's SATA.
func bootsByUEFI(t *testing.T, r *rig, _ string) {
	kernel := r.with(t, images.CreateOpts{Name: "uefi-kernel", DiskFormat: "aki", ContainerFormat: "aki"}, "vmlinuz", nil)
	ramdisk := r.with(t, images.CreateOpts{Name: "uefi-ramdisk", DiskFormat: "ari", ContainerFormat: "ari"}, "initramfs.cpio.gz", nil)
	image := r.with(t, images.CreateOpts{Name: "uefi", DiskFormat: "ami", ContainerFormat: "ami"}, "root.img", map[string]string{
		"kernel_id": kernel, "ramdisk_id": ramdisk, "os_command_line": "console=ttyS0", "hw_firmware_type": "uefi", "hw_machine_type": "q35",
		"hw_cdrom_bus": "scsi",
	})
	flavor := r.makeFlavor(t, flavors.CreateOpts{Name: "uefi", RAM: 256, VCPUs: 1, Disk: ptr(1)})
	t.Cleanup(func() {
		require.NoError(t, flavors.Delete(context.WithoutCancel(t.Context()), r.admin, flavor).ExtractErr())
	})
	s := r.create(t, servers.CreateOpts{
		Name: "uefi", ImageRef: image, FlavorRef: flavor, Networks: "none", ConfigDrive: ptr(true), UserData: []byte(lookAround),
	})
	r.active(t, s.ID)
	lines := r.console(t, s.ID)
	require.Contains(t, lines, "user-data> started by uefi")
	require.Regexp(t, `(?m)^boot image=kernel-ramdisk `, strings.Join(lines, "\n"))
}

func refusesAnImageThatCannotBoot(t *testing.T, r *rig, _ string) {
	image := r.with(t, images.CreateOpts{Name: "no-ide", DiskFormat: "qcow2", ContainerFormat: "bare"}, "slipway-demo.qcow2",
		map[string]string{"hw_machine_type": "q35", "hw_disk_bus": "ide"})
	_, err := servers.Create(t.Context(), r.demo, servers.CreateOpts{Name: "no-ide", ImageRef: image, FlavorRef: r.flavor, Networks: "none"}, nil).Extract()
	require.ErrorContains(t, err, "400")
	require.ErrorContains(t, err, "hw_disk_bus is ide, and machine type q35 (hw_machine_type) has no IDE controller")
	arm := r.with(t, images.CreateOpts{Name: "arm", DiskFormat: "qcow2", ContainerFormat: "bare"}, "slipway-demo.qcow2", map[string]string{"architecture": "arm64"})
	s := r.create(t, servers.CreateOpts{Name: "arm", ImageRef: arm, FlavorRef: r.flavor, Networks: "none"})
	failed := r.settled(t, s.ID)
	require.Equal(t, "ERROR", failed.Status)
	require.Contains(t, failed.Fault.Message, "ImagePropertiesFilter removed")
	require.Contains(t, failed.Fault.Message, "cannot run aarch64")
}
