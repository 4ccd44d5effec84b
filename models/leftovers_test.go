package models

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAHostIsBackWhenItRegistersOrReportsAfterItWasGivenUp(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	back := func() time.Time {
		got, err := w.Host(ctx, h.ID)
		require.NoError(t, err)
		require.NotNil(t, got.BackAt)
		return *got.BackAt
	}
	began := h.SeenAt
	require.Equal(t, began, back(), "it registered")
	report := func(at time.Time, givenUpAfter time.Duration) {
		require.NoError(t, w.HeartbeatHost(ctx, h.ID, HostHeartbeat{Ready: true, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 40, GivenUpAfter: givenUpAfter}, at))
	}
	report(began.Add(30*time.Second), 30*time.Second)
	require.Equal(t, began, back(), "it was slow, and nobody had given it up")
	returned := began.Add(30*time.Second + 30*time.Second + time.Millisecond)
	report(returned, 30*time.Second)
	require.Equal(t, returned, back())
	report(returned.Add(10*time.Second), 30*time.Second)
	require.Equal(t, returned, back(), "it stays back")
	report(returned.Add(time.Hour), 0)
	require.Equal(t, returned, back())

	h.SeenAt = returned.Add(2 * time.Hour)
	_, err := w.RegisterHost(ctx, h)
	require.NoError(t, err)
	require.Equal(t, h.SeenAt, back())

	admitted, err := w.RegisterHost(ctx, Host{Hostname: "n2", TokenHash: tokenOf("n2"), CPURatio: 1, RAMRatio: 1, DiskRatio: 1})
	require.NoError(t, err)
	require.Nil(t, admitted.BackAt, "it was never heard of")
}

func TestWhatABuildOrADeleteLeftOnAHostIsCountedUntilItsAllocationIsGone(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	lost, other := w.host(t, "lost", 16, 16384, 160), w.host(t, "other", 16, 16384, 160)
	leftovers := func() (all [2]int) {
		hosts, err := w.ListHosts(ctx)
		require.NoError(t, err)
		require.Equal(t, "lost", hosts[0].Hostname)
		forBuild, err := w.ListHostsForBuild(ctx, lost.SeenAt)
		require.NoError(t, err)
		require.Equal(t, []int{hosts[0].Leftovers, hosts[1].Leftovers}, []int{forBuild[0].Leftovers, forBuild[1].Leftovers}, "both are back since then")
		return [2]int{hosts[0].Leftovers, hosts[1].Leftovers}
	}
	on := func(v Server, h Host, left ...string) {
		require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking", left...))
	}
	moved, failed, deleted, stays := w.record(t, "moved"), w.record(t, "failed"), w.record(t, "deleted"), w.record(t, "stays")
	for _, v := range []Server{moved, failed, deleted, stays} {
		on(v, lost)
	}
	require.Equal(t, [2]int{0, 0}, leftovers(), "they are built there")
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: stays.ID, PowerState: 1}))

	on(moved, other, "lost")
	require.Equal(t, [2]int{1, 0}, leftovers())
	require.NoError(t, w.FailServer(ctx, failed.ID, "req-"+failed.ID, ServerFault{Code: 500, Message: "x"}, nil))
	require.Equal(t, [2]int{2, 0}, leftovers())
	require.NoError(t, w.RemoveServer(ctx, deleted.ID, "req-"+deleted.ID, nil, now()))
	require.Equal(t, [2]int{3, 0}, leftovers())

	hosts, err := w.ListHostsForBuild(ctx, lost.SeenAt.Add(time.Microsecond))
	require.NoError(t, err)
	require.Zero(t, hosts[0].Leftovers, "it came back before the moment that is asked for")
	require.Equal(t, 4, hosts[0].Servers)

	for i, v := range []Server{moved, failed, deleted} {
		require.NoError(t, w.ReleasePlacement(ctx, v.ID, "lost"))
		require.Equal(t, [2]int{2 - i, 0}, leftovers())
	}
}

// BenchmarkListHostsForBuild reads 100 hosts with 5,000 servers, among 20,000 deleted ones.
func BenchmarkListHostsForBuild(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	for i := range 100 {
		w.host(b, fmt.Sprintf("n%03d", i), 1000, 1<<20, 1<<20)
	}
	v := w.record(b, "template")
	require.NoError(b, w.exec(ctx, `
INSERT INTO servers SELECT (r).* FROM (
    SELECT jsonb_populate_record(s, jsonb_build_object('id', 'many' || i, 'host_id', (SELECT id FROM hosts WHERE hostname = 'n' || lpad((i % 100)::text, 3, '0')))
        || CASE WHEN i > 5000 THEN jsonb_build_object('status', 'DELETED', 'deleted_at', now(), 'host_id', NULL) ELSE '{}' END) AS r
    FROM servers s, generate_series(1, 25000) i WHERE s.id = $1) x`, v.ID))
	require.NoError(b, w.exec(ctx, `
INSERT INTO placements (server_id, host_id, vcpus, memory_mib, disk_gib, created_at)
SELECT id, host_id, 1, 512, 1, now() FROM servers WHERE host_id IS NOT NULL`))
	require.NoError(b, w.exec(ctx, `VACUUM ANALYZE`))
	for _, bb := range []struct {
		name  string
		since time.Time
	}{{"none is back", now().Add(time.Hour)}, {"all are back", time.Time{}}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				hosts, err := w.ListHostsForBuild(ctx, bb.since)
				if err != nil || len(hosts) != 100 || hosts[0].Servers != 50 || hosts[0].Leftovers != 0 {
					b.Fatal(len(hosts), err)
				}
			}
		})
	}
}
