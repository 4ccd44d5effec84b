package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServersThatKeepAHostsDisksBusyAreCounted(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	h, other := w.host(t, "h1", 8, 8192, 100), w.host(t, "h2", 8, 8192, 100)
	for i, task := range []string{"spawning", "rebooting", "image_snapshot"} {
		v := w.record(t, "web")
		require.NoError(t, w.put(v, h))
		require.NoError(t, w.exec(ctx, "UPDATE servers SET task_state = $2 WHERE id = $1", v.ID, task))
		if i == 0 { // which is built there and leaves the other one
			require.NoError(t, w.exec(ctx, `INSERT INTO placements (id, server_id, host_id, role, vcpus, memory_mib, disk_gib, created_at)
				VALUES ('left', $1, $2, 'left', 1, 1, 1, now())`, v.ID, other.ID))
		}
	}
	hosts, err := w.ListHostsForBuild(ctx, time.Now())
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{hosts[0].IOOps, hosts[1].IOOps})
	zones, err := w.HostZones(ctx)
	require.NoError(t, err)
	require.Equal(t, []HostZone{{"nova", true, []string{"x86_64"}}}, zones)
}
