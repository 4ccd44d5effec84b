package fake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/hypervisortest"
)

func domain(t *testing.T) hypervisor.Domain {
	id := uuid.NewString()
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	return hypervisor.Domain{
		UUID: id, Name: "slipway-" + id, Title: "one", ProjectID: "p", VCPUs: 1, MemoryMiB: 128,
		Disks: []hypervisor.Disk{{Path: disk, Format: "raw", Role: hypervisor.RootDisk, Device: "disk"}},
	}
}

func newFake(t *testing.T, o fake.Options) *fake.Hypervisor {
	h, err := fake.New(o)
	require.NoError(t, err)
	return h
}

func TestTheFakeKeepsTheContract(t *testing.T) {
	for name, o := range map[string]fake.Options{
		"in memory":    {},
		"in a folder":  {Dir: t.TempDir()},
		"with latency": {DefineLatency: time.Millisecond, StartLatency: 5 * time.Millisecond, DestroyLatency: 2 * time.Millisecond, ReadLatency: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			hypervisortest.Run(t, func(t *testing.T) hypervisor.Hypervisor { return newFake(t, o) }, domain)
		})
	}
}

func TestTheWorldSurvivesARestartOfTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b]*?")
	first := newFake(t, fake.Options{Dir: dir})
	running, stopped, gone := domain(t), domain(t), domain(t)
	stopped.NICs = []hypervisor.NIC{} // not nil, and yet the same after the file
	for _, d := range []hypervisor.Domain{running, stopped, gone} {
		require.NoError(t, first.Define(t.Context(), d))
	}
	require.NoError(t, first.Start(t.Context(), running.UUID))
	require.NoError(t, first.Undefine(t.Context(), gone.UUID))

	// What a process left that died while it wrote.
	require.NoError(t, os.WriteFile(filepath.Join(dir, gone.UUID+".json.new"), []byte(`{"dom`), 0o600))
	second := newFake(t, fake.Options{Dir: dir})
	require.Equal(t, first.Snapshot(), second.Snapshot())
	require.Equal(t, hypervisor.Running, second.Snapshot()[running.UUID].State)
	require.Len(t, second.Snapshot(), 2)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "one file a domain, and none left over")
}

func TestWhatAProcessThatWasKilledDidNotFinishIsGoneAfterTheRestart(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, uuid.NewString()+".json.new"), []byte("{"), 0o644))
	h := newFake(t, fake.Options{Dir: dir})
	require.Empty(t, h.Snapshot())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestASnapshotIsACopyThatLaterCallsDoNotChange(t *testing.T) {
	h := newFake(t, fake.Options{})
	before := h.Snapshot()
	d := domain(t)
	require.NoError(t, h.Define(t.Context(), d))
	was := d.Disks[0].Path
	d.Disks[0].Path = "/elsewhere"
	require.Equal(t, was, h.Snapshot()[d.UUID].Domain.Disks[0].Path)
	require.NotEqual(t, before, h.Snapshot())
	require.NoError(t, h.Undefine(t.Context(), d.UUID))
	require.Equal(t, before, h.Snapshot(), "the world after do and undo equals the world before")
}

func TestAHookFailsACallBeforeOrAfterItsEffect(t *testing.T) {
	boom := errors.New("boom")
	on := func(method string) fake.Hook {
		return func(_ context.Context, m, _ string) error {
			if m == method {
				return boom
			}
			return nil
		}
	}
	d := domain(t)

	before := newFake(t, fake.Options{Before: on("Start")})
	require.NoError(t, before.Define(t.Context(), d))
	require.ErrorIs(t, before.Start(t.Context(), d.UUID), boom)
	require.Equal(t, hypervisor.ShutOff, before.Snapshot()[d.UUID].State)

	after := newFake(t, fake.Options{After: on("Start")})
	require.NoError(t, after.Define(t.Context(), d))
	require.ErrorIs(t, after.Start(t.Context(), d.UUID), boom)
	require.Equal(t, hypervisor.Running, after.Snapshot()[d.UUID].State)
}

func TestACallThatIsOverdueHasNoEffect(t *testing.T) {
	h := newFake(t, fake.Options{StartLatency: time.Hour})
	d := domain(t)
	require.NoError(t, h.Define(t.Context(), d))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := h.Start(ctx, d.UUID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, fault.Is(err, fault.Unavailable))
	require.Equal(t, hypervisor.ShutOff, h.Snapshot()[d.UUID].State)
}

func TestTheCapabilitiesAreThoseOfTheOptions(t *testing.T) {
	h := newFake(t, fake.Options{Hostname: "h7", VCPUs: 3, MemoryMiB: 1000, Architectures: []string{"aarch64"}})
	c, err := h.Capabilities(t.Context())
	require.NoError(t, err)
	require.Equal(t, hypervisor.Capabilities{
		Hostname: "h7", Type: "fake", Version: 1_000_000, Architectures: []string{"aarch64"}, VCPUs: 3, MemoryMiB: 1000,
	}, c)
}
