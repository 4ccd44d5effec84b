package api

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// counted is an engine that says how much runs, and how often it was asked.
type counted struct {
	noBuilds
	counts engine.BuildCounts
	err    error
	asked  int
}

func (c *counted) CountBuilds(ctx context.Context) (engine.BuildCounts, error) {
	c.asked++
	if _, bounded := ctx.Deadline(); !bounded {
		return engine.BuildCounts{}, errors.New("the question has no end")
	}
	return c.counts, c.err
}

func TestGaugesSayWhatRunsAndAskOnceInAWhile(t *testing.T) {
	store, err := models.Open(t.Context(), testenv.Migrated(t), models.Options{})
	require.NoError(t, err)
	defer store.Close()
	oneServer(t, store)
	failingHost(t, store)
	engine := &counted{counts: engine.BuildCounts{
		Running: map[string]int64{"spawning": 3, "parked": 2}, Parked: 2, Overdue: map[string]int64{"spawning": 1},
	}}
	m := newBuildMetrics(store, engine, slog.New(slog.DiscardHandler))
	clock := time.Now()
	m.now = func() time.Time { return clock }
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(m))
	gauges := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		require.NoError(t, err)
		all := map[string]float64{}
		for _, f := range families {
			for _, g := range f.GetMetric() {
				name := f.GetName()
				for _, l := range g.GetLabel() {
					name += " " + l.GetValue()
				}
				all[name] = g.GetGauge().GetValue()
			}
		}
		return all
	}
	want := map[string]float64{
		"slipway_builds_running spawning": 3, "slipway_builds_running parked": 2, "slipway_builds_parked": 2, "slipway_builds_overdue spawning": 1,
		"slipway_source_readable temporal": 1, "slipway_source_readable database": 1, "slipway_servers BUILD scheduling": 1,
		"slipway_host_build_failures hv1": 1, "slipway_hosts_suspended": 1,
	}
	require.Equal(t, want, gauges())
	engine.err = errors.New("gone")
	clock = clock.Add(countsFresh - time.Second)
	require.Equal(t, want, gauges())
	require.Equal(t, 1, engine.asked)

	clock = clock.Add(time.Second)
	require.Equal(t, map[string]float64{
		"slipway_source_readable temporal": 0, "slipway_source_readable database": 1, "slipway_servers BUILD scheduling": 1,
		"slipway_host_build_failures hv1": 1, "slipway_hosts_suspended": 1,
	}, gauges(), "what cannot be read is not shown as it once was")
	require.Equal(t, 2, engine.asked)
}

// oneServer records a server that is being built.
func oneServer(t *testing.T, store *models.Store) {
	t.Helper()
	ctx := t.Context()
	p, err := store.EnsureProject(ctx, models.Project{ID: "p1", Name: "demo", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	u, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "demo", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: p.ID, Visibility: "private"}, nil)
	require.NoError(t, err)
	task := lifecycle.Scheduling
	require.NoError(t, store.RecordServer(ctx, models.Server{
		ID: uuid.NewString(), ProjectID: p.ID, UserID: u.ID, Name: "s", Hostname: "s", TaskState: &task, ImageID: image.ID, FlavorID: "1",
	}, models.InstanceAction{RequestID: "req-1", Action: "create", UserID: u.ID, ProjectID: p.ID}))
}

// failingHost registers a host that is suspended for its first failure, and one that does well.
func failingHost(t *testing.T, store *models.Store) {
	t.Helper()
	ctx := t.Context()
	for _, name := range []string{"hv1", "hv2"} {
		h, err := store.RegisterHost(ctx, models.Host{
			Hostname: name, TokenHash: []byte(name), VCPUs: 8, MemoryMiB: 8192, DiskGiB: 80, CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true,
		})
		require.NoError(t, err)
		if name != "hv1" {
			continue
		}
		all, err := store.ListServers(ctx, models.ServerFilter{})
		require.NoError(t, err)
		require.NoError(t, store.Place(ctx, models.Placement{ServerID: all[0].ID, HostID: h.ID, VCPUs: 1}, lifecycle.Scheduling))
		_, counted, err := store.CountBuildFailure(ctx, models.BuildFailure{ServerID: all[0].ID, Hostname: name, Text: "StartDomain: no", At: time.Now(), Limit: 1})
		require.NoError(t, err)
		require.True(t, counted)
	}
}
