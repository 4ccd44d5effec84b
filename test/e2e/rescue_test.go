package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestARescuedServerBootsAnotherDiskAndAfterwardsItsOwn(t *testing.T) {
	r := newRig(t, system.Options{})
	// It counts on its disk how often it has booted, and boots of whichever disk is the first.
	guest := r.kernelRamdisk(t, r.demoImages)
	disk := r.wholeDisk(t, r.demoImages)
	s := r.create(t, servers.CreateOpts{Name: "web", ImageRef: guest, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
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
	require.Contains(t, strings.Join(r.console(t, s.ID), "\n"), "image=whole-disk")

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
