package models

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerStandsFromItsBuildToItsDelete(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	stands := func(id string) bool {
		yes, err := w.ServerStands(ctx, id, "")
		require.NoError(t, err)
		return yes
	}
	on := func(id, hostname string) bool {
		yes, err := w.ServerStands(ctx, id, hostname)
		require.NoError(t, err)
		return yes
	}
	w.host(t, "hv-other", 4, 4096, 40)
	require.False(t, stands("no-such-server"))
	require.False(t, stands(w.record(t, "building").ID))
	v := w.running(t, "web")
	require.True(t, stands(v.ID))
	require.True(t, on(v.ID, "hv-web"))
	require.False(t, on(v.ID, "hv-other"), "what it left there is not in use")
	require.False(t, on(v.ID, "no-such-host"))
	stop := action(t, "os-stop")
	_, err := w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-1"))
	require.NoError(t, err)
	require.True(t, stands(v.ID))
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", stop, nil))
	require.True(t, stands(v.ID), "stopped")
	stopped := w.snapshot(t)
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, Hostname: "hv-web"}), "its build ends again")
	require.Equal(t, stopped, w.snapshot(t))
	_, err = w.MarkServerDeleting(ctx, v.ID, InstanceAction{ServerID: v.ID, RequestID: "req-2", Action: "delete", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	require.False(t, stands(v.ID))
	require.False(t, on(v.ID, "hv-web"))
}
