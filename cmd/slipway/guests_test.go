package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
)

func TestOnlyTheGuestsOfThisStateFolderThatAreOffAreNamedToTheAPI(t *testing.T) {
	virt, err := fake.New(fake.Options{})
	require.NoError(t, err)
	instances, off, runs, others := t.TempDir(), uuid.NewString(), uuid.NewString(), uuid.NewString()
	for _, id := range []string{off, runs, others} {
		require.NoError(t, virt.Define(context.Background(), hypervisor.Domain{UUID: id, Name: "slipway-" + id, VCPUs: 1, MemoryMiB: 128}))
	}
	for _, id := range []string{off, runs} {
		require.NoError(t, os.Mkdir(filepath.Join(instances, id), 0o755))
	}
	require.NoError(t, virt.Start(context.Background(), runs))

	var named []string
	resume := func(_ context.Context, servers []string) error { named = append(named, servers...); return nil }
	require.NoError(t, resumeGuests(context.Background(), virt, resume, instances, slog.New(slog.DiscardHandler)))
	require.Equal(t, []string{off}, named)
}
