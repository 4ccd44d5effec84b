package models

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// shelving is a server with room and a port on a host whose shelve has begun, and the image of it.
func (w *world) shelving(t *testing.T, name, actionName string) (v Server, h Host, imageID string) {
	t.Helper()
	ctx := context.Background()
	h = w.host(t, "hv-"+name, 8, 8192, 100)
	v, a := w.server(name)
	require.NoError(t, w.RecordServer(ctx, v, a))
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 10}, "networking"))
	_, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), NetworkID: w.network.ID, ServerID: v.ID, ProjectID: v.ProjectID, Hostname: h.Hostname})
	require.NoError(t, err)
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: a.RequestID, PowerState: lifecycle.Running}))
	shelve := action(t, actionName)
	_, err = w.BeginAction(ctx, v.ID, shelve, asked(v, shelve, "req-"+name))
	require.NoError(t, err)
	imageID = uuid.NewString()
	_, err = w.CreateImage(ctx, Image{ID: imageID, OwnerID: v.ProjectID, Visibility: "private", SnapshotOf: &v.ID}, nil)
	require.NoError(t, err)
	for range 2 {
		for n := range 2 {
			require.NoError(t, w.AdvanceAction(ctx, v.ID, "req-"+name, shelve, n))
		}
		require.NoError(t, w.RecordShelve(ctx, v.ID, "req-"+name, shelve, imageID))
	}
	return v, h, imageID
}

// bound are the hosts of a server and of its port; "" is none.
func (w *world) bound(t *testing.T, id string) [2]string {
	t.Helper()
	v := w.read(t, id)
	require.Len(t, v.Ports, 1)
	var on [2]string
	for i, host := range []*string{v.HostID, v.Ports[0].HostID} {
		if host != nil {
			on[i] = *host
		}
	}
	return on
}

func TestAServerLeavesItsHostForGoodOrStays(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, h, imageID := w.shelving(t, "one", "shelve-at-once")
	shelve := action(t, "shelve-at-once")
	requireFault(t, w.LeaveHost(ctx, v.ID, "req-other", shelve, h.Hostname), fault.Conflict, "Instance "+v.ID+" is not being offloaded any more.")
	for range 2 {
		require.NoError(t, w.AdvanceAction(ctx, v.ID, "req-one", shelve, 2))
	}
	is := w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Shelved, lifecycle.ShelvingOffloading, lifecycle.Shutdown, imageID}, []any{is.VMState, is.Task(), is.PowerState, *is.ShelvedImageID})

	for range 2 {
		require.NoError(t, w.LeaveHost(ctx, v.ID, "req-one", shelve, h.Hostname))
	}
	require.Equal(t, [2]string{"", ""}, w.bound(t, v.ID))
	require.Len(t, w.rooms(t, v.ID), 1, "its room is held while its guest may be there")
	leftovers := func() int {
		hosts, err := w.ListHosts(ctx)
		require.NoError(t, err)
		require.Len(t, hosts, 1)
		return hosts[0].Leftovers
	}
	require.Zero(t, leftovers(), "it is just leaving")
	for range 2 {
		require.NoError(t, w.StayOnHost(ctx, v.ID, "req-one", shelve, h.Hostname))
	}
	require.Equal(t, [2]string{h.ID, h.ID}, w.bound(t, v.ID))

	require.NoError(t, w.LeaveHost(ctx, v.ID, "req-one", shelve, h.Hostname))
	for range 2 {
		require.NoError(t, w.FinishAction(ctx, v.ID, "req-one", shelve, nil))
	}
	require.Equal(t, 1, leftovers(), "a clean-up waits for the host")
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, h.Hostname))
	require.Zero(t, leftovers())
	is = w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.ShelvedOffloaded, "", lifecycle.Shutdown}, []any{is.VMState, is.Task(), is.PowerState})
	require.Empty(t, w.rooms(t, v.ID))
	require.NoError(t, w.StayOnHost(ctx, v.ID, "req-one", shelve, h.Hostname), "of an earlier run")
	require.NoError(t, w.FailAction(ctx, v.ID, "req-one", shelve, Server{VMState: lifecycle.Active, PowerState: lifecycle.Running}, ServerFault{}, nil))
	require.Equal(t, lifecycle.ShelvedOffloaded, w.read(t, v.ID).VMState, "it has no guest that could be put back")
	require.Equal(t, [2]string{"", ""}, w.bound(t, v.ID))
	events, _ := w.heard(t, v.ID)
	require.Equal(t, []string{
		"instance.create.start", "instance.create.end", "instance.shelve.start", "instance.shelve.end", "instance.shelve_offload.start", "instance.shelve_offload.end",
	}, events)
}

func TestAServerThatHasLeftItsHostIsPlacedAndBoundAnew(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, old, imageID := w.shelving(t, "one", "shelve-at-once")
	shelve, unshelve := action(t, "shelve-at-once"), action(t, "unshelve-offloaded")
	require.NoError(t, w.AdvanceAction(ctx, v.ID, "req-one", shelve, 2))
	require.NoError(t, w.LeaveHost(ctx, v.ID, "req-one", shelve, old.Hostname))
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-one", shelve, nil))
	room := func(on Host) Placement {
		return Placement{ServerID: v.ID, HostID: on.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 10}
	}
	next := w.host(t, "next", 8, 8192, 100)
	requireFault(t, w.Place(ctx, room(next), lifecycle.Spawning, old.Hostname), fault.Conflict,
		"Cannot 'allocate a host' instance "+v.ID+" while it is in vm_state shelved_offloaded")
	_, err := w.BeginAction(ctx, v.ID, action(t, "os-start"), asked(v, action(t, "os-start"), "req-no"))
	require.True(t, fault.Is(err, fault.Conflict))
	for range 2 {
		_, err := w.BeginAction(ctx, v.ID, unshelve, asked(v, unshelve, "req-two"))
		require.NoError(t, err)
	}
	needs, err := w.HostNeedsImage(ctx, next.ID, imageID)
	require.NoError(t, err)
	require.False(t, needs)
	for range 2 {
		require.NoError(t, w.Place(ctx, room(next), lifecycle.Spawning, old.Hostname), "what is left on its host before is being cleaned")
	}
	require.Equal(t, lifecycle.Spawning, w.read(t, v.ID).Task())
	needs, err = w.HostNeedsImage(ctx, next.ID, imageID)
	require.NoError(t, err)
	require.True(t, needs, "it is built of it there")
	requireFault(t, w.BindPorts(ctx, v.ID, old.Hostname), fault.Conflict, "Instance "+v.ID+" is not placed on host "+old.Hostname+".")
	for range 2 {
		require.NoError(t, w.BindPorts(ctx, v.ID, next.Hostname))
	}
	require.Equal(t, [2]string{next.ID, next.ID}, w.bound(t, v.ID))
	has, err := w.ServerHasGuest(ctx, v.ID)
	require.NoError(t, err)
	require.False(t, has)

	for range 2 {
		require.NoError(t, w.UnbindPorts(ctx, v.ID, next.Hostname))
		require.NoError(t, w.ReleasePlacement(ctx, v.ID, next.Hostname))
	}
	require.Equal(t, [2]string{"", ""}, w.bound(t, v.ID))
	require.Equal(t, lifecycle.Unshelving, w.read(t, v.ID).Task(), "before it goes on to another")
	require.NoError(t, w.Place(ctx, room(next), lifecycle.Spawning, old.Hostname))
	require.NoError(t, w.BindPorts(ctx, v.ID, next.Hostname))
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, old.Hostname), "by the clean-up")
	require.NoError(t, w.AskZone(ctx, v.ID, "req-two", unshelve, "az2"))
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-two", unshelve, nil))
	require.NoError(t, w.AskZone(ctx, v.ID, "req-two", unshelve, "az2"), "by a worker that was killed behind it")
	require.True(t, fault.Is(w.AskZone(ctx, v.ID, "req-two", unshelve, "az3"), fault.Conflict))
	require.NoError(t, w.ForgetShelved(ctx, v.ID, "another"))
	require.NotNil(t, w.read(t, v.ID).ShelvedImageID)
	require.NoError(t, w.ForgetShelved(ctx, v.ID, imageID))
	is := w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Active, lifecycle.Running, "az2", "next"}, []any{is.VMState, is.PowerState, is.AvailabilityZone, is.Host.Hostname})
	require.Nil(t, is.ShelvedImageID)
	require.Nil(t, is.ShelvedAt)
	has, err = w.ServerHasGuest(ctx, v.ID)
	require.NoError(t, err)
	require.True(t, has)
}

func TestOnlyAServerThatIsWhereAUserLeftItCanBeUnshelvedElsewhere(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, h, imageID := w.shelving(t, "one", "shelve")
	shelve := action(t, "shelve")
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-one", shelve, nil))
	require.NoError(t, w.ForgetShelved(ctx, v.ID, imageID))
	require.Equal(t, imageID, *w.read(t, v.ID).ShelvedImageID, "as long as it is shelved")
	_, err := w.BeginAction(ctx, v.ID, action(t, "unshelve-offloaded"), asked(v, action(t, "unshelve-offloaded"), "req-two"))
	requireFault(t, err, fault.Conflict, "Cannot 'unshelve' instance "+v.ID+" while it is in vm_state shelved")
	for hostname, want := range map[string]bool{"": true, h.Hostname: true, "elsewhere": false} {
		stands, err := w.ServerStands(ctx, v.ID, hostname)
		require.NoError(t, err)
		require.Equal(t, want, stands, hostname)
	}
	old, err := w.Shelved(ctx, now().Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, old)
	old, err = w.Shelved(ctx, now().Add(time.Second))
	require.NoError(t, err)
	require.Len(t, old, 1)
}

func TestAShelvedServerOutlivesItsHost(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, h, imageID := w.shelving(t, "one", "shelve")
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-one", action(t, "shelve"), nil))
	given := ForgottenHost{HostID: h.ID, RequestID: "req-f", UserID: "ops"}
	require.NoError(t, w.OffloadServersOf(ctx, given))
	require.Equal(t, lifecycle.Shelved, w.read(t, v.ID).VMState, "its image is not there yet")
	_, err := w.pool.Exec(ctx, `UPDATE images SET status = 'active', size_bytes = 1, sha512 = repeat('0', 128), md5 = repeat('0', 32) WHERE id = $1`, imageID)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, w.OffloadServersOf(ctx, given))
	}
	require.Equal(t, lifecycle.ShelvedOffloaded, w.read(t, v.ID).VMState)
	require.Equal(t, [2]string{"", ""}, w.bound(t, v.ID))
	require.Empty(t, w.rooms(t, v.ID))
	stands, err := w.ServerStands(ctx, v.ID, "")
	require.NoError(t, err)
	require.True(t, stands)
	stands, err = w.ServerStands(ctx, v.ID, h.Hostname)
	require.NoError(t, err)
	require.False(t, stands)
	a, err := w.Action(ctx, v.ID, "req-f")
	require.NoError(t, err)
	require.Nil(t, a.Message)
}
