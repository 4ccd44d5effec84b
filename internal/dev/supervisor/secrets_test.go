package supervisor

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASecretThatWasBeingWrittenAtADeathIsMadeAnew(t *testing.T) {
	d := &dev{options: options{state: t.TempDir()}}
	require.NoError(t, d.prepareSecrets())
	kept := d.secrets
	require.NoError(t, os.WriteFile(d.path("secrets", "admin-password"), nil, 0o600))
	require.NoError(t, d.prepareSecrets())
	require.NotEmpty(t, d.secrets.admin)
	require.NotEqual(t, kept.admin, d.secrets.admin)
	require.Equal(t, kept.demo, d.secrets.demo, "a whole one stays")
}
