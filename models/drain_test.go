package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestAHostThatIsDrainedGetsNoServersAndOneThatWasDisabledBeforeStaysSo(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h, other := w.host(t, "n1", 8, 8192, 100), w.host(t, "n2", 8, 8192, 100)
	is := func(h Host) (enabled bool, reason string) {
		h, err := w.Host(ctx, h.ID)
		require.NoError(t, err)
		if h.DisabledReason != nil {
			reason = *h.DisabledReason
		}
		return h.Enabled, reason
	}
	d := HostDrain{HostID: h.ID, RequestID: "req-1"}
	late := d
	late.AnswerBy = time.Now().Add(-time.Minute)
	require.True(t, fault.Is(w.BeginDrain(ctx, late), fault.Conflict), "whoever asked has been told that it was not done")
	enabled, _ := is(h)
	require.True(t, enabled)

	require.NoError(t, w.BeginDrain(ctx, d))
	require.NoError(t, w.BeginDrain(ctx, d))
	require.NoError(t, w.BeginDrain(ctx, late), "it has begun, in time")
	enabled, reason := is(h)
	require.Equal(t, []any{false, "drained, as req-1 asked"}, []any{enabled, reason})
	next := w.record(t, "next")
	requireFault(t, w.Place(ctx, Placement{ServerID: next.ID, HostID: h.ID}, "networking"), fault.HostUnfit, "Host n1 is disabled.")
	require.NoError(t, w.AbandonDrain(ctx, HostDrain{HostID: h.ID, RequestID: "req-2"}))
	enabled, _ = is(h)
	require.False(t, enabled, "another's it does not give back")
	for range 2 {
		require.NoError(t, w.AbandonDrain(ctx, d))
	}
	enabled, reason = is(h)
	require.Equal(t, []any{true, ""}, []any{enabled, reason})

	require.NoError(t, w.SetHostEnabled(ctx, other.ID, false, new("new memory")))
	d.HostID = other.ID
	require.NoError(t, w.BeginDrain(ctx, d))
	require.NoError(t, w.AbandonDrain(ctx, d))
	enabled, reason = is(other)
	require.Equal(t, []any{false, "new memory"}, []any{enabled, reason})

	require.True(t, fault.Is(w.BeginDrain(ctx, HostDrain{HostID: "nobody"}), fault.NotFound))
	require.NoError(t, w.BeginForget(ctx, ForgottenHost{HostID: other.ID, Reason: "it burnt", UserID: "ops", RequestID: "req-f"}))
	require.True(t, fault.Is(w.BeginDrain(ctx, d), fault.Conflict))
}

func TestWhatIsOnAHostIsListedWithTheRoleOfItsRoom(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h, other := w.host(t, "n1", 8, 8192, 100), w.host(t, "n2", 8, 8192, 100)
	runs, builds, elsewhere := w.on(t, h, "runs", lifecycle.Active), w.on(t, h, "builds", lifecycle.Building), w.on(t, other, "elsewhere", lifecycle.Active)
	comes, stays := w.on(t, other, "comes", lifecycle.Active), w.on(t, other, "stays", lifecycle.Active)
	resize, _ := lifecycle.Find("resize")
	for to, v := range map[*Host]Server{&h: comes, &other: stays} {
		_, err := w.BeginAction(ctx, v.ID, resize, InstanceAction{RequestID: "req-r", Action: "resize", UserID: "u1", ProjectID: "p1"})
		require.NoError(t, err)
		require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: to.ID, Role: PlacementResize, VCPUs: 1, MemoryMiB: 64}, lifecycle.ResizePrep))
	}
	held, err := w.HeldOn(ctx, h.ID)
	require.NoError(t, err)
	got := map[string]string{}
	for _, v := range held {
		got[v.ID] = v.Role + " " + string(v.VMState) + " " + v.Task() + " " + v.Flavor.Name
	}
	require.Equal(t, map[string]string{
		runs.ID: "active active  " + runs.Flavor.Name, builds.ID: "active building networking " + builds.Flavor.Name,
		comes.ID: "resize active resize_prep " + comes.Flavor.Name,
	}, got)
	require.Equal(t, runs.ID, held[0].ID, "the oldest first")
	held, err = w.HeldOn(ctx, other.ID)
	require.NoError(t, err)
	require.Len(t, held, 3, "each server once, however many rooms it holds")
	require.Equal(t, elsewhere.ID, held[0].ID)
}
