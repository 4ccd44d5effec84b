package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestAnOperatorsActIsKeptOnceAndOutlivesItsServer(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v := w.record(t, "s")
	act := OperatorAct{
		At: now(), Act: "skip", Undo: "attempt/1:RemoveDisk/0", Reason: "the disk burnt", UserID: "u1", ProjectID: "p1",
		RequestID: "req-1", WorkflowID: "server/" + v.ID, ServerID: v.ID,
	}
	again := act
	again.At = again.At.Add(time.Minute)
	all := act
	all.Act, all.Undo, all.Reason = "retry", "", ""
	other := act
	other.ServerID = "another"
	other.WorkflowID = "cleanup/another"
	for _, a := range []OperatorAct{act, again, all, other} {
		require.NoError(t, w.RecordOperatorAct(ctx, a))
	}
	for _, err := range atOnce(8, func(int) error { return w.RecordOperatorAct(ctx, act) }) {
		require.NoError(t, err)
	}
	require.NoError(t, w.RemoveServer(ctx, v.ID, "req-2", nil, now()))
	got, err := w.OperatorActs(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.True(t, act.At.Equal(got[0].At), "the first word stays")
	act.ID, act.At = got[0].ID, got[0].At
	require.Equal(t, act, got[0])
	require.Equal(t, "retry", got[1].Act)

	none, err := w.OperatorActs(ctx, "unknown")
	require.NoError(t, err)
	require.Empty(t, none)
	require.Error(t, w.RecordOperatorAct(ctx, OperatorAct{Act: "forget", RequestID: "req-3", ServerID: v.ID}))
}

func TestServersAreCountedByStatusAndTask(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	got, err := w.CountServers(ctx)
	require.NoError(t, err)
	require.Empty(t, got)
	gone := w.record(t, "gone")
	require.NoError(t, w.RemoveServer(ctx, gone.ID, "req-1", nil, now()))
	failed := w.record(t, "failed")
	require.NoError(t, w.FailServer(ctx, failed.ID, "req-"+failed.ID, ServerFault{Code: 500, Message: "x"}, nil))
	for range 2 {
		w.record(t, "builds")
	}
	got, err = w.CountServers(ctx)
	require.NoError(t, err)
	require.Equal(t, []ServerCount{{lifecycle.Building, lifecycle.Scheduling, 2}, {lifecycle.Error, "", 1}}, got)
}
