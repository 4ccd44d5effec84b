package control

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// reclaiming notes what was reclaimed, and refuses one server.
type reclaiming struct {
	Builds
	asked []contract.DeleteInput
	busy  string
}

func (r *reclaiming) Reclaim(_ context.Context, in contract.DeleteInput) error {
	if in.ServerID == r.busy {
		return fault.New(fault.Conflict, "something is done to it")
	}
	r.asked = append(r.asked, in)
	return nil
}

func TestServersAreReclaimedWhenTheirTimeIsOver(t *testing.T) {
	ctx, store := newStore(t)
	_, place := placing(ctx, t, store)
	softDeleted := func() string {
		id := place()
		require.NoError(t, store.ActivateServer(ctx, models.Activation{ServerID: id, RequestID: "req-" + id, PowerState: lifecycle.Running}))
		_, err := store.BeginAction(ctx, id, lifecycle.SoftDeletes[0], models.InstanceAction{RequestID: "req-d", Action: "delete", UserID: "u1", ProjectID: "p1"})
		require.NoError(t, err)
		require.NoError(t, store.FinishAction(ctx, id, "req-d", lifecycle.SoftDeletes[0], nil))
		return id
	}
	due, busy := softDeleted(), softDeleted()
	engine := &reclaiming{busy: busy}
	a := New(Options{Store: store, Builds: engine, ReclaimAfter: time.Hour})
	require.NoError(t, a.ReclaimDeleted(ctx, contract.Housekeeping{}))
	require.Empty(t, engine.asked, "it is too early")
	a.now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	require.NoError(t, a.ReclaimDeleted(ctx, contract.Housekeeping{}), "what is busy waits for the next turn")
	require.Len(t, engine.asked, 1)
	require.Equal(t, []any{due, "p1", "u1", true}, []any{engine.asked[0].ServerID, engine.asked[0].ProjectID, engine.asked[0].UserID, engine.asked[0].Reclaims})
	a.reclaimAfter = 0
	require.NoError(t, a.ReclaimDeleted(ctx, contract.Housekeeping{}))
	require.Len(t, engine.asked, 1, "0 is never")
}
