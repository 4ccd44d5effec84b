package system

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
)

// OwnLibvirt starts a libvirtd that ends with the test, beside that of the run: a hypervisor of its own on the same machine.
func OwnLibvirt(t testing.TB) *stack.Libvirt {
	t.Helper()
	require.Zero(t, os.Geteuid(), "a libvirtd beside another needs namespaces of its own, and so root")
	dir, err := os.MkdirTemp("", "slv")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	own, err := stack.EnsureLibvirt(ctx, stack.LibvirtOptions{Dir: filepath.Join(dir, "libvirt"), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.True(t, own.Started, "the libvirtd is somebody else's")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, own.Stop(ctx))
	})
	return own
}
