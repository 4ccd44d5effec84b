package images

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/models"
)

const mib = 1 << 20

func made(t *testing.T, format string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", format, path, "64M").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func TestQEMUAndTheInspectorHaveToAgree(t *testing.T) {
	t.Parallel()
	good := made(t, "qcow2")
	says := func(script string) string {
		path := filepath.Join(t.TempDir(), "says")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		return path
	}
	broken := filepath.Join(t.TempDir(), "broken")
	write(t, broken, noise(10_000))
	for name, c := range map[string]struct {
		qemu, path string
		info       imageformat.Info
		want       fault.Kind // "" is taken
	}{
		"it does":                     {"qemu-img", good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 64 * mib}, ""},
		"another size":                {"qemu-img", good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 65 * mib}, fault.Invalid},
		"another format":              {"qemu-img", good, imageformat.Info{Format: imageformat.VHDX, VirtualBytes: 64 * mib}, fault.Invalid},
		"no image":                    {"qemu-img", broken, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 64 * mib}, fault.Invalid},
		"plain bytes are not opened":  {"qemu-img", filepath.Join(t.TempDir(), "nothing"), imageformat.Info{Format: imageformat.Raw, VirtualBytes: 5}, ""},
		"QEMU is not there":           {"qemu-img-that-is-not-there", good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 65 * mib}, ""},
		"it sees a backing file":      {says(`echo '{"virtual-size": 5, "backing-filename": "/etc/passwd"}'`), good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 5}, fault.Invalid},
		"it crashes":                  {says(`exec perl -e 'unpack "p", pack "Q", 1'`), good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 64 * mib}, fault.Invalid},
		"it never stops to calculate": {says("ulimit -t 1; while :; do :; done"), good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 64 * mib}, fault.Invalid},
		"it says what nobody reads":   {says("echo hello"), good, imageformat.Info{Format: imageformat.QCOW2, VirtualBytes: 64 * mib}, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkWithQEMU(t.Context(), c.qemu, c.path, c.info)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			refused(t, c.want, err)
		})
	}
}

// The inspector reads headers and not tables: what is damaged below them QEMU refuses.
func TestWhatOnlyQEMUSeesIsRefusedBeforeItIsPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	data, err := os.ReadFile(made(t, "qcow2"))
	require.NoError(t, err)
	i := w.queued(func(i *models.Image) { format := "qcow2"; i.DiskFormat = &format })
	before := w.everything()
	const at = 1 << 20 // a table of one snapshot, which is nonsense
	damaged := append(bytes.Clone(data), make([]byte, at-len(data))...)
	damaged = append(damaged, bytes.Repeat([]byte{0xff}, 64<<10)...)
	binary.BigEndian.PutUint32(damaged[60:], 1)
	binary.BigEndian.PutUint64(damaged[64:], at)
	_, err = w.For(member).Upload(t.Context(), i, bytesTo("local", damaged))
	refused(t, fault.Invalid, err)
	require.Equal(t, before, w.everything())
	_, err = w.For(member).Upload(t.Context(), i, bytesTo("local", data))
	require.NoError(t, err)
}
