package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hypervisor/fake"
)

func TestOnlyTheGuestsOfThisStateFolderAreResumed(t *testing.T) {
	virt, err := fake.New(fake.Options{})
	require.NoError(t, err)
	instances, mine, others := t.TempDir(), uuid.NewString(), uuid.NewString()
	for _, id := range []string{mine, others} {
		require.NoError(t, virt.Define(context.Background(), hypervisor.Domain{UUID: id, Name: "slipway-" + id, VCPUs: 1, MemoryMiB: 128}))
	}
	require.NoError(t, os.Mkdir(filepath.Join(instances, mine), 0o755))

	require.NoError(t, resumeGuests(context.Background(), virt, instances, slog.New(slog.DiscardHandler)))
	for id, want := range map[string]hypervisor.State{mine: hypervisor.Running, others: hypervisor.ShutOff} {
		state, err := virt.State(context.Background(), id)
		require.NoError(t, err)
		require.Equal(t, want, state)
	}
}
