package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
)

func TestAWorkerWritesNetworksToTheEngineThatTheSettingsName(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	store, err := models.Open(t.Context(), testenv.Migrated(t), models.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(t.Context(), models.Project{ID: "p1", Name: "demo", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	locks := store.Locks("elections")
	t.Cleanup(locks.Close)
	waiting := func() int64 {
		b, err := store.NetworkBacklog(context.Background())
		require.NoError(t, err)
		return b.Waiting
	}
	network := func() {
		_, err := store.CreateNetwork(context.Background(), models.Network{ProjectID: "p1", Name: "n"})
		require.NoError(t, err)
	}

	c := config.Default().Network
	c.Engine = config.EngineOVN
	_, err = networkWriter(t.Context(), c, store, locks, tlsfile.New(quiet), quiet)
	require.ErrorContains(t, err, "network.ovn_nb is not set")
	c.OVNNB, c.OVNCA = "ssl:127.0.0.1:6641", "/nonexistent"
	_, err = networkWriter(t.Context(), c, store, locks, tlsfile.New(quiet), quiet)
	require.ErrorContains(t, err, "network.ovn_ca: open /nonexistent")

	c = config.Default().Network
	c.Engine = config.EngineFake
	w, err := networkWriter(t.Context(), c, store, locks, tlsfile.New(quiet), quiet)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	require.Eventually(t, func() bool { network(); return waiting() > 0 }, time.Minute, time.Millisecond, "changes are kept")
	require.Eventually(t, func() bool { return waiting() == 0 }, time.Minute, time.Millisecond, "and taken")

	// A worker with other settings lets the one that writes be.
	others := store.Locks("elections")
	t.Cleanup(others.Close)
	none, err := networkWriter(t.Context(), config.Default().Network, store, others, tlsfile.New(quiet), quiet)
	require.NoError(t, err)
	require.Nil(t, none)
	network()
	require.Eventually(t, func() bool { return waiting() == 0 }, time.Minute, time.Millisecond)
	stop()
	running.Wait()
	network()
	require.NotZero(t, waiting())
	_, err = networkWriter(t.Context(), config.Default().Network, store, others, tlsfile.New(quiet), quiet)
	require.NoError(t, err)
	require.Zero(t, waiting())
	network()
	require.Zero(t, waiting(), "nobody would take it")
}
