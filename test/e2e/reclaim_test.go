package e2e

import (
	"context"
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestWhatWasDeletedAndNotRestoredIsReclaimedByTheScheduleAndLeavesNothing(t *testing.T) {
	r := newRig(t, system.Options{Settings: map[string]any{
		"build": map[string]any{"reclaim_interval": "5s"}, "housekeeping": map[string]any{"every": "1s"},
	}})
	t.Cleanup(func() { // they would outlive the test
		for _, id := range []string{ids.ReclaimSchedule(r.ControlQueue()), ids.HousekeepingSchedule(r.ControlQueue())} {
			require.NoError(t, r.temporal.ScheduleClient().GetHandle(context.Background(), id).Delete(context.Background()))
		}
	})
	image := r.upload(t, r.demoImages, images.CreateOpts{
		Name: "listens-to-nobody", DiskFormat: "raw", ContainerFormat: "bare", Properties: map[string]string{"os_shutdown_timeout": "0"},
	}, "", noise(1<<20)...)
	becomes := func(id, status string) {
		t.Helper()
		system.Eventually(t, buildPatience, func() (bool, string) {
			s := r.server(t, id)
			return s.Status == status && s.TaskState == "", s.Status + ", " + s.TaskState + ": " + r.progress(id)
		})
	}
	boot := func(name string) string {
		id := r.create(t, servers.CreateOpts{Name: name, ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)}).ID
		r.active(t, id)
		r.idle(t, id)
		return id
	}
	kept := boot("kept")
	before := r.World(t)
	running, rescued := boot("running"), boot("rescued")
	_, err := servers.Rescue(t.Context(), r.demo, rescued, servers.RescueOpts{}).Extract()
	require.NoError(t, err)
	becomes(rescued, "RESCUE")
	r.idle(t, rescued)

	for _, id := range []string{running, rescued} {
		require.NoError(t, servers.Delete(t.Context(), r.demo, id).ExtractErr())
	}
	for _, id := range []string{running, rescued} {
		r.gone(t, id) // nobody asks again
		actions, err := r.Store.Actions(t.Context(), id)
		require.NoError(t, err)
		var deletes []string
		for _, a := range actions {
			if a.Action == "delete" {
				deletes = append(deletes, a.RequestID)
			}
		}
		require.Len(t, deletes, 2, "its owner's delete, and the schedule's, of %+v", actions)
		soft, err := r.Store.Action(t.Context(), id, deletes[1])
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(soft.Events, func(e models.InstanceActionEvent) bool { return e.Event == contract.StopDomain }), "%+v", soft.Events)
	}
	for _, table := range []string{"claims", "placements", "ports"} {
		require.Equal(t, before[table], r.World(t)[table], table)
	}
	require.Equal(t, "ACTIVE", r.server(t, kept).Status, "it is nobody's to reclaim")
	out, errs, code := r.Slipway(t, "audit", "-o", "json")
	require.Zero(t, code, out+errs)
}
