package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

func TestAHostDoesNotStartWhereQEMUsUserCannotReachItsGuests(t *testing.T) {
	private := filepath.Join(testenv.GuestDir(t), "private")
	require.NoError(t, os.Mkdir(private, 0o700))
	c := config.Default()
	c.Host.Hostname, c.Host.Token, c.Host.StateDir = "hv1", "token", filepath.Join(private, "host")
	err := runHost(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "chmod o+x "+private)
	require.NoDirExists(t, c.Host.StateDir)
}

func TestFoldersAreMadeWithTheirModesWhateverTheUmaskIs(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	openUmask()
	dir := filepath.Join(t.TempDir(), "host")
	require.NoError(t, os.Mkdir(dir, 0o755))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
}
