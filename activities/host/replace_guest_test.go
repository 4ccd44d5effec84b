package host

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
)

// rebuildSteps are done to a server whose domain is defined.
var rebuildSteps = []step{
	{"BuildReplacement", func(ctx context.Context, p *place) error {
		_, err := p.BuildReplacement(ctx, contract.BuildReplacementInput{
			ServerID:    server,
			Disk:        contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 2, EphemeralGiB: 1},
			ConfigDrive: &contract.BuildConfigDriveInput{ServerID: server, Format: "vfat", Metadata: p.metadata()},
		})
		return err
	}, func(ctx context.Context, p *place) error { return p.RemoveReplacement(ctx, undoIn) }, []string{"next/disk", "next/disk.config"}},
	{"ReplaceGuest", func(ctx context.Context, p *place) error {
		return p.ReplaceGuest(ctx, contract.ReplaceGuestInput{ServerID: server, Facts: p.facts("anew")})
	}, func(ctx context.Context, p *place) error { return p.RestoreGuest(ctx, undoIn) }, []string{"previous/disk", "previous/facts.sealed"}},
}

// running is a server with a guest that has written to its disk.
func running(t *testing.T) *place {
	t.Helper()
	p := newPlace(t)
	p.fetch(t)
	for _, s := range steps {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	return p
}

func TestAGuestIsReplacedAndComesBackWithAllThatItHad(t *testing.T) {
	p := running(t)
	require.NoError(t, p.PowerOffDomain(t.Context(), undoIn))
	before := p.world(t)
	old := filepath.Join(p.dir, server, "disk.eph0")
	require.NoError(t, os.WriteFile(old, []byte("what the guest wrote"), 0o600))
	for range 2 {
		for _, s := range rebuildSteps {
			require.NoError(t, s.do(t.Context(), p), s.name)
			for _, f := range s.after {
				require.FileExists(t, filepath.Join(p.dir, server, f))
			}
			after := p.world(t)
			require.NoError(t, s.do(t.Context(), p), "%s again", s.name)
			require.Equal(t, names(after), names(p.world(t)), s.name)
			if s.name == "BuildReplacement" {
				require.NoError(t, s.undo(t.Context(), p))
				require.Equal(t, names(before), names(p.world(t)))
				require.NoError(t, s.do(t.Context(), p))
			}
		}
		require.Equal(t, "anew", p.hyp.Snapshot()[server].Domain.Title)
		require.NoFileExists(t, filepath.Join(p.dir, server, "disk.swap"), "the new one has none")
		require.FileExists(t, filepath.Join(p.dir, server, "console.log"), "the console is the server's")
		require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
		for i := len(rebuildSteps) - 1; i >= 0; i-- {
			for range 2 {
				require.NoError(t, rebuildSteps[i].undo(t.Context(), p), rebuildSteps[i].name)
			}
		}
		text, err := os.ReadFile(old)
		require.NoError(t, err)
		require.Equal(t, "what the guest wrote", string(text))
		require.Equal(t, names(before), names(p.world(t)))
		require.Equal(t, before["domain "+server], p.world(t)["domain "+server], "defined as it was, and off")
	}
	require.NoError(t, p.PowerOnDomain(t.Context(), undoIn))
}

func TestAReplacedGuestThatWasNotPutBackInOneGoIsPutBackInTheNext(t *testing.T) {
	p := running(t)
	want := names(p.world(t))
	for _, s := range rebuildSteps {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	dir := filepath.Join(p.dir, server)
	// The host died when the first file was back.
	require.NoError(t, removeGuest(dir))
	require.NoError(t, os.Rename(filepath.Join(dir, previousName), filepath.Join(dir, movingName)))
	require.NoError(t, os.Rename(filepath.Join(dir, movingName, "disk"), filepath.Join(dir, "disk")))
	require.NoError(t, p.RestoreGuest(t.Context(), undoIn))
	require.Equal(t, want, names(p.world(t)))
	require.Equal(t, "web", p.hyp.Snapshot()[server].Domain.Title)

	// And while it was set aside.
	require.NoError(t, rebuildSteps[0].do(t.Context(), p))
	require.NoError(t, os.Mkdir(filepath.Join(dir, movingName), 0o711))
	require.NoError(t, os.Rename(filepath.Join(dir, factsName), filepath.Join(dir, movingName, factsName)))
	require.NoError(t, rebuildSteps[1].do(t.Context(), p), "it goes on")
	require.NoError(t, p.RemoveReplaced(t.Context(), contract.RemoveReplacedInput{ServerID: server}))
	require.NoError(t, p.RemoveReplaced(t.Context(), contract.RemoveReplacedInput{ServerID: server}), "again")
	require.NoError(t, p.RestoreGuest(t.Context(), undoIn), "it is too late")
	require.Equal(t, "anew", p.hyp.Snapshot()[server].Domain.Title)
	require.NoDirExists(t, filepath.Join(dir, previousName))
}

func TestAGuestOfWhichNothingIsKnownIsNotReplaced(t *testing.T) {
	p := running(t)
	require.NoError(t, os.Remove(filepath.Join(p.dir, server, factsName)))
	require.NoError(t, rebuildSteps[0].do(t.Context(), p))
	err := rebuildSteps[1].do(t.Context(), p)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, hypervisor.Running, p.hyp.Snapshot()[server].State, "nothing was touched")
}

func TestADeleteTakesAllThatARebuildLeft(t *testing.T) {
	for n := range rebuildSteps {
		p := running(t)
		for _, s := range rebuildSteps[:n+1] {
			require.NoError(t, s.do(t.Context(), p), s.name)
		}
		for i := len(steps) - 1; i >= 0; i-- {
			require.NoError(t, steps[i].undo(t.Context(), p), steps[i].name)
		}
		require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
		require.Equal(t, fake.World{}, p.hyp.Snapshot())
	}
}
