// Package hypervisortest is the contract of the port hypervisor.Hypervisor as tests, which every implementation passes.
package hypervisortest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// timeout bounds one call. An emulated guest starts in half a second; the rest is for a machine that is busy.
const timeout = 2 * time.Minute

// Run runs the contract. newHypervisor gives an implementation that closes itself with the test. newDomain gives a domain
// that can run there, with a fresh uuid and the name slipway-<uuid>; it is removed again after the test.
func Run(t *testing.T, newHypervisor func(*testing.T) hypervisor.Hypervisor, newDomain func(*testing.T) hypervisor.Domain) {
	s := suite{newHypervisor, newDomain}
	t.Run("a domain goes through its life", s.life)
	t.Run("doing twice is doing once", s.doTwice)
	t.Run("undoing twice is undoing once", s.undoTwice)
	t.Run("undoing what never happened succeeds", s.undoNothing)
	t.Run("asking to shut down returns at once, and is success where nothing runs", s.shutdown)
	t.Run("starting what is not defined is not found", s.startAbsent)
	t.Run("a name that belongs to another domain is a conflict", s.nameTaken)
	t.Run("a uuid that has another name is a conflict", s.renamed)
	t.Run("another definition replaces one that does not run", s.redefine)
	t.Run("another definition of a running domain is a conflict", s.redefineRunning)
	t.Run("a running domain is not undefined", s.undefineRunning)
	t.Run("a domain that is off is made anew, also by the same definition", s.anew)
	t.Run("a guest that is suspended stands until it is resumed", s.suspend)
	t.Run("a guest whose memory is saved is off, and starts from it once", s.save)
	t.Run("concurrent starts of one domain start it once and all succeed", s.concurrentStarts)
	t.Run("concurrent lives of several domains do not disturb each other", s.concurrentLives)
	t.Run("a cancelled context changes nothing and is reported", s.cancelled)
	t.Run("a guest that runs is looked into, and no other", s.inside)
	t.Run("the disk of a guest that is on is copied as it is when that begins", s.backup)
	t.Run("a string that is no uuid is refused", s.noUUID)
	t.Run("a domain tells where its log lies", s.folder)
	t.Run("a watch tells of each change, and ends with its context", s.watch)
	t.Run("the capabilities tell what a scheduler needs", s.capabilities)
	t.Run("the trial passes, and is made again when it is asked for", s.trial)
}

type suite struct {
	newHypervisor func(*testing.T) hypervisor.Hypervisor
	newDomain     func(*testing.T) hypervisor.Domain
}

func (s suite) setup(t *testing.T) (hypervisor.Hypervisor, hypervisor.Domain) {
	h := s.newHypervisor(t)
	return h, s.domain(t, h)
}

func (s suite) domain(t *testing.T, h hypervisor.Hypervisor) hypervisor.Domain {
	d := s.newDomain(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		require.NoError(t, h.Destroy(ctx, d.UUID))
		require.NoError(t, h.Undefine(ctx, d.UUID))
	})
	return d
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func (s suite) folder(t *testing.T) {
	h, d := s.setup(t)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	folder, err := h.Folder(ctx, d.UUID)
	require.NoError(t, err)
	require.Empty(t, folder, "before it is defined")
	if d.ConsoleLog == "" {
		d.ConsoleLog = filepath.Join(t.TempDir(), "console.log")
	}
	require.NoError(t, h.Define(ctx, d))
	folder, err = h.Folder(ctx, d.UUID)
	require.NoError(t, err)
	require.Equal(t, filepath.Dir(d.ConsoleLog), folder)
}

func requireState(t *testing.T, h hypervisor.Hypervisor, d hypervisor.Domain, want hypervisor.State) {
	t.Helper()
	requireStatus(t, h, d, hypervisor.Status{State: want})
}

func requireStatus(t *testing.T, h hypervisor.Hypervisor, d hypervisor.Domain, want hypervisor.Status) {
	t.Helper()
	state, err := h.State(ctxOf(t), d.UUID)
	require.NoError(t, err)
	require.Equal(t, want.State, state)
	list, err := h.List(ctxOf(t))
	require.NoError(t, err)
	want.UUID, want.Name = d.UUID, d.Name
	if want.State == hypervisor.Absent {
		for _, s := range list {
			require.NotEqual(t, d.UUID, s.UUID)
		}
		return
	}
	require.Contains(t, list, want)
}

func requireFault(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	require.Error(t, err)
	require.True(t, errors.As(err, new(*fault.Error)), "not a fault: %v", err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.NotEmpty(t, fault.Public(err))
}

func (s suite) life(t *testing.T) {
	h, d := s.setup(t)
	requireState(t, h, d, hypervisor.Absent)
	require.NoError(t, h.Define(ctxOf(t), d))
	requireState(t, h, d, hypervisor.ShutOff)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	requireState(t, h, d, hypervisor.Running)
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID))
	requireState(t, h, d, hypervisor.ShutOff)
	require.NoError(t, h.Start(ctxOf(t), d.UUID), "what was stopped starts again")
	requireState(t, h, d, hypervisor.Running)
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID))
	require.NoError(t, h.Undefine(ctxOf(t), d.UUID))
	requireState(t, h, d, hypervisor.Absent)
}

func (s suite) doTwice(t *testing.T) {
	h, d := s.setup(t)
	for range 2 {
		require.NoError(t, h.Define(ctxOf(t), d))
	}
	requireState(t, h, d, hypervisor.ShutOff)
	for range 2 {
		require.NoError(t, h.Start(ctxOf(t), d.UUID))
	}
	requireState(t, h, d, hypervisor.Running)
	require.NoError(t, h.Define(ctxOf(t), d), "the same definition again is success, running or not")
	requireState(t, h, d, hypervisor.Running)
}

func (s suite) undoTwice(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	for range 2 {
		require.NoError(t, h.Destroy(ctxOf(t), d.UUID))
	}
	requireState(t, h, d, hypervisor.ShutOff)
	for range 2 {
		require.NoError(t, h.Undefine(ctxOf(t), d.UUID))
	}
	requireState(t, h, d, hypervisor.Absent)
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID), "nor does the order matter")
}

func (s suite) undoNothing(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID))
	require.NoError(t, h.Undefine(ctxOf(t), d.UUID))
	requireState(t, h, d, hypervisor.Absent)
	require.NoError(t, h.Define(ctxOf(t), d))
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID), "defined, but never started")
	requireState(t, h, d, hypervisor.ShutOff)
}

func (s suite) watch(t *testing.T) {
	h, d := s.setup(t)
	ctx, stop := context.WithCancel(ctxOf(t))
	connected, changed, ended := make(chan struct{}), make(chan struct{}, 100), make(chan error, 1)
	go func() {
		ended <- h.Watch(ctx, func() { close(connected) }, func() { changed <- struct{}{} })
	}()
	heard := func(from <-chan struct{}) {
		t.Helper()
		select {
		case <-from:
		case err := <-ended:
			t.Fatalf("the watch ended: %v", err)
		case <-ctx.Done():
			t.Fatal("nothing was heard")
		}
	}
	heard(connected)
	require.NoError(t, h.Define(ctx, d))
	for _, change := range []func(context.Context, string) error{h.Start, h.Destroy} {
		for len(changed) > 0 {
			<-changed
		}
		require.NoError(t, change(ctx, d.UUID))
		heard(changed)
	}
	all, err := h.List(ctx)
	require.NoError(t, err)
	for _, one := range all {
		require.False(t, one.UUID == d.UUID && one.ByItself, "it was turned off")
	}
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// The guest of this contract has no system that would hear its power button: whether it went is its own business.
func (s suite) shutdown(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Shutdown(ctxOf(t), d.UUID), "never defined")
	requireState(t, h, d, hypervisor.Absent)
	require.NoError(t, h.Define(ctxOf(t), d))
	require.NoError(t, h.Shutdown(ctxOf(t), d.UUID), "never started")
	requireState(t, h, d, hypervisor.ShutOff)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	for range 2 {
		require.NoError(t, h.Shutdown(ctxOf(t), d.UUID))
		got, err := h.State(ctxOf(t), d.UUID)
		require.NoError(t, err)
		require.Contains(t, []hypervisor.State{hypervisor.Running, hypervisor.ShutOff}, got)
	}
}

// The guest of this contract has no system, and so no agent.
func (s suite) inside(t *testing.T) {
	h, d := s.setup(t)
	refuse := func(kind fault.Kind) {
		t.Helper()
		_, err := h.Diagnostics(ctxOf(t), d.UUID)
		requireFault(t, err, kind)
		requireFault(t, h.InjectNMI(ctxOf(t), d.UUID), kind)
		requireFault(t, h.SetUserPassword(ctxOf(t), d.UUID, "root", "secret"), kind)
		requireFault(t, h.Freeze(ctxOf(t), d.UUID), kind)
		requireFault(t, h.Thaw(ctxOf(t), d.UUID), kind)
		_, err = h.OpenConsole(ctxOf(t), d.UUID, contract.ConsoleSerial)
		requireFault(t, err, kind)
		_, err = h.Screenshot(ctxOf(t), d.UUID)
		requireFault(t, err, kind)
	}
	refuse(fault.NotFound)
	require.NoError(t, h.Define(ctxOf(t), d))
	refuse(fault.Conflict)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	found, err := h.Diagnostics(ctxOf(t), d.UUID)
	require.NoError(t, err)
	require.NotEmpty(t, found.Hypervisor)
	require.EqualValues(t, d.MemoryMiB, found.MemoryKiB>>10)
	require.Equal(t, found.MemoryKiB, found.Memory["actual"])
	require.Len(t, found.CPUs, d.VCPUs)
	require.Len(t, found.Disks, len(d.Disks))
	require.Len(t, found.NICs, len(d.NICs))
	for i, nic := range d.NICs {
		require.Equal(t, nic.MAC, found.NICs[i].MAC)
	}
	for range 2 {
		require.NoError(t, h.InjectNMI(ctxOf(t), d.UUID))
	}
	err = h.SetUserPassword(ctxOf(t), d.UUID, "root", "secret")
	requireFault(t, err, fault.Conflict)
	require.Equal(t, "QEMU guest agent is not enabled", fault.Public(err))
	for range 2 {
		console, err := h.OpenConsole(ctxOf(t), d.UUID, contract.ConsoleSerial)
		require.NoError(t, err)
		require.NoError(t, console.Close())
	}
	picture, err := h.Screenshot(ctxOf(t), d.UUID)
	require.NoError(t, err)
	require.Positive(t, picture.Bounds().Dx()*picture.Bounds().Dy())
	for _, quiesce := range []func(context.Context, string) error{h.Freeze, h.Thaw} {
		err = quiesce(ctxOf(t), d.UUID)
		requireFault(t, err, fault.Conflict)
		require.Equal(t, "QEMU guest agent is not enabled", fault.Public(err))
	}
	requireState(t, h, d, hypervisor.Running)
}

// backup copies a disk in which a mark lies at its end.
func (s suite) backup(t *testing.T) {
	h, d := s.setup(t)
	disk := d.Disks[0].Path
	mark := []byte("flushed before it began")
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	require.NoError(t, err)
	st, err := f.Stat()
	require.NoError(t, err)
	_, err = f.WriteAt(mark, st.Size()-512)
	require.NoError(t, errors.Join(err, f.Close()))
	copyTo := func(name string) string { return filepath.Join(filepath.Dir(disk), name) }

	require.NoError(t, h.EndBackup(ctxOf(t), d.UUID), "there is none, nor a domain")
	requireFault(t, h.BeginBackup(ctxOf(t), d.UUID, disk, copyTo("absent")), fault.NotFound)
	require.NoError(t, h.Define(ctxOf(t), d))
	requireFault(t, h.BeginBackup(ctxOf(t), d.UUID, disk, copyTo("off")), fault.Conflict)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	for name, before := range map[string]func(context.Context, string) error{
		"running": func(context.Context, string) error { return nil }, "paused": h.Suspend,
	} {
		require.NoError(t, before(ctxOf(t), d.UUID))
		require.NoError(t, h.BeginBackup(ctxOf(t), d.UUID, disk, copyTo(name)))
		require.NoError(t, h.AwaitBackup(ctxOf(t), d.UUID, func(done, total int64) { require.LessOrEqual(t, done, total) }))
		require.NoError(t, h.EndBackup(ctxOf(t), d.UUID), "it has ended")
		raw := copyTo(name + ".raw")
		out, err := exec.CommandContext(ctxOf(t), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", copyTo(name), raw).CombinedOutput()
		require.NoError(t, err, "%s", out)
		got, err := os.ReadFile(raw)
		require.NoError(t, err)
		require.Len(t, got, int(st.Size()))
		require.Equal(t, mark, got[st.Size()-512:][:len(mark)])
	}
	require.NoError(t, h.Resume(ctxOf(t), d.UUID))
	requireState(t, h, d, hypervisor.Running)
	require.NoError(t, h.BeginBackup(ctxOf(t), d.UUID, disk, copyTo("given-up")))
	require.NoError(t, h.EndBackup(ctxOf(t), d.UUID))
	require.NoError(t, h.BeginBackup(ctxOf(t), d.UUID, disk, copyTo("lost")))
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID))
	require.NoError(t, h.EndBackup(ctxOf(t), d.UUID), "it went with its guest")
}

func (s suite) startAbsent(t *testing.T) {
	h, d := s.setup(t)
	requireFault(t, h.Start(ctxOf(t), d.UUID), fault.NotFound)
	requireState(t, h, d, hypervisor.Absent)
}

func (s suite) nameTaken(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	other := s.domain(t, h)
	other.Name = d.Name
	requireFault(t, h.Define(ctxOf(t), other), fault.Conflict)
	requireState(t, h, other, hypervisor.Absent)
	requireState(t, h, d, hypervisor.ShutOff)
}

func (s suite) renamed(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	other := d
	other.Name = "slipway-" + uuid.NewString()
	requireFault(t, h.Define(ctxOf(t), other), fault.Conflict)
	requireState(t, h, d, hypervisor.ShutOff)
}

func (s suite) redefine(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	d.Title += ", renamed"
	require.NoError(t, h.Define(ctxOf(t), d))
	requireState(t, h, d, hypervisor.ShutOff)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	require.NoError(t, h.Define(ctxOf(t), d), "it runs with the second definition")
}

func (s suite) redefineRunning(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	other := d
	other.Title += ", renamed"
	requireFault(t, h.Define(ctxOf(t), other), fault.Conflict)
	requireState(t, h, d, hypervisor.Running)
	require.NoError(t, h.Define(ctxOf(t), d), "the first definition is still the one")
}

func (s suite) undefineRunning(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	requireFault(t, h.Undefine(ctxOf(t), d.UUID), fault.Conflict)
	requireState(t, h, d, hypervisor.Running)
}

func (s suite) anew(t *testing.T) {
	h, d := s.setup(t)
	for range 2 {
		require.NoError(t, h.Redefine(ctxOf(t), d))
	}
	requireState(t, h, d, hypervisor.ShutOff)
	other := s.domain(t, h)
	other.Name = d.Name
	requireFault(t, h.Redefine(ctxOf(t), other), fault.Conflict)
	renamed := d
	renamed.Name = "slipway-" + uuid.NewString()
	requireFault(t, h.Redefine(ctxOf(t), renamed), fault.Conflict)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	requireFault(t, h.Redefine(ctxOf(t), d), fault.Conflict)
	requireState(t, h, d, hypervisor.Running)
}

func (s suite) suspend(t *testing.T) {
	h, d := s.setup(t)
	for _, do := range []func(context.Context, string) error{h.Suspend, h.Resume} {
		requireFault(t, do(ctxOf(t), d.UUID), fault.NotFound)
	}
	require.NoError(t, h.Define(ctxOf(t), d))
	for _, do := range []func(context.Context, string) error{h.Suspend, h.Resume} {
		requireFault(t, do(ctxOf(t), d.UUID), fault.Conflict)
	}
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	for range 2 {
		require.NoError(t, h.Suspend(ctxOf(t), d.UUID))
		requireState(t, h, d, hypervisor.Paused)
	}
	requireFault(t, h.Start(ctxOf(t), d.UUID), fault.Conflict)
	for range 2 {
		require.NoError(t, h.Resume(ctxOf(t), d.UUID))
		requireState(t, h, d, hypervisor.Running)
	}
	require.NoError(t, h.Suspend(ctxOf(t), d.UUID))
	require.NoError(t, h.Destroy(ctxOf(t), d.UUID), "it need not run to be stopped")
	requireState(t, h, d, hypervisor.ShutOff)
}

func (s suite) save(t *testing.T) {
	h, d := s.setup(t)
	requireFault(t, h.Save(ctxOf(t), d.UUID), fault.NotFound)
	require.NoError(t, h.Define(ctxOf(t), d))
	requireFault(t, h.Save(ctxOf(t), d.UUID), fault.Conflict)
	for _, before := range []func(context.Context, string) error{h.Start, h.Suspend} {
		require.NoError(t, before(ctxOf(t), d.UUID))
		for range 2 {
			require.NoError(t, h.Save(ctxOf(t), d.UUID))
			requireStatus(t, h, d, hypervisor.Status{State: hypervisor.ShutOff, Saved: true})
		}
		require.NoError(t, h.Start(ctxOf(t), d.UUID))
		requireState(t, h, d, hypervisor.Running)
	}
	require.NoError(t, h.Save(ctxOf(t), d.UUID))
	require.NoError(t, h.Redefine(ctxOf(t), d))
	requireFault(t, h.Save(ctxOf(t), d.UUID), fault.Conflict)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	require.NoError(t, h.Save(ctxOf(t), d.UUID))
	require.NoError(t, h.Undefine(ctxOf(t), d.UUID), "with what was saved")
	requireState(t, h, d, hypervisor.Absent)
}

func (s suite) concurrentStarts(t *testing.T) {
	h, d := s.setup(t)
	require.NoError(t, h.Define(ctxOf(t), d))
	ctx := ctxOf(t)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = h.Start(ctx, d.UUID) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	requireState(t, h, d, hypervisor.Running)
}

func (s suite) concurrentLives(t *testing.T) {
	h := s.newHypervisor(t)
	ctx := ctxOf(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		d := s.domain(t, h)
		wg.Go(func() {
			for range 2 {
				errs[i] = errors.Join(errs[i],
					h.Define(ctx, d), h.Start(ctx, d.UUID), h.Destroy(ctx, d.UUID), h.Undefine(ctx, d.UUID))
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

func (s suite) cancelled(t *testing.T) {
	h, d := s.setup(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	all := func(d hypervisor.Domain) {
		t.Helper()
		_, capsErr := h.Capabilities(gone)
		_, stateErr := h.State(gone, d.UUID)
		_, listErr := h.List(gone)
		for _, err := range []error{
			capsErr, stateErr, listErr,
			h.Define(gone, d), h.Redefine(gone, d), h.Start(gone, d.UUID), h.Suspend(gone, d.UUID), h.Resume(gone, d.UUID), h.Save(gone, d.UUID),
			h.Destroy(gone, d.UUID), h.Undefine(gone, d.UUID),
		} {
			requireFault(t, err, fault.Unavailable)
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	all(d)
	requireState(t, h, d, hypervisor.Absent)
	require.NoError(t, h.Define(ctxOf(t), d))
	all(d)
	requireState(t, h, d, hypervisor.ShutOff)
	require.NoError(t, h.Start(ctxOf(t), d.UUID))
	all(d)
	requireState(t, h, d, hypervisor.Running)
}

func (s suite) noUUID(t *testing.T) {
	h, d := s.setup(t)
	d.UUID = "../../etc/passwd"
	requireFault(t, h.Define(ctxOf(t), d), fault.Internal)
	requireFault(t, h.Start(ctxOf(t), d.UUID), fault.Internal)
	requireFault(t, h.Redefine(ctxOf(t), d), fault.Internal)
	requireFault(t, h.Suspend(ctxOf(t), d.UUID), fault.Internal)
	requireFault(t, h.Save(ctxOf(t), d.UUID), fault.Internal)
	requireFault(t, h.Destroy(ctxOf(t), d.UUID), fault.Internal)
	requireFault(t, h.Undefine(ctxOf(t), d.UUID), fault.Internal)
	_, err := h.State(ctxOf(t), d.UUID)
	requireFault(t, err, fault.Internal)
}

func (s suite) trial(t *testing.T) {
	h := s.newHypervisor(t)
	first, err := h.Trial(ctxOf(t), false)
	require.NoError(t, err)
	require.True(t, first.Passed, first.Reason)
	same, err := h.Trial(ctxOf(t), false)
	require.NoError(t, err)
	require.Equal(t, first, same)
	again, err := h.Trial(ctxOf(t), true)
	require.NoError(t, err)
	require.True(t, again.Passed, again.Reason)
	require.True(t, again.At.After(first.At))
	require.True(t, again.Since.Equal(first.Since), "it runs as before")
	all, err := h.List(ctxOf(t))
	require.NoError(t, err)
	for _, d := range all {
		require.NotContains(t, d.Name, "trial", "the trial's guest is no server")
	}
}

func (s suite) capabilities(t *testing.T) {
	h := s.newHypervisor(t)
	c, err := h.Capabilities(ctxOf(t))
	require.NoError(t, err)
	require.NotEmpty(t, c.Hostname)
	require.NotEmpty(t, c.Type)
	require.Positive(t, c.Version)
	require.NotEmpty(t, c.Architectures)
	require.Positive(t, c.VCPUs)
	require.Greater(t, c.MemoryMiB, 64)
}
