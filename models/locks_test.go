package models

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func lockers(t *testing.T) (one, other *Locks, store *Store) {
	t.Helper()
	store, err := Open(t.Context(), testenv.Database(t), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	one, other = store.Locks("images"), store.Locks("images") // as two processes have them
	t.Cleanup(one.Close)
	t.Cleanup(other.Close)
	return one, other, store
}

func TestALockHasOneHolderInAllProcesses(t *testing.T) {
	one, other, store := lockers(t)
	ctx := t.Context()
	lock, err := one.Lock(ctx, "a")
	require.NoError(t, err)
	for name, locks := range map[string]*Locks{"the same process": one, "another": other} {
		_, err := locks.Lock(ctx, "a")
		require.True(t, fault.Is(err, fault.Conflict), "%s: %v", name, err)
	}
	b, err := other.Lock(ctx, "b")
	require.NoError(t, err, "another name is another lock")
	require.NoError(t, b.Unlock())
	elsewhere := store.Locks("elsewhere")
	defer elsewhere.Close()
	_, err = elsewhere.Lock(ctx, "a")
	require.NoError(t, err, "another space is another lock")

	require.NoError(t, lock.Held(ctx))
	require.NoError(t, lock.Unlock())
	require.NoError(t, lock.Unlock(), "twice is once")
	lock, err = other.Lock(ctx, "a")
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())
}

func TestALockEndsWithItsConnectionAndItsHolderIsTold(t *testing.T) {
	one, other, store := lockers(t)
	ctx := t.Context()
	lock, err := one.Lock(ctx, "a")
	require.NoError(t, err)
	var ended bool
	require.NoError(t, store.sql.QueryRowContext(ctx, "SELECT pg_terminate_backend($1, 5000)", one.conn.PgConn().PID()).Scan(&ended))
	require.True(t, ended)
	got, err := other.Lock(ctx, "a")
	require.NoError(t, err)
	require.True(t, fault.Is(lock.Held(ctx), fault.Unavailable))
	require.NoError(t, lock.Unlock(), "which is the other's now, and stays so")
	_, err = one.Lock(ctx, "a")
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, got.Held(ctx))
	require.NoError(t, got.Unlock())
	again, err := one.Lock(ctx, "a")
	require.NoError(t, err, "on a new connection")
	require.NoError(t, again.Held(ctx))
	require.True(t, fault.Is(lock.Held(ctx), fault.Unavailable), "the lost one does not come back with it")
}

func TestACancelledRequestTakesNoLocksAway(t *testing.T) {
	one, _, _ := lockers(t)
	lock, err := one.Lock(t.Context(), "a")
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	b, err := one.Lock(cancelled, "b")
	require.NoError(t, err)
	require.NoError(t, b.Held(cancelled))
	require.NoError(t, lock.Held(t.Context()))
}
