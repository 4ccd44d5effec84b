package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
)

// arrived is a host to which the disks of a server came that ran on another, with what its guest wrote.
func arrived(t *testing.T) *place {
	t.Helper()
	p := newPlace(t)
	p.fetch(t)
	next := filepath.Join(p.dir, server, nextName)
	require.NoError(t, steps[1].do(t.Context(), p))
	require.NoError(t, os.Remove(filepath.Join(p.dir, server, "disk.swap"))) // which does not travel
	p.wrote(t, "before")
	require.NoError(t, os.Mkdir(next, 0o711))
	require.NoError(t, moveGuest(filepath.Join(p.dir, server), next))
	return p
}

func buildArrived(p *place, rootGiB int) contract.BuildArrivedInput {
	return contract.BuildArrivedInput{ServerID: server, Disk: contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: rootGiB, EphemeralGiB: 2, SwapMiB: 32}}
}

func TestDisksThatHaveArrivedGrowAndAreTheServersWithAllThatWasWritten(t *testing.T) {
	p := arrived(t)
	for range 2 {
		require.NoError(t, p.BuildArrived(t.Context(), buildArrived(p, 2)))
		require.Equal(t, "before", p.reads(t, 6))
		for name, bytes := range map[string]int64{"disk.eph0": 2 * gib, "disk.swap": 32 * mib} {
			st, err := os.Stat(filepath.Join(p.dir, server, name))
			require.NoError(t, err)
			require.Equal(t, bytes, st.Size(), name)
		}
		f, err := os.Open(filepath.Join(p.dir, server, "disk"))
		require.NoError(t, err)
		st, err := f.Stat()
		require.NoError(t, err)
		h, err := imageformat.ReadQCOW2(f, st.Size())
		require.NoError(t, errors.Join(err, f.Close()))
		require.Equal(t, 2*gib, h.VirtualBytes)
		require.NoDirExists(t, filepath.Join(p.dir, server, nextName))
		require.NoDirExists(t, filepath.Join(p.dir, server, placingName))
	}
	for _, s := range append([]step{steps[0]}, steps[2:]...) {
		require.NoError(t, s.do(t.Context(), p), "a guest is made of them as in a build: %s", s.name)
	}
	for i := len(steps) - 1; i >= 0; i-- {
		require.NoError(t, steps[i].undo(t.Context(), p), steps[i].name)
	}
	require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
}

func TestAHostThatDiedWhileArrivedDisksWerePutInPlaceGoesOnOrBack(t *testing.T) {
	for _, cut := range []func(dir string) error{
		func(dir string) error { return nil }, // while they grew
		func(dir string) error {
			return os.Rename(filepath.Join(dir, nextName), filepath.Join(dir, placingName))
		},
		func(dir string) error { // some are in place
			return errors.Join(os.Rename(filepath.Join(dir, nextName), filepath.Join(dir, placingName)),
				os.Rename(filepath.Join(dir, placingName, "disk"), filepath.Join(dir, "disk")))
		},
	} {
		for _, on := range []bool{true, false} {
			p := arrived(t)
			require.NoError(t, p.growDisks(t.Context(), filepath.Join(p.dir, server, nextName), buildArrived(p, 2).Disk))
			require.NoError(t, cut(filepath.Join(p.dir, server)))
			if on {
				require.NoError(t, p.BuildArrived(t.Context(), buildArrived(p, 2)))
				require.Equal(t, "before", p.reads(t, 6))
				require.FileExists(t, filepath.Join(p.dir, server, "disk"))
				continue
			}
			for range 2 {
				require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
			}
			require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
		}
	}
}

func TestADiskThatHasNotArrivedOrLeansOnAnotherFileIsNoGuests(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	err := p.BuildArrived(t.Context(), buildArrived(p, 2))
	require.True(t, fault.Is(err, fault.Internal), "%v", err)

	p = arrived(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, nextName, "disk"), foreign(t), 0o600))
	err = p.BuildArrived(t.Context(), buildArrived(p, 2))
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.NoFileExists(t, filepath.Join(p.dir, server, "disk"))
}
