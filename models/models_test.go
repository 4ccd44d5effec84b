package models

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func openStore(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dsn, Options{MaxConns: 20, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// world is a migrated database with a project, a user and what a server needs to exist.
type world struct {
	*Store
	project Project
	user    User
	image   Image
	network Network
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{Store: openStore(t, testenv.Migrated(t))}
	var err error
	w.project, err = w.EnsureProject(ctx, Project{ID: "p1", Name: "demo", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	w.user, err = w.EnsureUser(ctx, User{ID: "u1", Name: "demo", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	require.NoError(t, w.EnsureRole(ctx, "u1", "p1", "member"))
	w.image, err = w.CreateImage(ctx, Image{ID: uuid.NewString(), Name: new("cirros"), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	w.network, err = w.EnsureNetwork(ctx, Network{ID: uuid.NewString(), ProjectID: "p1", Name: "private"},
		Subnet{Name: "v4", CIDR: "10.0.0.0/24", GatewayIP: new("10.0.0.1"), Pools: []ipam.Pool{{Start: "10.0.0.10", End: "10.0.0.99"}}})
	require.NoError(t, err)
	return w
}

// server is a valid one in BUILD, with its create action.
func (w *world) server(name string) (Server, InstanceAction) {
	id := uuid.NewString()
	v := Server{
		ID: id, ProjectID: "p1", UserID: "u1", Name: name, Hostname: name, TaskState: new(lifecycle.Scheduling),
		ImageID: w.image.ID, FlavorID: "1", Flavor: FlavorSnapshot{ID: "1", Name: "m1.tiny", VCPUs: 1, RAMMiB: 512, DiskGiB: 1},
		Metadata: map[string]string{"role": "web"}, Tags: []string{"blue"},
	}
	return v, InstanceAction{ServerID: id, RequestID: "req-" + id, Action: "create", UserID: "u1", ProjectID: "p1"}
}

func (w *world) record(t testing.TB, name string) Server {
	t.Helper()
	v, a := w.server(name)
	require.NoError(t, w.RecordServer(context.Background(), v, a))
	return v
}

func (w *world) host(t testing.TB, name string, vcpus, memoryMiB, diskGiB int) Host {
	t.Helper()
	token := sha256.Sum256([]byte(name))
	h, err := w.RegisterHost(context.Background(), Host{
		Hostname: name, AvailabilityZone: "nova", TokenHash: token[:], HypervisorType: "QEMU", HypervisorVersion: 7002000,
		Architectures: []string{"x86_64"}, VCPUs: vcpus, MemoryMiB: memoryMiB, DiskGiB: diskGiB,
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, Version: "test", StartedAt: now(), SeenAt: now(),
	})
	require.NoError(t, err)
	return h
}

func (w *world) snapshot(t testing.TB, omit ...string) map[string][]string {
	t.Helper()
	got, err := w.Snapshot(context.Background(), omit...)
	require.NoError(t, err)
	return got
}

// requireFault holds the kind and the whole text that a user sees.
func requireFault(t testing.TB, err error, kind fault.Kind, text string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Equal(t, text, fault.Public(err))
}

// atOnce runs f n times at the same moment and gives the errors in order.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func succeeded(errs []error) int {
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
		}
	}
	return n
}

func TestMigrationsRunFromNothingAndFromEightProcessesAtOnce(t *testing.T) {
	ctx := context.Background()
	dsn := testenv.Database(t)
	stores := make([]*Store, 8)
	for i := range stores {
		stores[i] = openStore(t, dsn)
	}
	v, err := stores[0].Version(ctx)
	require.NoError(t, err)
	require.Zero(t, v)
	for i, err := range atOnce(8, func(i int) error { return stores[i].Migrate(ctx) }) {
		require.NoError(t, err, "process %d", i)
	}
	v, err = stores[0].Version(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 56, v)
	require.NoError(t, stores[0].Migrate(ctx), "again")
	got, err := stores[0].Snapshot(ctx)
	require.NoError(t, err)
	require.Len(t, got, 65)
	require.NotContains(t, got, "goose_db_version")
}

func TestTheSchemaGoesAwayAgain(t *testing.T) {
	ctx := context.Background()
	s := openStore(t, testenv.Database(t))
	require.NoError(t, s.Migrate(ctx))
	p, err := s.migrator()
	require.NoError(t, err)
	_, err = p.DownTo(ctx, 0)
	require.NoError(t, err)
	got, err := s.Snapshot(ctx)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, s.Migrate(ctx))
}

func TestAPostgresThatDoesNotAnswerIsUnavailable(t *testing.T) {
	ctx := context.Background()
	_, err := Open(ctx, "host=/nonexistent user=nobody dbname=none", Options{})
	requireFault(t, err, fault.Unavailable, "The database does not answer. Please try again later.")

	w := newWorld(t)
	t.Run("when it ends the session", func(t *testing.T) {
		for range 3 {
			// Every statement of this pipeline ends the session that runs it: a shutdown as a client sees it.
			err := w.batch(ctx, func(b *pgx.Batch) { b.Queue(`SELECT pg_terminate_backend(pg_backend_pid())`) })
			require.Equal(t, fault.Unavailable, fault.KindOf(failed(err, "x")), "%v", err)
			err = w.db.Exec(`SELECT pg_terminate_backend(pg_backend_pid())`).Error
			require.Equal(t, fault.Unavailable, fault.KindOf(failed(err, "x")), "%v", err)
		}
		_, err := w.Project(ctx, "p1")
		require.NoError(t, err, "and the next call gets a new session")
	})
	t.Run("when the caller's time is up", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := w.pool.Exec(short, `SELECT pg_sleep(5)`)
		require.Equal(t, fault.Unavailable, fault.KindOf(failed(err, "x")), "%v", err)
	})
}

func TestATransactionThatPostgresGivesUpIsRunAgain(t *testing.T) {
	w := newWorld(t)
	runs := 0
	err := withRetries(context.Background(), func() error {
		runs++
		_, err := w.pool.Exec(context.Background(), `DO $$ BEGIN RAISE EXCEPTION 'could not serialize' USING ERRCODE = '40001'; END $$`)
		return err
	})
	require.Equal(t, attempts, runs)
	require.Equal(t, fault.Unavailable, fault.KindOf(failed(err, "x")))
}

func TestATextThatPostgresCannotStoreIsTheCallersFault(t *testing.T) {
	w := newWorld(t)
	_, err := w.Flavor(context.Background(), "a\x00b")
	requireFault(t, err, fault.Invalid, "A text contains a character that cannot be stored.")
}

func TestAStatementPreparedBeforeAMigrationGoesOnWorking(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for i := range 5 {
		_, err := w.Project(ctx, "p1")
		require.NoError(t, err)
		require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: fmt.Sprint(i), ProjectID: "p1"}, Limits{-1, -1, -1}))
		_, err = w.pool.Exec(ctx, fmt.Sprintf(`ALTER TABLE projects ADD COLUMN extra%d text; ALTER TABLE claims ADD COLUMN extra%d text`, i, i), pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
}
