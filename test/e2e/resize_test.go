package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

var resizedGuest = []*regexp.Regexp{
	regexp.MustCompile(`MemTotal: +([0-9]+) kB`), regexp.MustCompile(`root-disk bytes=([0-9]+) `), regexp.MustCompile(`writable boots=([0-9]+)`),
}

func TestAResizedGuestHasMoreMemoryAndALargerDiskWithAllThatItWroteUntilThatIsReverted(t *testing.T) {
	r := newRig(t, system.Options{})
	large := r.makeFlavor(t, flavors.CreateOpts{Name: "m1.micro", RAM: 192, VCPUs: 1, Disk: ptr(2)})
	// It counts on its disk how often it has booted.
	s := r.create(t, servers.CreateOpts{
		Name: "web", ImageRef: r.kernelRamdisk(t, r.demoImages), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true),
		UserData: []byte("#!/bin/sh\ngrep MemTotal /proc/meminfo\n"),
	})
	before := r.active(t, s.ID)
	// boots waits until the guest has booted, by the log that it has begun, and says how large its memory and its disk are, and how often its
	// disk has booted.
	boots := func() (memoryMiB, diskGiB, times int) {
		t.Helper()
		var found []int
		system.Eventually(t, guestPatience, func() (bool, string) {
			log, err := servers.ShowConsoleOutput(t.Context(), r.demo, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
			if err != nil || !strings.Contains(log, "slipway-guest: ready in ") {
				return false, fmt.Sprintf("%v: %s", err, log)
			}
			found = nil
			for _, says := range resizedGuest {
				said := says.FindStringSubmatch(log)
				require.NotNil(t, said, log)
				n, err := strconv.Atoi(said[1])
				require.NoError(t, err)
				found = append(found, n)
			}
			return true, ""
		})
		return found[0] >> 10, found[1] >> 30, found[2]
	}
	becomes := func(status, flavor string) {
		t.Helper()
		var now *servers.Server
		system.Eventually(t, guestPatience, func() (bool, string) {
			now = r.server(t, s.ID)
			return now.TaskState == "" && now.Status == status, now.Status + ", " + now.TaskState + ": " + r.progress(s.ID)
		})
		require.Equal(t, lifecycle.Running, int(now.PowerState))
		require.Equal(t, before.Addresses, now.Addresses)
		require.Equal(t, flavor, now.Flavor["original_name"])
	}
	small, disk, times := boots()
	require.Equal(t, []int{1, 1}, []int{disk, times})

	require.NoError(t, servers.Resize(t.Context(), r.demo, s.ID, servers.ResizeOpts{FlavorRef: large}).ExtractErr())
	becomes("VERIFY_RESIZE", "m1.micro")
	memory, disk, times := boots()
	require.Greater(t, memory, small+32)
	require.Equal(t, []int{2, 2}, []int{disk, times}, "what it wrote is there")

	require.NoError(t, servers.RevertResize(t.Context(), r.demo, s.ID).ExtractErr())
	becomes("ACTIVE", "m1.nano")
	memory, disk, times = boots()
	require.Equal(t, []int{small, 1, 2}, []int{memory, disk, times}, "the second boot of the old disk")

	require.NoError(t, servers.Resize(t.Context(), r.demo, s.ID, servers.ResizeOpts{FlavorRef: large}).ExtractErr())
	becomes("VERIFY_RESIZE", "m1.micro")
	memory, disk, times = boots()
	require.Greater(t, memory, small+32)
	require.Equal(t, []int{2, 3}, []int{disk, times})
	require.NoError(t, servers.ConfirmResize(t.Context(), r.demo, s.ID).ExtractErr())
	becomes("ACTIVE", "m1.micro")
	r.deleted(t, s.ID)
}
