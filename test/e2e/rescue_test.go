package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestARescuedServerBootsAnotherDiskAndAfterwardsItsOwn(t *testing.T) {
	r := newRig(t, system.Options{})
	// It counts on its disk how often it has booted, and boots of whichever disk is the first.
	guest := r.kernelRamdisk(t, r.demoImages)
	disk := r.upload(t, r.demoImages, images.CreateOpts{
		Name: "to-the-rescue", DiskFormat: "qcow2", ContainerFormat: "bare", Properties: map[string]string{"hw_rescue_device": "disk", "hw_rescue_bus": "scsi"},
	}, filepath.Join(testenv.Guest(t), "slipway-demo.qcow2"))
	flavor := r.makeFlavor(t, flavors.CreateOpts{Name: "with-swap", RAM: 128, VCPUs: 1, Disk: ptr(1), Swap: ptr(64)})
	s := r.create(t, servers.CreateOpts{Name: "web", ImageRef: guest, FlavorRef: flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	before := r.active(t, s.ID)
	says := func(line string) {
		t.Helper()
		system.Eventually(t, guestPatience, func() (bool, string) {
			log, err := servers.ShowConsoleOutput(t.Context(), r.demo, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
			return err == nil && strings.Contains(log, line), fmt.Sprintf("%v: %s", err, log)
		})
	}
	becomes := func(status string) *servers.Server {
		t.Helper()
		var now *servers.Server
		system.Eventually(t, guestPatience, func() (bool, string) {
			now = r.server(t, s.ID)
			return now.TaskState == "" && now.Status == status, now.Status + ", " + now.TaskState + ": " + r.progress(s.ID)
		})
		require.Equal(t, lifecycle.Running, int(now.PowerState))
		require.Equal(t, before.Addresses, now.Addresses)
		require.Equal(t, before.Image, now.Image)
		return now
	}
	says("writable boots=1")

	password, err := servers.Rescue(t.Context(), r.demo, s.ID, servers.RescueOpts{RescueImageRef: disk, AdminPass: "to the rescue"}).Extract()
	require.NoError(t, err)
	require.Equal(t, "to the rescue", password)
	becomes("RESCUE")
	// Of a disk behind all that the server has, which stays where it was.
	console := strings.Join(r.console(t, s.ID), "\n")
	for _, line := range []string{
		"boot image=whole-disk", "root-disk bytes=[0-9]+ dev=sda$", "disk bytes=1073741824 dev=vda$", "swap-disk bytes=67108864 dev=vdb$", "config-drive dev=sr0", "uuid=" + s.ID,
	} {
		require.Regexp(t, "(?m)^"+line, console)
	}

	require.NoError(t, servers.Unrescue(t.Context(), r.demo, s.ID).ExtractErr())
	becomes("ACTIVE")
	says("writable boots=2")

	_, err = servers.Rescue(t.Context(), r.demo, s.ID, servers.RescueOpts{}).Extract()
	require.NoError(t, err)
	becomes("RESCUE")
	says("disk bytes=16777216 dev=vda") // of its own image, anew
	says("root-disk bytes=1073741824 dev=vdb")
	r.deleted(t, s.ID)
}
