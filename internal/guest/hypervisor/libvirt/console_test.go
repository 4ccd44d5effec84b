package libvirt

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// TestTheConsolesOfAGuestAreReachedWhereQEMUHasThem asks a guest whose processors stand: QEMU serves its consoles all the same.
func TestTheConsolesOfAGuestAreReachedWhereQEMUHasThem(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	start := func(t *testing.T, video string) string {
		d := emptyGuest(t)
		d.NICs, d.Hardware.Video = nil, video
		removeLater(t, h, d)
		require.NoError(t, h.Define(t.Context(), d))
		require.NoError(t, h.of(t.Context(), "start domain ", d.UUID, func(c *client, dom golibvirt.Domain) error {
			_, err := c.DomainCreateWithFlags(dom, uint32(golibvirt.DomainStartPaused))
			return err
		}))
		return d.UUID
	}
	id := start(t, "")
	serial, err := h.OpenConsole(t.Context(), id, contract.ConsoleSerial)
	require.NoError(t, err)
	_, err = io.WriteString(serial, "\r")
	require.NoError(t, err)
	require.NoError(t, serial.Close())
	screen, err := h.OpenConsole(t.Context(), id, contract.ConsoleVNC)
	require.NoError(t, err)
	greeting := make([]byte, len("RFB 003.008\n"))
	_, err = io.ReadFull(screen, greeting)
	require.NoError(t, err)
	require.Equal(t, "RFB 003.008\n", string(greeting))
	require.NoError(t, screen.Close())

	_, err = h.OpenConsole(t.Context(), start(t, "none"), contract.ConsoleVNC)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.Contains(t, fault.Public(err), "Unavailable console type vnc. The server has no screen")
}

func TestWhatIsNotQEMUsIsNotOpenedForAConsole(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "vnc.sock")
	require.NoError(t, os.Symlink("/run/libvirt/libvirt-sock", link))
	for _, path := range []string{"/dev/null", "/etc/shadow", "/dev/pts/../null", "/dev/pts/0\x00", ""} {
		_, err := openTerminal(t.Context(), "", path)
		require.ErrorContains(t, err, "no terminal of QEMU's", path)
	}
	_, err := openSocket(t.Context(), "", link)
	require.ErrorContains(t, err, "is not QEMU's")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = openSocket(t.Context(), "", file)
	require.ErrorContains(t, err, "is not QEMU's")
}
