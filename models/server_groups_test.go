package models

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func (w *world) group(t testing.TB, policy string, most *int) ServerGroup {
	t.Helper()
	g, err := w.CreateServerGroup(context.Background(), ServerGroup{ProjectID: "p1", UserID: "u1", Name: policy, Policy: policy, MaxPerHost: most}, -1)
	require.NoError(t, err)
	return g
}

// member records a server in a group.
func (w *world) member(t testing.TB, g ServerGroup, name string) Server {
	t.Helper()
	v, a := w.server(name)
	v.GroupID, v.GroupLimit = &g.ID, -1
	require.NoError(t, w.RecordServer(context.Background(), v, a))
	return v
}

func (w *world) put(v Server, h Host) error {
	return w.Place(context.Background(), Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 64}, "spawning")
}

func TestOfServersThatAreToBeApartNoTwoShareAHostHoweverTheyRace(t *testing.T) {
	w := newWorld(t)
	h1, h2 := w.host(t, "h1", 64, 65536, 1000), w.host(t, "h2", 64, 65536, 1000)
	for round := range 5 {
		g := w.group(t, AntiAffinity, nil)
		members := make([]Server, 8)
		for i := range members {
			members[i] = w.member(t, g, fmt.Sprintf("a%d-%d", round, i))
		}
		errs := atOnce(len(members), func(i int) error { return w.put(members[i], []Host{h1, h2}[i%2]) })
		require.Equal(t, 2, succeeded(errs), "one on each host: %v", errs)
		for i, err := range errs {
			if err != nil {
				requireFault(t, err, fault.HostUnfit, fmt.Sprintf("Host h%d is not for the server by its group's policy anti-affinity.", i%2+1))
			} else {
				require.NoError(t, w.put(members[i], []Host{h1, h2}[i%2]), "again")
			}
		}
	}
}

func TestAntiAffinityMayLetSomeShareAHost(t *testing.T) {
	w := newWorld(t)
	h := w.host(t, "h1", 64, 65536, 1000)
	g := w.group(t, AntiAffinity, new(3))
	members := make([]Server, 10)
	for i := range members {
		members[i] = w.member(t, g, fmt.Sprint("a", i))
	}
	require.Equal(t, 3, succeeded(atOnce(len(members), func(i int) error { return w.put(members[i], h) })))
}

func TestServersThatAreToBeTogetherMeetOnOneHostHoweverTheyRace(t *testing.T) {
	w := newWorld(t)
	hosts := []Host{w.host(t, "h1", 64, 65536, 1000), w.host(t, "h2", 64, 65536, 1000), w.host(t, "h3", 64, 65536, 1000)}
	for round := range 5 {
		g := w.group(t, Affinity, nil)
		members := make([]Server, 6)
		for i := range members {
			members[i] = w.member(t, g, fmt.Sprintf("t%d-%d", round, i))
		}
		errs := atOnce(len(members), func(i int) error { return w.put(members[i], hosts[i%3]) })
		require.Equal(t, 2, succeeded(errs), "both of the first's host: %v", errs)
		at, err := w.HostsOf(context.Background(), []string{members[0].ID, members[1].ID, members[2].ID, members[3].ID, members[4].ID, members[5].ID})
		require.NoError(t, err)
		require.Len(t, at, 1)
	}
}

func TestSoftGroupsAreWishes(t *testing.T) {
	w := newWorld(t)
	h1, h2 := w.host(t, "h1", 64, 65536, 1000), w.host(t, "h2", 64, 65536, 1000)
	for _, policy := range []string{SoftAffinity, SoftAntiAffinity} {
		g := w.group(t, policy, nil)
		first := w.member(t, g, "first"+policy)
		require.NoError(t, w.put(first, h1))
		require.NoError(t, w.put(w.member(t, g, "same"+policy), h1))
		require.NoError(t, w.put(w.member(t, g, "other"+policy), h2))
		got, hosts, err := w.GroupOf(context.Background(), first.ID)
		require.NoError(t, err)
		require.Equal(t, policy, got.Policy)
		require.Equal(t, []GroupHost{{"h1", 1, true}, {"h2", 1, true}}, hosts, "the others")
	}
	_, _, err := w.GroupOf(context.Background(), w.record(t, "alone").ID)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestWhatIsLeftOnAHostKeepsAnotherOfTheGroupAway(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	h1, h2 := w.host(t, "h1", 64, 65536, 1000), w.host(t, "h2", 64, 65536, 1000)
	g := w.group(t, AntiAffinity, nil)
	moved, next := w.member(t, g, "moved"), w.member(t, g, "next")
	require.NoError(t, w.put(moved, h1))
	require.NoError(t, w.Place(ctx, Placement{ServerID: moved.ID, HostID: h2.ID, VCPUs: 1, MemoryMiB: 64}, "spawning", "h1"), "a build that has left h1")
	require.Error(t, w.put(next, h1), "a guest may still run there")
	require.Error(t, w.put(next, h2))
	_, hosts, err := w.GroupOf(ctx, next.ID)
	require.NoError(t, err)
	require.Equal(t, []GroupHost{{"h1", 1, false}, {"h2", 1, true}}, hosts)
	require.NoError(t, w.exec(ctx, "UPDATE servers SET host_id = NULL WHERE id = $1", moved.ID))
	_, hosts, err = w.GroupOf(ctx, next.ID)
	require.NoError(t, err)
	require.Equal(t, []GroupHost{{"h1", 1, false}, {"h2", 1, false}}, hosts, "it is nowhere, and something of it is")
	require.NoError(t, w.ReleasePlacement(ctx, moved.ID, "h1"))
	require.NoError(t, w.put(next, h1))

	require.NoError(t, w.DeleteServerGroup(ctx, g.ID))
	free := w.record(t, "free")
	require.NoError(t, w.put(free, h1))
}

func TestAGroupHasAsManyMembersAsItMayAndADeletedOneIsNone(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	g := w.group(t, AntiAffinity, nil)
	add := func(i int) error {
		v, a := w.server(fmt.Sprint("m", i))
		v.GroupID, v.GroupLimit = &g.ID, 3
		return w.RecordServer(ctx, v, a)
	}
	errs := atOnce(9, add)
	require.Equal(t, 3, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.OverQuota, "Quota exceeded, too many servers in group")
		}
	}
	got, err := w.ServerGroup(ctx, g.ID)
	require.NoError(t, err)
	require.Len(t, got.Members, 3)
	_, err = w.MarkServerDeleting(ctx, got.Members[0], InstanceAction{ServerID: got.Members[0], RequestID: "req-d", Action: "delete", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	require.Error(t, add(9), "not yet gone")
	require.NoError(t, w.RemoveServer(ctx, got.Members[0], "req-d", nil, time.Now()))
	require.NoError(t, add(10))

	several := func(n, limit int) (Admission, error) {
		a := w.admission(fmt.Sprint("many", n), n, n, Limits{Instances: -1, Cores: -1, RAMMiB: -1})
		a.Server.GroupID, a.Server.GroupLimit = &g.ID, limit
		_, err := w.AdmitServers(ctx, a)
		return a, err
	}
	_, err = several(2, 4)
	requireFault(t, err, fault.OverQuota, "Quota exceeded, too many servers in group")
	admitted, err := several(3, 6)
	require.NoError(t, err)
	for _, v := range w.ofReservation(t, admitted.Reservation.ID) {
		require.Equal(t, &g.ID, v.GroupID)
	}
	require.NoError(t, w.DeleteServerGroup(ctx, g.ID))
	requireFault(t, add(11), fault.Invalid, "Instance group "+g.ID+" could not be found.")
}

func TestGroupsAreCountedAgainstTheirProjectsQuota(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	errs := atOnce(8, func(i int) error {
		_, err := w.CreateServerGroup(ctx, ServerGroup{ProjectID: "p1", UserID: "u1", Name: fmt.Sprint(i), Policy: Affinity}, 3)
		return err
	})
	require.Equal(t, 3, succeeded(errs))
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, Usage{ServerGroups: 3}, used)
	all, err := w.ListServerGroups(ctx, "p1", 1, 1)
	require.NoError(t, err)
	require.Len(t, all, 1)
	none, err := w.ListServerGroups(ctx, "p2", 0, 0)
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = w.CreateServerGroup(ctx, ServerGroup{ProjectID: "p9", UserID: "u1", Name: "x", Policy: Affinity}, -1)
	requireFault(t, err, fault.NotFound, "Could not find project: p9.")
	requireFault(t, w.DeleteServerGroup(ctx, "gone"), fault.NotFound, "Instance group gone could not be found.")
}
