package control

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// A libvirtd died between the look at the hosts and the claim, and the user was told that other builds had taken the room.
func TestAHostThatIsFitNoMoreWhenItsRoomIsClaimedIsNamedWithTheReason(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dsn := testenv.Migrated(t)
	store, err := models.Open(ctx, dsn, models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	_, err = store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	token := sha256.Sum256([]byte("hv1"))
	_, err = store.RegisterHost(ctx, models.Host{
		Hostname: "hv1", AvailabilityZone: "nova", TokenHash: token[:], Architectures: []string{"x86_64"}, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 100,
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
	})
	require.NoError(t, err)
	a := New(Options{Store: store, Placement: placement.Settings{DownAfter: time.Hour}})
	server := uuid.NewString()
	require.NoError(t, asStep(t, func(ctx context.Context) error {
		return a.RecordServer(ctx, contract.RecordServerInput{
			Server: contract.Server{
				ServerID: server, ProjectID: "p1", UserID: "u1", RequestID: "req-1", Name: "web", Hostname: "web", ImageID: image.ID,
				Flavor: contract.Flavor{ID: "small", Name: "small", VCPUs: 1, RAMMiB: 64, DiskGiB: 1},
			},
			Phase: contract.PhaseScheduling, StartedAt: time.Now(),
		})
	}))

	// The host's report is on the way: whoever looks sees a host that is ready, and the claim waits for the report.
	db, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer db.Close(context.WithoutCancel(ctx))
	report, err := db.Begin(ctx)
	require.NoError(t, err)
	_, err = report.Exec(ctx, `UPDATE hosts SET ready = false`)
	require.NoError(t, err)
	selected := make(chan error, 1)
	go func() {
		selected <- asStep(t, func(ctx context.Context) error {
			_, err := a.SelectHost(ctx, contract.SelectHostInput{ServerID: server, Resources: contract.Resources{VCPUs: 1, RAMMiB: 64, DiskGiB: 1}})
			return err
		})
	}()
	watch, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer watch.Close(context.WithoutCancel(ctx))
	for waits := 0; waits == 0; time.Sleep(5 * time.Millisecond) {
		require.NoError(t, watch.QueryRow(ctx, `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity s USING (pid) WHERE NOT l.granted AND s.datname = current_database()`).Scan(&waits))
	}
	require.NoError(t, report.Commit(ctx))
	err = <-selected
	require.True(t, fault.Is(err, fault.NoValidHost), "%v", err)
	require.Equal(t, "No valid host was found. What was fit is not any more: Host hv1 is not ready.", fault.Public(err))
}
