package placement_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// cloud is a database with n hosts of 4 vCPUs, of which the first has most memory, and so on.
func cloud(t testing.TB, n int) (*placement.Hosts, *pgx.Conn) {
	ctx := context.Background()
	dsn := testenv.Migrated(t)
	store, err := models.Open(ctx, dsn, models.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	db, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close(ctx)) })
	_, err = store.RegisterHost(ctx, models.Host{
		Hostname: "template", AvailabilityZone: "nova", TokenHash: []byte("template"), Architectures: []string{"x86_64"}, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 100,
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
	})
	require.NoError(t, err)
	_, err = db.Exec(ctx, `
INSERT INTO hosts SELECT (r).* FROM (
    SELECT jsonb_populate_record(h, jsonb_build_object('id', 'id' || i, 'hostname', 'hv' || lpad(i::text, 5, '0'), 'token_hash', '\x' || md5(i::text), 'memory_mib', 30000 - i)) AS r
    FROM hosts h, generate_series(0, $1::integer - 1) i) x`, n)
	require.NoError(t, err)
	_, err = db.Exec(ctx, `DELETE FROM hosts WHERE hostname = 'template'`)
	require.NoError(t, err)
	return placement.New(store, placement.Settings{DownAfter: time.Hour, Multipliers: scheduler.Multipliers{RAM: 1}}), db
}

var small = contract.SelectHostInput{Resources: contract.Resources{VCPUs: 4, RAMMiB: 1024, DiskGiB: 1}}

// choose takes the best host that refuses lets be taken.
func choose(t testing.TB, h *placement.Hosts, refuses ...string) (string, error) {
	t.Helper()
	r, err := h.Request(context.Background(), small)
	require.NoError(t, err)
	return placement.Take(context.Background(), h, r, func(c placement.Choice, others func(int) []string) (string, error) {
		for _, name := range refuses {
			if c.Hostname == name {
				return "", fault.New(fault.HostUnfit, "Host %s is not ready.", name)
			}
		}
		return c.Hostname, nil
	})
}

func TestChoicesOfOneReadingCountWhatTheyPlace(t *testing.T) {
	h, _ := cloud(t, 300)
	for i := range 3 {
		chosen, err := choose(t, h)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("hv%05d", i), chosen, "the first one is full by then, although nothing says so in the database")
	}
}

func TestAReadingOfAMomentAgoRefusesNothing(t *testing.T) {
	h, db := cloud(t, 300)
	ctx := t.Context()
	set := func(sql string) {
		t.Helper()
		_, err := db.Exec(ctx, sql)
		require.NoError(t, err)
	}
	set(`UPDATE hosts SET enabled = false`)
	_, err := choose(t, h)
	require.True(t, fault.Is(err, fault.NoValidHost))
	set(`UPDATE hosts SET enabled = true WHERE hostname = 'hv00007'`)
	chosen, err := choose(t, h)
	require.NoError(t, err, "the reading had no host")
	require.Equal(t, "hv00007", chosen)
	set(`UPDATE hosts SET enabled = true WHERE hostname = 'hv00009'`)
	chosen, err = choose(t, h, "hv00007")
	require.NoError(t, err, "the reading had one host, which is not as it says")
	require.Equal(t, "hv00009", chosen)
	set(`UPDATE hosts SET enabled = hostname = 'hv00011'`)
	_, err = choose(t, h, "hv00007", "hv00009", "hv00011")
	require.EqualError(t, err, "No valid host was found. What was fit is not any more: Host hv00011 is not ready.")
}

func TestAFewHostsAreReadForEachChoice(t *testing.T) {
	h, db := cloud(t, 3)
	for range 2 {
		chosen, err := choose(t, h)
		require.NoError(t, err)
		require.Equal(t, "hv00000", chosen)
	}
	_, err := db.Exec(t.Context(), `UPDATE hosts SET enabled = hostname = 'hv00002'`)
	require.NoError(t, err)
	chosen, err := choose(t, h)
	require.NoError(t, err)
	require.Equal(t, "hv00002", chosen)
}

// BenchmarkTakeOneOf10000Hosts is what a build pays for its choice beside the claim, in a burst of builds.
func BenchmarkTakeOneOf10000Hosts(b *testing.B) {
	h, _ := cloud(b, 10_000)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := choose(b, h); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "slowest-ms") // it reads the hosts
}
