package tlsfile

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that root copied could not be read until somebody had changed its owner, and was not looked at again.
func TestWhatCouldNotBeReadIsTriedAgainWithoutAnotherChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("a"), 0o600))
	var log strings.Builder
	var broken error
	f := &file[string]{setting: "api.tls_cert", paths: []string{path}, log: slog.New(slog.NewTextHandler(&log, nil)), read: func() (string, error) {
		text, err := os.ReadFile(path)
		return string(text), errors.Join(err, broken)
	}}
	require.NoError(t, f.open())
	broken = errors.New("too many open files")
	require.NoError(t, os.WriteFile(path, []byte("longer"), 0o600))
	for range 3 {
		require.Equal(t, "a", f.get())
	}
	require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), "it is said once")
	broken = nil
	require.Equal(t, "longer", f.get())
}
