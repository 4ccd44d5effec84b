package host

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
)

const snapshotID = "0d3a4b5c-0000-4000-8000-000000000001"

var (
	takeIn  = contract.TakeSnapshotInput{ServerID: server, ImageID: snapshotID}
	storeIn = contract.StoreSnapshotInput{ServerID: server, ImageID: snapshotID}
)

// sink keeps what it gets, and refuses as it is told.
type sink struct {
	got    []byte
	refuse error
}

func (s *sink) Put(_ context.Context, _ string, body io.Reader, size int64) error {
	if s.refuse != nil {
		return s.refuse
	}
	var err error
	if s.got, err = io.ReadAll(body); err == nil && int64(len(s.got)) != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// snapped is a running server whose image says something, the methods of its hypervisor that were called, and where images go.
func snapped(t *testing.T, image map[string]string, before func(method string) error) (p *place, calls *[]string, images *sink) {
	t.Helper()
	calls, images = new([]string), &sink{}
	p = newPlace(t, func(o *Options, _ *store) {
		h, err := fake.New(fake.Options{Before: func(_ context.Context, method, _ string) error {
			*calls = append(*calls, method)
			if before != nil {
				return before(method)
			}
			return nil
		}})
		require.NoError(t, err)
		o.Hypervisor, o.Images = h, images
	})
	p.hyp = p.o.Hypervisor.(*fake.Hypervisor)
	p.root.Properties = image
	p.fetch(t)
	for _, s := range steps {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	*calls = nil
	return p, calls, images
}

// sameDisk says that a copy leans on nothing and holds what a disk does.
func sameDisk(t *testing.T, root, copied string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", root, copied).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("qemu-img", "info", copied).CombinedOutput()
	require.NoError(t, err)
	require.NotContains(t, string(out), "backing file")
}

func TestACopyIsWholeWhetherItsGuestRunsOrNot(t *testing.T) {
	for name, stop := range map[string]func(*place) error{
		"on":     func(*place) error { return nil },
		"paused": func(p *place) error { return p.hyp.Suspend(t.Context(), server) },
		"off":    func(p *place) error { return p.hyp.Destroy(t.Context(), server) },
	} {
		t.Run(name, func(t *testing.T) {
			p, _, images := snapped(t, nil, nil)
			require.NoError(t, stop(p))
			before := p.world(t)
			require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
			copied := filepath.Join(p.dir, server, snapshotName, snapshotID)
			sameDisk(t, filepath.Join(p.dir, server, "disk"), copied)
			was, err := os.Stat(copied)
			require.NoError(t, err)
			require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
			is, err := os.Stat(copied)
			require.NoError(t, err)
			require.True(t, os.SameFile(was, is), "it is kept")

			for range 2 {
				require.NoError(t, p.StoreSnapshot(t.Context(), storeIn))
				content, err := os.ReadFile(copied)
				require.NoError(t, err)
				require.Equal(t, content, images.got)
			}
			for range 2 {
				require.NoError(t, p.DropSnapshot(t.Context(), contract.DropSnapshotInput{ServerID: server}))
				require.Equal(t, before, p.world(t))
			}
			require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
			for range 2 {
				require.NoError(t, p.RemoveSnapshot(t.Context(), undoIn))
				require.Equal(t, before, p.world(t))
			}
		})
	}
}

func TestAGuestIsFrozenForTheMomentInWhichItsCopyBegins(t *testing.T) {
	quiet := map[string]string{"hw_qemu_guest_agent": "yes"}
	p, calls, _ := snapped(t, quiet, nil)
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	require.Equal(t, []string{"State", "Freeze", "BeginBackup", "Thaw", "AwaitBackup"}, *calls)

	p, calls, _ = snapped(t, nil, nil)
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	require.Equal(t, []string{"State", "BeginBackup", "AwaitBackup"}, *calls, "it has no agent")
}

func TestAGuestThatCannotBeQuietIsCopiedAsItIsUnlessItsImageForbidsThat(t *testing.T) {
	silent := func(method string) error {
		if method == "Freeze" {
			return fault.New(fault.Conflict, "Failed to quiesce it because its QEMU guest agent does not answer")
		}
		return nil
	}
	p, calls, _ := snapped(t, map[string]string{"hw_qemu_guest_agent": "yes"}, silent)
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	require.Contains(t, *calls, "Thaw", "it may have been frozen all the same")
	require.Contains(t, *calls, "BeginBackup")

	for why, image := range map[string]map[string]string{
		"does not answer": {"hw_qemu_guest_agent": "yes", "os_require_quiesce": "yes"},
		"not enabled":     {"os_require_quiesce": "yes"},
	} {
		p, calls, _ := snapped(t, image, silent)
		err := p.TakeSnapshot(t.Context(), takeIn)
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		require.ErrorContains(t, err, why)
		require.NotContains(t, *calls, "BeginBackup")
		require.False(t, p.hyp.Snapshot()[server].Frozen)
		require.NoError(t, p.hyp.Destroy(t.Context(), server))
		require.NoError(t, p.TakeSnapshot(t.Context(), takeIn), "one that is off is quiet")
	}
}

func TestAGuestWhoseHostDiedWhileItWasFrozenIsThawedByTheNextTryAndByTheUndo(t *testing.T) {
	quiet := map[string]string{"hw_qemu_guest_agent": "yes"}
	for name, next := range map[string]func(*place) error{
		"the next try": func(p *place) error { return p.TakeSnapshot(t.Context(), takeIn) },
		"the undo":     func(p *place) error { return p.RemoveSnapshot(t.Context(), undoIn) },
		"the end":      func(p *place) error { return p.DropSnapshot(t.Context(), contract.DropSnapshotInput{ServerID: server}) },
	} {
		p, calls, _ := snapped(t, quiet, nil)
		folder := filepath.Join(p.dir, server, snapshotName)
		require.NoError(t, os.Mkdir(folder, 0o711))
		require.NoError(t, os.WriteFile(filepath.Join(folder, frozenName), nil, 0o600))
		require.NoError(t, p.hyp.Freeze(t.Context(), server))
		require.NoError(t, next(p))
		require.False(t, p.hyp.Snapshot()[server].Frozen, name)
		require.Contains(t, *calls, "EndBackup", name)
	}
}

func TestAGuestThatWasNotSeenToThawIsThawedOnceMoreWithItsCopy(t *testing.T) {
	for kind, undone := range map[fault.Kind]bool{fault.Conflict: true, fault.Unavailable: false} {
		hangs := true
		p, _, _ := snapped(t, map[string]string{"hw_qemu_guest_agent": "yes"}, func(method string) error {
			if method == "Thaw" && hangs {
				return fault.New(kind, "no answer")
			}
			return nil
		})
		require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
		require.True(t, p.hyp.Snapshot()[server].Frozen)
		require.Equal(t, undone, p.RemoveSnapshot(t.Context(), undoIn) == nil, "a guest that cannot be asked is asked again: %s", kind)
		if undone {
			continue
		}
		hangs = false
		require.NoError(t, p.RemoveSnapshot(t.Context(), undoIn))
		require.False(t, p.hyp.Snapshot()[server].Frozen)
	}
}

func TestACopyThatBreaksOffIsEndedAndBegunAnew(t *testing.T) {
	broken := true
	p, calls, _ := snapped(t, nil, func(method string) error {
		if method == "AwaitBackup" && broken {
			return fault.New(fault.Unavailable, "broke off")
		}
		return nil
	})
	require.True(t, fault.Is(p.TakeSnapshot(t.Context(), takeIn), fault.Unavailable))
	require.Equal(t, "EndBackup", (*calls)[len(*calls)-1])
	broken = false
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	sameDisk(t, filepath.Join(p.dir, server, "disk"), filepath.Join(p.dir, server, snapshotName, snapshotID))
}

func TestACopyThatNobodyWantsIsNotStored(t *testing.T) {
	p, _, images := snapped(t, nil, nil)
	require.True(t, fault.Is(p.StoreSnapshot(t.Context(), storeIn), fault.Internal), "there is none")
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	images.refuse = fault.New(fault.NotFound, "it was deleted")
	require.True(t, fault.Is(p.StoreSnapshot(t.Context(), storeIn), fault.NotFound))
	require.Equal(t, hypervisor.Running, p.hyp.Snapshot()[server].State)
}

func TestADeleteRemovesWhatACopyHasLeft(t *testing.T) {
	p, _, _ := snapped(t, nil, nil)
	require.NoError(t, p.TakeSnapshot(t.Context(), takeIn))
	require.NoError(t, p.DestroyDomain(t.Context(), undoIn))
	require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(p.dir, server, snapshotName))
}
