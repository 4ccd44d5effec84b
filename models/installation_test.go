package models

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// advance raises the generation n times.
func (w *world) advance(t testing.TB, n int) {
	t.Helper()
	for range n {
		require.NoError(t, w.AdvanceGeneration(context.Background(), 0))
	}
}

// copied is the world as it is now, in another database: what a backup of now restores.
func (w *world) copied(t testing.TB) *Store {
	t.Helper()
	ctx := context.Background()
	var from, to string
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT current_database()`).Scan(&from))
	restored := openStore(t, testenv.Database(t))
	require.NoError(t, restored.pool.QueryRow(ctx, `SELECT current_database()`).Scan(&to))
	admin, err := pgx.Connect(ctx, testenv.Maintenance(t))
	require.NoError(t, err)
	defer admin.Close(ctx)
	w.pool.Reset() // a template has no sessions
	restored.pool.Reset()
	for _, sql := range []string{`DROP DATABASE ` + to + ` WITH (FORCE)`, `CREATE DATABASE ` + to + ` TEMPLATE ` + from} {
		_, err = admin.Exec(ctx, sql)
		require.NoError(t, err)
	}
	return restored
}

func TestADatabaseHasAnIDFromItsFirstMigrationOn(t *testing.T) {
	w := newWorld(t)
	first, err := w.Installation(t.Context())
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(first.ID))
	require.False(t, first.Restored())
	require.NoError(t, w.Migrate(t.Context()))
	again, err := w.Installation(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, again)

	fresh := openStore(t, testenv.Database(t))
	require.NoError(t, fresh.Migrate(t.Context()))
	other, err := fresh.Installation(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first.ID, other.ID)
}

func TestTheGenerationRisesOnceHoweverManyProcessesRaiseIt(t *testing.T) {
	w := newWorld(t)
	before, err := w.Installation(t.Context())
	require.NoError(t, err)
	for _, err := range atOnce(8, func(int) error { return w.AdvanceGeneration(t.Context(), time.Hour) }) {
		require.NoError(t, err)
	}
	w.advance(t, 1)
	for _, err := range atOnce(8, func(int) error { return w.AdvanceGeneration(t.Context(), time.Hour) }) {
		require.NoError(t, err)
	}
	after, err := w.Installation(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Generation+1, after.Generation)
}

func TestARestoredDatabaseIsNoticedHoweverFarItHasComeSince(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	w.host(t, "hv1", 8, 8192, 100)
	store := ImageStore{ID: uuid.NewString(), Name: "local", Location: "file:///images"}
	meet := func(s *Store, holds int64) Installation {
		t.Helper()
		row, err := s.HostByName(ctx, "hv1")
		require.NoError(t, err)
		i, err := s.HostHolds(ctx, row, holds)
		require.NoError(t, err)
		return i
	}
	held := meet(w.Store, 0).Generation
	i, err := w.ImageStoreHolds(ctx, store)
	require.NoError(t, err)
	require.Equal(t, held, i.Generation)
	backup := w.copied(t)
	w.advance(t, 2)
	held = meet(w.Store, held).Generation
	require.False(t, meet(w.Store, held).Restored(), "what it was given is known")
	require.False(t, meet(w.Store, held-1).Restored(), "an answer may get lost, and a host's folder be an older one")

	for range 100 {
		require.NoError(t, backup.AdvanceGeneration(ctx, 0))
	}
	i = meet(backup, held)
	require.True(t, i.Restored())
	require.Greater(t, i.Generation, held)
	require.Equal(t, []string{"host hv1"}, i.Restore.Witnesses())
	require.Equal(t, held, i.Restore.Evidence["host hv1"].Holds)
	require.Less(t, i.Restore.Evidence["host hv1"].Given, held)
	require.True(t, fault.Is(i.Stopped(), fault.Unavailable))
	store.Generation = held
	i, err = backup.ImageStoreHolds(ctx, store)
	require.NoError(t, err)
	require.Equal(t, []string{"host hv1", "image store local"}, i.Restore.Witnesses())
	again := meet(backup, held)
	require.Equal(t, i.Restore, again.Restore, "the first word of each counts")

	_, err = w.AcknowledgeRestore(ctx, "ops")
	requireFault(t, err, fault.Conflict, "Nothing has to be acknowledged: no restore of the database was noticed since the last time.")
	i, err = backup.AcknowledgeRestore(ctx, "ops")
	require.NoError(t, err)
	require.False(t, i.Restored())
	require.Equal(t, "ops", *i.Restore.AcknowledgedBy)
	require.Greater(t, i.Generation, held)
	require.NoError(t, i.Stopped())
	given := meet(backup, held)
	require.False(t, given.Restored(), "who was away holds what was acknowledged")
	require.False(t, meet(backup, given.Generation).Restored())
	require.True(t, meet(backup, given.Generation+1).Restored(), "another restore is another matter")
}

func TestAHostThatIsAdmittedAgainIsNoSignOfARestore(t *testing.T) {
	w := newWorld(t)
	h := w.host(t, "hv1", 8, 8192, 100)
	w.advance(t, 5)
	i, err := w.HostHolds(t.Context(), h, 0)
	require.NoError(t, err)
	require.NoError(t, w.DeleteHost(t.Context(), h.ID))
	again, err := w.HostHolds(t.Context(), w.host(t, "hv1", 8, 8192, 100), i.Generation)
	require.NoError(t, err)
	require.False(t, again.Restored())
}

func TestAStoreThatJoinedAfterTheBackupIsASignOfARestore(t *testing.T) {
	w := newWorld(t)
	i, err := w.ImageStoreHolds(t.Context(), ImageStore{ID: uuid.NewString(), Name: "cold", Location: "s3://b/", Generation: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"image store cold"}, i.Restore.Witnesses())
}

func TestAnAdoptedIDCountsAsARestore(t *testing.T) {
	w := newWorld(t)
	id := uuid.NewString()
	require.NoError(t, w.AdoptInstallation(t.Context(), id))
	i, err := w.Installation(t.Context())
	require.NoError(t, err)
	require.Equal(t, id, i.ID)
	require.True(t, i.Restored())
}

func TestUndosStopWhereAnOlderStateMayBeWrong(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	hv1, hv2 := w.host(t, "hv1", 8, 8192, 100), w.host(t, "hv2", 8, 8192, 100)
	building, deleting, active, failed, unknown := w.record(t, "building"), w.record(t, "deleting"), w.record(t, "active"), w.record(t, "failed"), uuid.NewString()
	for _, sql := range []string{
		`UPDATE servers SET task_state = 'deleting' WHERE id = '` + deleting.ID + `'`,
		`UPDATE servers SET status = 'ACTIVE', task_state = NULL, launched_at = now(), host_id = '` + hv1.ID + `' WHERE id = '` + active.ID + `'`,
		`UPDATE servers SET status = 'ERROR', task_state = NULL WHERE id = '` + failed.ID + `'`,
	} {
		_, err := w.pool.Exec(ctx, sql)
		require.NoError(t, err)
	}
	servers := map[string]string{"building": building.ID, "deleting": deleting.ID, "active": active.ID, "failed": failed.ID, "unknown": unknown}
	may := func(host Host) (names []string) {
		for _, name := range []string{"building", "deleting", "active", "failed", "unknown", "new"} {
			err := w.MayUndo(ctx, host.ID, servers[name])
			if err == nil {
				names = append(names, name)
			} else {
				require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			}
		}
		return names
	}
	require.Len(t, may(hv1), 6, "nothing was restored")
	require.NoError(t, w.NoticeRestore(ctx, "host hv1", RestoreEvidence{Holds: 9}))
	servers["new"] = w.record(t, "new").ID
	require.Equal(t, []string{"deleting", "new"}, may(hv1))
	require.Equal(t, []string{"deleting", "active", "new"}, may(hv2), "an active server has nothing to lose on another host")
	_, err := w.AcknowledgeRestore(ctx, "ops")
	require.NoError(t, err)
	require.Len(t, may(hv1), 6)
}
