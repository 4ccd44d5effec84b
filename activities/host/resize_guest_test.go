package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// resizeSteps are done to a server whose domain is defined; the last one is the way back.
var resizeSteps = []step{
	{"BuildResized", func(ctx context.Context, p *place) error {
		return p.BuildResized(ctx, contract.BuildResizedInput{
			ServerID:    server,
			Disk:        contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 2, EphemeralGiB: 2, SwapMiB: 32},
			ConfigDrive: &contract.BuildConfigDriveInput{ServerID: server, Format: "iso9660", Metadata: p.metadata()},
		})
	}, func(ctx context.Context, p *place) error { return p.RemoveReplacement(ctx, undoIn) }, []string{"next/disk", "next/disk.eph0", "next/disk.swap", "next/disk.config"}},
	{"ReplaceByResized", func(ctx context.Context, p *place) error {
		facts := p.facts("web")
		facts.Spec.Flavor = contract.Flavor{VCPUs: 4, RAMMiB: 1024, DiskGiB: 2, EphemeralGiB: 2, SwapMiB: 32}
		return p.ReplaceGuest(ctx, contract.ReplaceGuestInput{ServerID: server, Facts: facts})
	}, func(ctx context.Context, p *place) error { return p.RestoreGuest(ctx, undoIn) }, []string{"previous/disk", "previous/facts.sealed"}},
	{"RevertGuest", func(ctx context.Context, p *place) error {
		return p.RevertGuest(ctx, contract.RevertGuestInput{ServerID: server})
	}, func(ctx context.Context, p *place) error { return p.UnrevertGuest(ctx, undoIn) }, []string{"resized/disk", "resized/facts.sealed"}},
}

// wrote has the guest of a server's folder have written something to its second disk.
func (p *place) wrote(t *testing.T, what string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, server, "disk.eph0"), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(what), 1<<29)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func (p *place) reads(t *testing.T, n int) string {
	t.Helper()
	f, err := os.Open(filepath.Join(p.dir, server, "disk.eph0"))
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, 1<<29)
	require.NoError(t, err)
	return string(b)
}

func TestAResizedGuestHasAllThatItHadAndMoreAndMayGoBackAndForth(t *testing.T) {
	p := running(t)
	require.NoError(t, p.PowerOffDomain(t.Context(), undoIn))
	p.wrote(t, "before")
	before := p.world(t)
	for range 2 {
		var worlds []map[string]any
		for _, s := range resizeSteps {
			worlds = append(worlds, p.world(t))
			require.NoError(t, s.do(t.Context(), p), s.name)
			for _, f := range s.after {
				require.FileExists(t, filepath.Join(p.dir, server, f))
			}
			after := p.world(t)
			require.NoError(t, s.do(t.Context(), p), "%s again", s.name)
			require.Equal(t, names(after), names(p.world(t)), s.name)
			switch s.name {
			case "BuildResized":
				require.NoError(t, s.undo(t.Context(), p))
				require.Equal(t, before, p.world(t))
				require.NoError(t, s.do(t.Context(), p))
			case "ReplaceByResized":
				require.Equal(t, "before", p.reads(t, 6))
				d := p.hyp.Snapshot()[server].Domain
				require.Equal(t, []int{4, 1024}, []int{d.VCPUs, d.MemoryMiB})
				st, err := os.Stat(filepath.Join(p.dir, server, "disk.eph0"))
				require.NoError(t, err)
				require.Equal(t, 2*gib, st.Size())
				p.wrote(t, "after!")
			}
		}
		require.Equal(t, "before", p.reads(t, 6), "as it was when it was shut down")
		require.Equal(t, before["domain "+server], p.world(t)["domain "+server], "defined as it was, and off")
		for i := len(resizeSteps) - 1; i >= 0; i-- {
			for range 2 {
				require.NoError(t, resizeSteps[i].undo(t.Context(), p), resizeSteps[i].name)
			}
			require.Equal(t, present(worlds[i]), present(p.world(t)), resizeSteps[i].name)
			if i == 2 {
				require.Equal(t, "after!", p.reads(t, 6), "a revert that fails leaves the new guest what it was")
			}
		}
		require.Equal(t, before, p.world(t))
	}
}

func TestARevertThatWasCutOffAnywhereGoesOnOrBack(t *testing.T) {
	for _, cut := range []func(dir string) error{
		func(dir string) error { // some of the new guest is set aside
			return os.Rename(filepath.Join(dir, "resized"), filepath.Join(dir, "resized.part"))
		},
		func(dir string) error { // some of the old one is in place
			if err := os.Mkdir(filepath.Join(dir, movingName), 0o711); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "disk"), filepath.Join(dir, movingName, "disk"))
		},
	} {
		for _, on := range []bool{true, false} {
			p := running(t)
			for _, s := range resizeSteps[:2] {
				require.NoError(t, s.do(t.Context(), p), s.name)
			}
			resized := names(p.world(t))
			require.NoError(t, resizeSteps[2].do(t.Context(), p))
			reverted := names(p.world(t))
			dir := filepath.Join(p.dir, server)
			if _, err := os.Stat(filepath.Join(dir, previousName)); err == nil {
				t.Fatal("the old guest is in its place")
			}
			if cut(dir) == nil && isThere(filepath.Join(dir, "resized.part")) {
				// Nothing of the old guest is in place while the new one is not all aside.
				require.NoError(t, os.Mkdir(filepath.Join(dir, previousName), 0o711))
				require.NoError(t, moveGuest(dir, filepath.Join(dir, previousName)))
				require.NoError(t, os.Rename(filepath.Join(dir, "resized.part", "disk"), filepath.Join(dir, "disk")))
			}
			if on {
				require.NoError(t, resizeSteps[2].do(t.Context(), p))
				require.Equal(t, reverted, names(p.world(t)))
				require.Equal(t, 2, p.hyp.Snapshot()[server].Domain.VCPUs)
				continue
			}
			require.NoError(t, resizeSteps[2].undo(t.Context(), p))
			require.Equal(t, resized, names(p.world(t)))
			require.Equal(t, 4, p.hyp.Snapshot()[server].Domain.VCPUs)
		}
	}
}

func TestTheGuestThatAServerHasNoMoreIsRemovedAndCannotComeBack(t *testing.T) {
	p := running(t)
	for _, s := range resizeSteps[:2] {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	for range 2 {
		require.NoError(t, p.RemoveReplaced(t.Context(), contract.RemoveReplacedInput{ServerID: server}))
	}
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	require.NoError(t, p.UnrevertGuest(t.Context(), undoIn), "it was never reverted")
	require.Equal(t, hypervisor.Running, p.hyp.Snapshot()[server].State)
	err := p.RevertGuest(t.Context(), contract.RevertGuestInput{ServerID: server})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, hypervisor.Running, p.hyp.Snapshot()[server].State, "nothing was touched")

	for n := range resizeSteps {
		p := running(t)
		for _, s := range resizeSteps[:n+1] {
			require.NoError(t, s.do(t.Context(), p), s.name)
		}
		for i := len(steps) - 1; i >= 0; i-- {
			require.NoError(t, steps[i].undo(t.Context(), p), steps[i].name)
		}
		require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t), "a delete takes all")
	}
}

func TestADiskThatLeansOnAnotherFileThanItsImageIsNotResized(t *testing.T) {
	p := running(t)
	disk := filepath.Join(p.dir, server, "disk")
	require.NoError(t, os.WriteFile(disk, foreign(t), 0o600))
	err := resizeSteps[0].do(t.Context(), p)
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.NoFileExists(t, filepath.Join(p.dir, server, "next", "disk"))
}

// foreign is a disk that a guest has written which broke out of QEMU.
func foreign(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path+".base", make([]byte, 1<<20), 0o600))
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", path+".base", path, "2M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}
