package program

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
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
		"a missing file":        {&os.PathError{Op: "open", Path: "/etc/shadow", Err: syscall.ENOENT}, fault.Internal, "/etc/shadow"},
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

// bomb is a qcow2 of 2 MiB that expands to 16 GiB: every entry of its tables leads to the same compressed cluster.
func bomb(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	source, path := filepath.Join(dir, "source"), filepath.Join(dir, "bomb")
	require.NoError(t, os.WriteFile(source, bytes.Repeat([]byte("bomb"), 512<<10/4), 0o600))
	for _, args := range [][]string{
		{"convert", "-c", "-f", "raw", "-O", "qcow2", source, path}, {"resize", "-q", "-f", "qcow2", path, "16G"},
	} {
		out, err := exec.Command("qemu-img", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	at := func(off, length int64) []byte {
		b := make([]byte, length)
		_, err := f.ReadAt(b, off)
		require.NoError(t, err)
		return b
	}
	l1At, l1Entries := int64(binary.BigEndian.Uint64(at(40, 8))), int64(binary.BigEndian.Uint32(at(36, 4)))
	l2At := int64(binary.BigEndian.Uint64(at(l1At, 8)) & (1<<56 - 1))
	_, err = f.WriteAt(bytes.Repeat(at(l2At, 8), 8192), l2At)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat(at(l1At, 8), int(l1Entries)), l1At)
	require.NoError(t, err)
	st, err := f.Stat()
	require.NoError(t, err)
	require.Less(t, st.Size(), int64(2<<20))
	return path
}

func TestAQemuImgThatExceedsALimitIsEndedAndSaysWhich(t *testing.T) {
	hostile := bomb(t)
	// A map of 240 MiB, which QEMU reads at once.
	mapped := filepath.Join(t.TempDir(), "mapped.vdi")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "vdi", mapped, "60T").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for name, c := range map[string]struct {
		format, image string
		limits        Limits
		want          Limit
		says          string
	}{
		"file size":      {"qcow2", hostile, Limits{FileBytes: 1 << 20}, FileSize, "larger than 1048576 bytes"},
		"processor time": {"qcow2", hostile, Limits{FileBytes: 1 << 40, CPU: time.Second}, CPUTime, "more than 1s of processor time"},
		"memory":         {"vdi", mapped, Limits{FileBytes: 1 << 40, MemoryBytes: 256 << 20}, Memory, "more than 268435456 bytes of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "out")
			_, _, err := Run(t.Context(), Command{Name: "qemu-img", Args: []string{"convert", "-f", c.format, "-O", "qcow2", c.image, to}, Limits: c.limits})
			require.Error(t, err)
			require.Equal(t, c.want, Exceeded(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, fault.Internal, fault.KindOf(Fault(err, "testing")))
		})
	}
	require.Empty(t, Exceeded(os.ErrNotExist))
}

func TestAQemuImgThatWouldProbeAFormatIsNotRun(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	for _, args := range [][]string{
		nil, {"info", image}, {"convert", "-O", "raw", image, "out"}, {"convert", "-f", "raw", image, "out"}, {"create", image, "1M"},
		{"create", "-f", "qcow2", "-b", image, "top"}, {"convert", "-f", "raw", "-O", "qcow2", "-B", image, image, "out"},
		{"rebase", "-f", "qcow2", "-b", image, "top"}, {"resize", image, "1M"}, {"compare", "-f", "raw", image, image},
	} {
		_, _, err := Run(t.Context(), Command{Name: "qemu-img", Args: args})
		require.ErrorContains(t, err, "does not name its formats", "%v", args)
	}
	for _, args := range [][]string{
		{"create", "-q", "-f", "raw", image, "1M"}, {"create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, filepath.Join(dir, "top")},
		{"info", "-f", "raw", image}, {"convert", "-f", "raw", "-O", "qcow2", image, filepath.Join(dir, "out")},
		{"compare", "-f", "raw", "-F", "qcow2", image, filepath.Join(dir, "out")},
	} {
		_, _, err := Run(t.Context(), Command{Name: "qemu-img", Args: args})
		require.NoError(t, err, "%v", args)
	}
}
