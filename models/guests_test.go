package models

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// seen is a look at a server's host after it was asked for what is known: the guest's new power state, and what is wanted.
func (w *world) sighting(t *testing.T, v Server, power int) (hostID string, g Sighting) {
	t.Helper()
	known, err := w.Guests(context.Background(), *v.HostID)
	require.NoError(t, err)
	require.Len(t, known, 1)
	require.Equal(t, v.ID, known[0].ServerID)
	return *v.HostID, Sighting{ServerID: v.ID, AsOf: known[0].AsOf, PowerState: power, Hostname: v.Host.Hostname, What: "The guest went."}
}

func TestAGuestThatGoesDownStopsItsServerAndIsRecordedOnce(t *testing.T) {
	for power, message := range map[int]*string{lifecycle.Shutdown: nil, lifecycle.Crashed: new("Error")} {
		w, ctx := newWorld(t), context.Background()
		v := w.running(t, "web")
		host, g := w.sighting(t, v, power)
		moved, err := w.SawGuest(ctx, host, g)
		require.NoError(t, err)
		require.True(t, moved)
		got := w.read(t, v.ID)
		require.Equal(t, []any{lifecycle.Stopped, power, (*string)(nil)}, []any{got.VMState, got.PowerState, got.TaskState})

		moved, err = w.SawGuest(ctx, host, g)
		require.NoError(t, err)
		require.False(t, moved, "its answer got lost, and it is told again")
		actions, err := w.Actions(ctx, v.ID)
		require.NoError(t, err)
		require.Len(t, actions, 2)
		require.Equal(t, []any{"stop", v.UserID, v.ProjectID, message}, []any{actions[0].Action, actions[0].UserID, actions[0].ProjectID, actions[0].Message})
		action, err := w.Action(ctx, v.ID, actions[0].RequestID)
		require.NoError(t, err)
		require.Len(t, action.Events, 1)
		require.Equal(t, []any{"GuestWentDown", "The guest went.", "hv-web"}, []any{action.Events[0].Event, *action.Events[0].Details, *action.Events[0].Host})
	}
}

func TestAnOtherPowerStateIsKeptAndChangesNothingElse(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	for _, power := range []int{lifecycle.PausedGuest, lifecycle.NoState, lifecycle.Running} {
		host, g := w.sighting(t, v, power)
		moved, err := w.SawGuest(ctx, host, g)
		require.NoError(t, err)
		require.False(t, moved)
		got := w.read(t, v.ID)
		require.Equal(t, []any{lifecycle.Active, power}, []any{got.VMState, got.PowerState})
	}
	stop := action(t, "os-stop")
	_, err := w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-1"))
	require.NoError(t, err)
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", stop, nil))
	host, g := w.sighting(t, v, lifecycle.Running)
	_, err = w.SawGuest(ctx, host, g)
	require.NoError(t, err)
	got := w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Stopped, lifecycle.Running}, []any{got.VMState, got.PowerState}, "somebody started it at the host")
}

func TestASightingThatIsOlderThanWhatWasDoneSinceSaysNothing(t *testing.T) {
	stop, start := action(t, "os-stop"), action(t, "os-start")
	begin := func(w *world, v Server, a lifecycle.Action) {
		_, err := w.BeginAction(context.Background(), v.ID, a, asked(v, a, "req-"+a.Name))
		require.NoError(t, err)
	}
	finish := func(w *world, v Server, a lifecycle.Action) {
		require.NoError(t, w.FinishAction(context.Background(), v.ID, "req-"+a.Name, a, nil))
	}
	for name, since := range map[string]func(*world, Server){
		"an action has begun":           func(w *world, v Server) { begin(w, v, stop) },
		"an action has begun and ended": func(w *world, v Server) { begin(w, v, stop); finish(w, v, stop) },
		"it was stopped and started": func(w *world, v Server) {
			begin(w, v, stop)
			finish(w, v, stop)
			begin(w, v, start)
			finish(w, v, start)
		},
		"it is being deleted": func(w *world, v Server) {
			_, err := w.MarkServerDeleting(context.Background(), v.ID, asked(v, lifecycle.Action{Method: "delete"}, "req-d"))
			require.NoError(t, err)
		},
		"it is placed on no host or another": func(w *world, v Server) {
			require.NoError(t, w.ReleasePlacement(context.Background(), v.ID, v.Host.Hostname))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			v := w.running(t, "web")
			host, g := w.sighting(t, v, lifecycle.Shutdown)
			since(w, v)
			before := w.snapshot(t)
			moved, err := w.SawGuest(context.Background(), host, g)
			require.NoError(t, err)
			require.False(t, moved)
			require.Equal(t, before, w.snapshot(t))
		})
	}
	w := newWorld(t)
	v := w.running(t, "web")
	begin(w, v, stop)
	known, err := w.Guests(context.Background(), *v.HostID)
	require.NoError(t, err)
	require.Empty(t, known, "what is being done to a server is not the host's to tell of")
}

func TestAPausedGuestThatGoesDownStopsItsServerAndASuspendedOneIsDown(t *testing.T) {
	for name, becomes := range map[string]lifecycle.VMState{"pause": lifecycle.Stopped, "suspend": lifecycle.Suspended} {
		w, ctx := newWorld(t), context.Background()
		v := w.running(t, "web")
		a := action(t, name)
		_, err := w.BeginAction(ctx, v.ID, a, asked(v, a, "req-1"))
		require.NoError(t, err)
		require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", a, nil))
		require.Equal(t, []any{a.To, a.Power}, []any{w.read(t, v.ID).VMState, w.read(t, v.ID).PowerState})
		host, g := w.sighting(t, v, lifecycle.Shutdown)
		moved, err := w.SawGuest(ctx, host, g)
		require.NoError(t, err)
		require.Equal(t, becomes == lifecycle.Stopped, moved)
		require.Equal(t, becomes, w.read(t, v.ID).VMState)
		// Whoever started it at the host knows more.
		host, g = w.sighting(t, v, lifecycle.Running)
		moved, err = w.SawGuest(ctx, host, g)
		require.NoError(t, err)
		require.False(t, moved)
		require.Equal(t, []any{becomes, lifecycle.Running}, []any{w.read(t, v.ID).VMState, w.read(t, v.ID).PowerState})
	}
}
