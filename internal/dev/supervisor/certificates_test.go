package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/pki"
)

func TestACAWhoseMakingWasCutOffIsMadeAnewAndOneThatIsThereStays(t *testing.T) {
	var said []string
	d := &dev{
		options: options{state: t.TempDir(), api: "127.0.0.1:8774", temporal: "10.0.0.7:7233"},
		say:     func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
	}
	require.NoError(t, os.MkdirAll(d.pki()+".new", 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(d.pki()+".new", "ca.key"), []byte("half of it"), 0o600))
	_, err := d.certifyTemporal(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.certifyServer(t.Context(), controlName, d.api))
	require.Len(t, said, 4, said)

	kept, err := os.ReadFile(caOf(d.pki()))
	require.NoError(t, err)
	_, err = d.certifyTemporal(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.certifyServer(t.Context(), controlName, d.api))
	require.Len(t, said, 4, "what will do is kept")
	now, err := os.ReadFile(caOf(d.pki()))
	require.NoError(t, err)
	require.Equal(t, kept, now)

	require.NoError(t, filepath.WalkDir(d.pki(), func(path string, e os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		if e.IsDir() || strings.HasSuffix(path, ".key") {
			require.Zero(t, info.Mode().Perm()&0o077, path)
		}
		return nil
	}))
}

func TestTheControlPlanesCertificateIsForWhateverItIsAskedBy(t *testing.T) {
	d := &dev{options: options{state: t.TempDir()}, say: func(string, ...any) {}}
	for _, c := range []struct{ api, url, name string }{
		{":8774", "https://localhost:8774", "localhost"},
		{"localhost:8774", "https://localhost:8774", "127.0.0.1"},
		{"[::1]:8774", "https://[::1]:8774", "::1"},
		{"0.0.0.0:8774", "https://0.0.0.0:8774", "0.0.0.0"},
		{"cloud.example.org:8774", "https://cloud.example.org:8774", "cloud.example.org"},
	} {
		d.api = c.api
		require.NoError(t, d.certifyServer(t.Context(), controlName, d.api), c.api)
		require.Equal(t, c.url, d.apiAddress())
		ca, err := pki.Open(d.pki())
		require.NoError(t, err)
		all, err := ca.Show()
		require.NoError(t, err)
		require.Contains(t, append(all[1].DNS, all[1].IPs...), c.name, c.api)
	}
	require.ErrorContains(t, d.certifyServer(t.Context(), controlName, "8774"), `"8774" is not host:port`)
}
