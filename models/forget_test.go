package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// on places a server on a host, in a state.
func (w *world) on(t *testing.T, h Host, name string, state lifecycle.VMState) Server {
	t.Helper()
	ctx := context.Background()
	v := w.record(t, name)
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 64}, "networking"))
	if state != lifecycle.Building {
		require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, PowerState: lifecycle.Running}))
	}
	if state == lifecycle.Error {
		require.NoError(t, w.FailServer(ctx, v.ID, "req-"+v.ID, ServerFault{Code: 500, Message: "earlier"}, nil))
	}
	return v
}

func TestAHostThatIsGivenUpIsHeardNoMoreAndLosesItsServers(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h, other := w.host(t, "n1", 8, 8192, 100), w.host(t, "n2", 8, 8192, 100)
	runs, failed, builds := w.on(t, h, "runs", lifecycle.Active), w.on(t, h, "failed", lifecycle.Error), w.on(t, h, "builds", lifecycle.Building)
	goes, acted, stays := w.on(t, h, "goes", lifecycle.Active), w.on(t, h, "acted", lifecycle.Active), w.on(t, other, "stays", lifecycle.Active)
	_, err := w.MarkServerDeleting(ctx, goes.ID, InstanceAction{RequestID: "req-d", Action: "delete", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	stop, _ := lifecycle.Find("os-stop")
	_, err = w.BeginAction(ctx, acted.ID, stop, InstanceAction{RequestID: "req-s", Action: "stop", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)

	given := ForgottenHost{HostID: h.ID, Reason: "it burnt", UserID: "ops", RequestID: "req-f"}
	late := given
	late.AnswerBy = time.Now().Add(-time.Minute)
	require.True(t, fault.Is(w.BeginForget(ctx, late), fault.Conflict), "whoever asked has been told that it was not done")
	_, err = w.ForgottenHost(ctx, h.ID)
	require.True(t, fault.Is(err, fault.NotFound))
	require.NoError(t, w.EndForget(ctx, other.ID))
	_, err = w.Host(ctx, other.ID)
	require.NoError(t, err, "who was not given up is not removed")

	require.NoError(t, w.BeginForget(ctx, given))
	again := given
	again.Reason, again.RequestID = "another", "req-again"
	require.NoError(t, w.BeginForget(ctx, again))
	require.True(t, fault.Is(w.BeginForget(ctx, ForgottenHost{HostID: "nobody", Reason: "x"}), fault.NotFound))
	record, err := w.ForgottenHost(ctx, "n1")
	require.NoError(t, err)
	require.Equal(t, []string{h.ID, "n1", "it burnt", "ops", "req-f"}, []string{record.HostID, record.Hostname, record.Reason, record.UserID, record.RequestID})
	_, err = w.HostByToken(ctx, h.TokenHash)
	require.True(t, fault.Is(err, fault.NotFound), "its token has ended")
	_, err = w.RegisterHost(ctx, h)
	require.True(t, fault.Is(err, fault.Conflict), "who was on the way in is refused")
	require.True(t, fault.Is(w.SetHostToken(ctx, h.ID, []byte("new")), fault.Conflict))
	require.True(t, fault.Is(w.SetHostEnabled(ctx, h.ID, true, nil), fault.Conflict))
	next := w.record(t, "next")
	requireFault(t, w.Place(ctx, Placement{ServerID: next.ID, HostID: h.ID}, "networking"), fault.HostUnfit, "Host n1 is disabled.")

	because := ServerFault{Code: 500, Message: "lost", Details: "why"}
	for range 2 {
		require.NoError(t, w.FailServersOf(ctx, record, because))
	}
	is := func(id string, state lifecycle.VMState, host string) Server {
		t.Helper()
		v, err := w.Server(ctx, id)
		require.NoError(t, err)
		require.Equal(t, state, v.VMState)
		if host == "" {
			require.Nil(t, v.HostID)
			return v
		}
		require.Equal(t, host, *v.HostID)
		return v
	}
	for _, id := range []string{runs.ID, failed.ID} {
		v := is(id, lifecycle.Error, "")
		require.Equal(t, "lost", v.Fault.Message)
		require.Equal(t, lifecycle.NoState, v.PowerState)
		a, err := w.Action(ctx, id, "req-f")
		require.NoError(t, err)
		require.Equal(t, []string{"forget-host", "ops", "Error"}, []string{a.Action, a.UserID, *a.Message})
		held, err := w.Placements(ctx, id)
		require.NoError(t, err)
		require.Empty(t, held)
		taken, err := w.MarkServerDeleting(ctx, id, InstanceAction{RequestID: "req-d", Action: "delete", UserID: "u1", ProjectID: "p1"})
		require.NoError(t, err)
		require.Empty(t, taken.Hostnames, "a delete has nothing to wait for there")
	}
	is(builds.ID, lifecycle.Building, h.ID)
	is(goes.ID, lifecycle.Active, h.ID)
	is(acted.ID, lifecycle.Active, h.ID)
	is(stays.ID, lifecycle.Active, other.ID)
	left, err := w.ServersOn(ctx, h.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{builds.ID, goes.ID, acted.ID}, left)
	requireFault(t, w.EndForget(ctx, h.ID), fault.Conflict, "Host "+h.ID+" holds servers.")
	require.NoError(t, w.NoteForget(ctx, h.ID, "some"))

	require.NoError(t, w.FailServersOf(ctx, record, because, builds.ID, goes.ID, acted.ID), "no workflow has them any more")
	is(builds.ID, lifecycle.Building, h.ID)
	is(goes.ID, lifecycle.Active, h.ID)
	is(acted.ID, lifecycle.Error, "")
	for _, id := range []string{builds.ID, goes.ID} {
		require.NoError(t, w.ReleasePlacement(ctx, id, "n1"))
	}
	require.NoError(t, w.RecordOperatorAct(ctx, OperatorAct{Act: "skip", Undo: "u", Reason: "x", UserID: "ops", RequestID: "req-f", WorkflowID: "cleanup/1", ServerID: "1"}))
	for range 2 {
		require.NoError(t, w.EndForget(ctx, h.ID))
	}
	_, err = w.Host(ctx, h.ID)
	require.True(t, fault.Is(err, fault.NotFound))
	record, err = w.ForgottenHost(ctx, h.ID)
	require.NoError(t, err)
	require.NotNil(t, record.DoneAt)
	require.Equal(t, []any{3, 1, ""}, []any{record.Servers, record.Undos, record.WaitsFor})

	anew := w.host(t, "n1", 8, 8192, 100)
	require.NotEqual(t, h.ID, anew.ID, "a machine of that name is a new host")
	require.NoError(t, w.BeginForget(ctx, ForgottenHost{HostID: anew.ID, Reason: "again", UserID: "ops", RequestID: "req-g"}))
	record, err = w.ForgottenHost(ctx, "n1")
	require.NoError(t, err)
	require.Equal(t, "again", record.Reason, "by name it is the last one")
}
