package program

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAProgramThatWritesTooLargeAFileIsStoppedAndSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big")
	_, _, err := Run(t.Context(), Command{Name: "dd", Args: []string{"if=/dev/zero", "of=" + path, "bs=64k", "count=100"}, Limits: Limits{FileBytes: 1 << 20}})
	require.Error(t, err)
	info, statErr := os.Stat(path)
	require.NoError(t, statErr)
	require.LessOrEqual(t, info.Size(), int64(1<<20))
}

func TestAProgramThatTalksWithoutEndIsStopped(t *testing.T) {
	_, _, err := Run(t.Context(), Command{Name: "yes", Limits: Limits{OutputBytes: 1000}})
	require.ErrorIs(t, err, errOutputTooLarge)
}

func TestACancelledRunEndsItsWholeProcessGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := Run(ctx, Command{Name: "sh", Args: []string{"-c", "sleep 60 & sleep 60"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 4*time.Second)
	require.True(t, fault.Is(Fault(err, "testing"), fault.Unavailable))
}

func TestMemoryAndProcessorTimeAreLimited(t *testing.T) {
	out, _, err := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", "ulimit -v; ulimit -t; ulimit -c"}, Limits: Limits{MemoryBytes: 512 << 20, CPU: 7 * time.Second}})
	require.NoError(t, err)
	require.Equal(t, "524288\n7\n0\n", string(out))
}

func TestFailuresAreNamedForWhatTheyAre(t *testing.T) {
	_, _, missing := Run(t.Context(), Command{Name: "no-such-program-here"})
	_, _, failed := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", "echo qemu-img: broken >&2; exit 3"}})
	_, _, full := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", "echo write error: No space left on device >&2; exit 1"}})
	for name, c := range map[string]struct {
		err  error
		kind fault.Kind
		says string
	}{
		"a missing program":     {missing, fault.HostUnfit, "no-such-program-here"},
		"a program's failure":   {failed, fault.Internal, "qemu-img: broken"},
		"a full disk, in words": {full, fault.HostUnfit, "the host's disk is full"},
		"a full disk, by errno": {&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, fault.HostUnfit, "the host's disk is full"},
		"a fault as it is":      {fault.New(fault.Invalid, "too small"), fault.Invalid, "too small"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Fault(c.err, "testing")
			require.Equal(t, c.kind, fault.KindOf(got))
			require.ErrorContains(t, got, c.says)
		})
	}
	require.NoError(t, Fault(nil, "testing"))
}

func TestAcceptedExitCodesAreSuccess(t *testing.T) {
	_, _, err := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", "exit 1"}, OKCodes: []int{1}})
	require.NoError(t, err)
}
