package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// resizing is a server of 2 vCPUs, with a claim, on a host with room, whose resize to another size has begun.
func (w *world) resizing(t *testing.T, name string, vcpus, ramMiB int) (v Server, h Host, m Migration) {
	t.Helper()
	ctx := context.Background()
	h = w.host(t, "hv-"+name, 8, 8192, 100)
	v, a := w.server(name)
	v.Flavor = FlavorSnapshot{ID: "old", VCPUs: 2, RAMMiB: 1024, DiskGiB: 10}
	require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: v.ID, ProjectID: v.ProjectID, Instances: 1, Cores: 2, RAMMiB: 1024}, Limits{-1, -1, -1}))
	require.NoError(t, w.RecordServer(ctx, v, a))
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 2, MemoryMiB: 1024, DiskGiB: 10}, "networking"))
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: a.RequestID, PowerState: lifecycle.Running}))
	resize := action(t, "resize")
	_, err := w.BeginAction(ctx, v.ID, resize, asked(v, resize, "req-"+name))
	require.NoError(t, err)
	m = Migration{
		ServerID: v.ID, RequestID: "req-" + name, Kind: MigrationResize, SourceHost: h.Hostname, DestHost: h.Hostname, OldFlavor: v.Flavor,
		NewFlavor: FlavorSnapshot{ID: "new", VCPUs: vcpus, RAMMiB: ramMiB, DiskGiB: 20}, OldDiskGiB: 10, NewDiskGiB: 20, OldVMState: lifecycle.Active,
	}
	for range 2 {
		require.NoError(t, w.BeginMigration(ctx, m))
	}
	return v, h, m
}

func (w *world) rooms(t *testing.T, serverID string) map[string][]int {
	t.Helper()
	held, err := w.Placements(context.Background(), serverID)
	require.NoError(t, err)
	rooms := map[string][]int{}
	for _, p := range held {
		rooms[p.Role] = []int{p.VCPUs, p.MemoryMiB, p.DiskGiB}
	}
	return rooms
}

func (w *world) claimed(t *testing.T, projectID string) []int {
	t.Helper()
	u, err := w.QuotaUsage(context.Background(), projectID)
	require.NoError(t, err)
	return []int{u.Instances, u.Cores, u.RAMMiB}
}

func (w *world) moves(t *testing.T, v Server, requestID string, ends bool, from, to string) bool {
	t.Helper()
	var moved bool
	for range 2 {
		var err error
		moved, err = w.MoveMigration(context.Background(), v.ID, requestID, ends, []string{from}, to)
		require.NoError(t, err)
	}
	return moved
}

func TestARoomOfEachAndTheLargerQuotaAreHeldUntilAResizeIsConfirmedOrReverted(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	small, large := []int{2, 1024, 10}, []int{4, 512, 20}
	for _, c := range []struct {
		to    string
		room  []int
		claim []int
	}{
		{MigrationConfirmed, large, []int{1, 4, 512}},
		{MigrationReverted, small, []int{1, 2, 1024}},
	} {
		v, h, m := w.resizing(t, c.to, 4, 512)
		for range 2 {
			require.NoError(t, w.ClaimLarger(ctx, Claim{ServerID: v.ID, ProjectID: v.ProjectID, Cores: 4, RAMMiB: 512}, Limits{-1, -1, -1}))
			require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, Role: PlacementResize, VCPUs: 4, MemoryMiB: 512, DiskGiB: 20}, lifecycle.ResizePrep))
		}
		held := map[string][]int{PlacementActive: small, PlacementResize: large}
		require.Equal(t, held, w.rooms(t, v.ID))
		require.Equal(t, []int{1, 4, 1024}, w.claimed(t, v.ProjectID), "the larger of each, once")
		require.Equal(t, h.ID, *w.read(t, v.ID).HostID)
		require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationFinished))
		require.False(t, w.moves(t, v, "req-other", false, MigrationFinished, MigrationError), "it is another's")
		require.Equal(t, held, w.rooms(t, v.ID))

		for range 2 {
			require.True(t, w.moves(t, v, "req-end", true, MigrationFinished, c.to))
			require.Equal(t, map[string][]int{PlacementActive: c.room}, w.rooms(t, v.ID))
			require.Equal(t, c.claim, w.claimed(t, v.ProjectID))
			require.False(t, w.moves(t, v, "req-another-end", true, c.to, MigrationFinished), "another request has ended it")
			require.True(t, w.moves(t, v, "req-end", true, c.to, MigrationFinished), "its end failed")
			require.Equal(t, held, w.rooms(t, v.ID))
			require.Equal(t, []int{1, 4, 1024}, w.claimed(t, v.ProjectID))
		}
		require.NoError(t, w.ReleasePlacement(ctx, v.ID, h.Hostname))
		require.NoError(t, w.ReleaseClaim(ctx, v.ID))
		require.True(t, w.moves(t, v, "req-end", true, MigrationFinished, c.to))
		require.True(t, w.moves(t, v, "req-end", true, c.to, MigrationFinished))
		require.Empty(t, w.rooms(t, v.ID), "a server that has given its room back is given none")
		require.Equal(t, []int{0, 0, 0}, w.claimed(t, v.ProjectID))
	}
}

func TestAResizeThatFailsLeavesTheServerWithWhatItHad(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, h, m := w.resizing(t, "web", 4, 2048)
	over := Limits{-1, 3, -1}
	claim := Claim{ServerID: v.ID, ProjectID: v.ProjectID, Cores: 4, RAMMiB: 2048}
	for _, err := range []error{w.CheckLarger(ctx, claim, over), w.ClaimLarger(ctx, claim, over)} {
		require.True(t, fault.Is(err, fault.OverQuota), "%v", err)
		require.Equal(t, "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores", fault.Public(err))
	}
	claim.Cores = 1
	require.NoError(t, w.ClaimLarger(ctx, claim, Limits{-1, 1, -1}), "what does not grow may be over its limit")
	err := w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, Role: PlacementResize, VCPUs: 7, MemoryMiB: 1, DiskGiB: 1}, lifecycle.ResizePrep)
	require.True(t, fault.Is(err, fault.HostUnfit), "its own room counts: %v", err)
	err = w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, Role: PlacementResize, VCPUs: 1, MemoryMiB: 1, DiskGiB: 1}, lifecycle.ResizeReverting)
	require.True(t, fault.Is(err, fault.Conflict), "something else is done to it: %v", err)
	require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationError))
	require.Equal(t, map[string][]int{PlacementActive: {2, 1024, 10}}, w.rooms(t, v.ID))
	require.Equal(t, []int{1, 2, 1024}, w.claimed(t, v.ProjectID))
}

func TestAResizeThatAnOperatorHasGivenUpLeavesTheServerWhatItBecame(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, h, m := w.resizing(t, "web", 4, 2048)
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, Role: PlacementResize, VCPUs: 4, MemoryMiB: 2048, DiskGiB: 20}, lifecycle.ResizePrep))
	require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationFinished))
	m.RequestID = "req-next"
	for range 2 {
		require.NoError(t, w.BeginMigration(ctx, m))
	}
	require.Equal(t, map[string][]int{PlacementActive: {4, 2048, 20}}, w.rooms(t, v.ID))
	all, err := w.ListMigrations(ctx, MigrationFilter{ServerID: v.ID})
	require.NoError(t, err)
	require.Equal(t, []string{MigrationBegun, MigrationError}, []string{all[0].Status, all[1].Status})
}

func TestMigrationsAreListedByTheFilterNewestFirstAndStayWhenTheirServerIsGone(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	a, _, _ := w.resizing(t, "a", 4, 2048)
	b, h, mb := w.resizing(t, "b", 4, 2048)
	require.True(t, w.moves(t, b, mb.RequestID, false, MigrationBegun, MigrationFinished))
	list := func(f MigrationFilter) (servers []string) {
		all, err := w.ListMigrations(ctx, f)
		require.NoError(t, err)
		for _, m := range all {
			servers = append(servers, m.ServerID)
		}
		return servers
	}
	require.Equal(t, []string{b.ID, a.ID}, list(MigrationFilter{}))
	require.Equal(t, []string{b.ID}, list(MigrationFilter{Limit: 1}))
	newest, err := w.LastMigration(ctx, b.ID)
	require.NoError(t, err)
	require.Equal(t, []string{a.ID}, list(MigrationFilter{Marker: newest.UUID}))
	_, err = w.ListMigrations(ctx, MigrationFilter{Marker: "x"})
	require.True(t, fault.Is(err, fault.Invalid))
	require.Equal(t, []string{b.ID}, list(MigrationFilter{Status: MigrationFinished}))
	require.Equal(t, []string{b.ID}, list(MigrationFilter{Host: h.Hostname}))
	require.Equal(t, []string{a.ID}, list(MigrationFilter{ServerID: a.ID, Kind: MigrationResize, ProjectID: a.ProjectID, UserID: a.UserID}))
	require.Empty(t, list(MigrationFilter{SourceHost: "hv9"}))
	require.Equal(t, []string{b.ID}, list(MigrationFilter{ChangesSince: &newest.UpdatedAt}))

	require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE servers SET vm_state = 'resized', task_state = NULL WHERE id = ?", b.ID).Error)
	due, err := w.Unconfirmed(ctx, time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, b.ID, due[0].ID)
	due, err = w.Unconfirmed(ctx, newest.CreatedAt)
	require.NoError(t, err)
	require.Empty(t, due, "it is too early")
	require.NoError(t, w.RemoveServer(ctx, b.ID, "req-d", nil, time.Now()))
	require.Equal(t, []string{b.ID}, list(MigrationFilter{Status: MigrationConfirmed}), "as Nova, which confirms before it deletes")
}

// moving is one that goes to another host, chosen and held, and has arrived there.
func (w *world) moving(t *testing.T, name string) (v Server, from, to Host, m Migration) {
	t.Helper()
	ctx := context.Background()
	v, from, m = w.resizing(t, name, 4, 512)
	to = w.host(t, "to-"+name, 8, 8192, 100)
	require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE migrations SET dest_host = '' WHERE server_id = ?", v.ID).Error) // as it begins
	for range 2 {
		require.NoError(t, w.ClaimLarger(ctx, Claim{ServerID: v.ID, ProjectID: v.ProjectID, Cores: 4, RAMMiB: 512}, Limits{-1, -1, -1}))
		require.NoError(t, w.ChooseDestination(ctx, v.ID, m.RequestID, to.Hostname))
		require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: to.ID, Role: PlacementResize, VCPUs: 4, MemoryMiB: 512, DiskGiB: 20}, lifecycle.ResizePrep))
	}
	return v, from, to, m
}

// roomsOn are a server's rooms, by host and role.
func (w *world) roomsOn(t *testing.T, serverID string) map[string][]int {
	t.Helper()
	held, err := w.Placements(context.Background(), serverID)
	require.NoError(t, err)
	rooms := map[string][]int{}
	for _, p := range held {
		h, err := w.Host(context.Background(), p.HostID)
		require.NoError(t, err)
		rooms[p.Role+" "+h.Hostname] = []int{p.VCPUs, p.MemoryMiB, p.DiskGiB}
	}
	return rooms
}

func TestAMovedServerIsOnTheHostThatItsMigrationSaysAndLeavesRoomOnTheOtherUntilThatIsClean(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	small, large := []int{2, 1024, 10}, []int{4, 512, 20}
	for _, c := range []struct {
		to, home, left string // where it is then, and where it has room left
		room, leaves   []int
		claim          []int
	}{
		{MigrationConfirmed, "to-", "hv-", large, small, []int{1, 4, 512}},
		{MigrationReverted, "hv-", "to-", small, large, []int{1, 2, 1024}},
	} {
		v, from, to, m := w.moving(t, c.to)
		held := map[string][]int{"active " + from.Hostname: small, "resize " + to.Hostname: large}
		require.Equal(t, held, w.roomsOn(t, v.ID))
		require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationMoved))
		require.Equal(t, from.ID, *w.read(t, v.ID).HostID)
		for range 2 { // the record of the end of it was undone
			require.True(t, w.moves(t, v, m.RequestID, false, MigrationMoved, MigrationFinished))
			require.Equal(t, to.ID, *w.read(t, v.ID).HostID)
			require.True(t, w.moves(t, v, m.RequestID, false, MigrationFinished, MigrationMoved))
			require.Equal(t, from.ID, *w.read(t, v.ID).HostID)
		}
		require.True(t, w.moves(t, v, m.RequestID, false, MigrationMoved, MigrationFinished))
		require.Equal(t, held, w.roomsOn(t, v.ID))
		for range 2 {
			require.True(t, w.moves(t, v, "req-end", true, MigrationFinished, c.to))
			require.Equal(t, map[string][]int{"active " + c.home + c.to: c.room, "left " + c.left + c.to: c.leaves}, w.roomsOn(t, v.ID))
			require.Equal(t, c.claim, w.claimed(t, v.ProjectID))
			at, err := w.Host(ctx, *w.read(t, v.ID).HostID)
			require.NoError(t, err)
			require.Equal(t, c.home+c.to, at.Hostname)
			left, err := w.LeftHosts(ctx, v.ID)
			require.NoError(t, err)
			require.Equal(t, []string{c.left + c.to}, left)
			require.True(t, w.moves(t, v, "req-end", true, c.to, MigrationFinished), "its end failed")
			require.Equal(t, held, w.roomsOn(t, v.ID))
			require.Equal(t, to.ID, *w.read(t, v.ID).HostID)
		}
		require.True(t, w.moves(t, v, "req-end", true, MigrationFinished, c.to))
		require.NoError(t, w.ReleasePlacement(ctx, v.ID, c.left+c.to))
		require.Equal(t, map[string][]int{"active " + c.home + c.to: c.room}, w.roomsOn(t, v.ID))
		require.NotNil(t, w.read(t, v.ID).HostID)
		require.NoError(t, w.ReleaseClaim(ctx, v.ID))
	}
}

func TestAMoveThatFailsLeavesTheServerWhereItWasAndRoomAtTheDestinationUntilThatIsClean(t *testing.T) {
	w := newWorld(t)
	for _, at := range []string{MigrationBegun, MigrationMigrating, MigrationMoved, MigrationFinished} {
		v, from, to, m := w.moving(t, at)
		require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, at))
		require.True(t, w.moves(t, v, m.RequestID, false, at, MigrationError))
		require.Equal(t, from.ID, *w.read(t, v.ID).HostID)
		require.Equal(t, map[string][]int{"active " + from.Hostname: {2, 1024, 10}, "left " + to.Hostname: {4, 512, 20}}, w.roomsOn(t, v.ID))
		require.Equal(t, []int{1, 2, 1024}, w.claimed(t, v.ProjectID))
		require.NoError(t, w.ReleaseClaim(context.Background(), v.ID))
	}
}

func TestAMovedServerThatAnOperatorSetsStaysWhatItBecameAndClaimsThatAlone(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, from, to, m := w.moving(t, "web")
	require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationFinished))
	resize := action(t, "resize")
	require.NoError(t, w.FinishAction(ctx, v.ID, m.RequestID, resize, nil))
	kept, err := w.KeptOn(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, from.Hostname, kept)
	for range 2 {
		require.NoError(t, w.ResetServer(ctx, v.ID, lifecycle.Active, "", InstanceAction{RequestID: "req-reset", Action: "resetState", StartedAt: time.Now()}))
		require.Equal(t, map[string][]int{"active " + to.Hostname: {4, 512, 20}, "left " + from.Hostname: {2, 1024, 10}}, w.roomsOn(t, v.ID))
		require.Equal(t, []int{1, 4, 512}, w.claimed(t, v.ProjectID))
		require.Equal(t, to.ID, *w.read(t, v.ID).HostID)
	}
	kept, err = w.KeptOn(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, kept)
	last, err := w.LastMigration(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, MigrationError, last.Status)
	at, err := w.MarkServerDeleting(ctx, v.ID, InstanceAction{RequestID: "req-d", Action: "delete"})
	require.NoError(t, err)
	require.Equal(t, []string{from.Hostname, to.Hostname}, at.Hostnames, "both are torn down")
}

func TestAHostThatIsGivenUpTakesTheGuestsOfBeforeWithIt(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, from, to, m := w.moving(t, "web")
	require.True(t, w.moves(t, v, m.RequestID, false, MigrationBegun, MigrationFinished))
	require.NoError(t, w.FinishAction(ctx, v.ID, m.RequestID, action(t, "resize"), nil))
	require.NoError(t, w.BeginForget(ctx, ForgottenHost{HostID: from.ID, RequestID: "req-f", Reason: "fire"}))
	kept, err := w.KeptOn(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, kept)

	require.NoError(t, w.FailServersOf(ctx, ForgottenHost{HostID: to.ID, RequestID: "req-g"}, ServerFault{Message: "lost"}))
	require.Equal(t, lifecycle.Error, w.read(t, v.ID).VMState)
	require.Equal(t, map[string][]int{"left " + from.Hostname: {2, 1024, 10}}, w.roomsOn(t, v.ID))
	require.Equal(t, []int{1, 4, 512}, w.claimed(t, v.ProjectID))
	last, err := w.LastMigration(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, MigrationError, last.Status)
}
