package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Each way to accept something, to be done again with the same or another limit.
func acceptances(t *testing.T, w *world) map[string]func(by time.Time) error {
	ctx := context.Background()
	v, a := w.server("one")
	many := w.admission("many", 2, 2, Limits{Instances: -1, Cores: -1, RAMMiB: -1})
	stop, on := action(t, "os-stop"), w.running(t, "web")
	begin := w.importOfAnImage(t)
	return map[string]func(time.Time) error{
		"a server": func(by time.Time) error {
			a.AnswerBy = by
			return w.RecordServer(ctx, v, a)
		},
		"several servers": func(by time.Time) error {
			many.Action.AnswerBy = by
			_, err := w.AdmitServers(ctx, many)
			return err
		},
		"an action": func(by time.Time) error {
			asked := asked(on, stop, "req-stop")
			asked.AnswerBy = by
			_, err := w.BeginAction(ctx, on.ID, stop, asked)
			return err
		},
		"an import": func(by time.Time) error {
			begin.AnswerBy = by
			_, _, err := w.BeginImport(ctx, begin)
			return err
		},
	}
}

func TestWhatNobodyWaitsForAnyMoreIsNotAcceptedAndWhatWasAcceptedStays(t *testing.T) {
	w := newWorld(t)
	for name, accept := range acceptances(t, w) {
		t.Run(name, func(t *testing.T) {
			now, err := w.Now(t.Context())
			require.NoError(t, err)
			before := w.snapshot(t)
			requireFault(t, accept(now), fault.Conflict, "The request was not accepted in time, and nothing was done. Please try again.")
			require.Equal(t, before, w.snapshot(t))

			require.NoError(t, accept(now.Add(time.Hour)))
			accepted := w.snapshot(t)
			require.NotEqual(t, before, accepted)
			require.NoError(t, accept(now), "it asks again whether it was accepted")
			require.Equal(t, accepted, w.snapshot(t))
		})
	}
}

// The limit is looked at behind the locks that an acceptance waits for.
func TestAnAcceptanceThatHadToWaitTooLongIsRefused(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	stop := action(t, "os-stop")
	now, err := w.Now(ctx)
	require.NoError(t, err)
	tx, err := w.pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	_, err = tx.Exec(ctx, "UPDATE servers SET task_state = 'x' WHERE id = $1", v.ID)
	require.NoError(t, err)
	by := now.Add(200 * time.Millisecond)
	ended := make(chan error, 1)
	go func() {
		asked := asked(v, stop, "req-1")
		asked.AnswerBy = by
		_, err := w.BeginAction(ctx, v.ID, stop, asked)
		ended <- err
	}()
	_, err = tx.Exec(ctx, "SELECT pg_sleep(extract(epoch FROM $1::timestamptz - clock_timestamp()) + 0.01)", by)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(ctx))
	require.True(t, fault.Is(<-ended, fault.Conflict))
	require.Nil(t, w.read(t, v.ID).TaskState)
	require.Equal(t, lifecycle.Active, w.read(t, v.ID).VMState)
}
