package enrolment

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/durable"
)

// tree is what lies in a folder, with modes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[path[len(dir)+1:]] = info.Mode().String() + " " + string(text)
		return err
	}))
	return all
}

func TestAHostsFilesHaveTheirPlacesAndModes(t *testing.T) {
	e, dir := made(t), filepath.Join(t.TempDir(), "etc")
	settings, err := e.Unpack(dir, false)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "slipway.yaml"), settings)
	is := tree(t, dir)
	require.Equal(t, map[string]string{
		"host-token": "-rw------- tok-1\n", "tls/ca.pem": "-rw-r--r-- " + e.CA, "tls/crl.pem": "-rw-r--r-- " + e.CRL,
		"tls/host-hv2.pem": "-rw-r--r-- " + e.Certificate, "tls/host-hv2.key": "-rw------- " + e.Key, "slipway.yaml": is["slipway.yaml"],
	}, is)
	require.Equal(t, `-rw-r--r-- # As enrolled. More settings of this host go here: `+"`slipway config`"+` shows all of them.
host:
  hostname: hv2
  api_url: https://10.99.0.1:8774
  api_ca: `+dir+`/tls/ca.pem
  api_cert: `+dir+`/tls/host-hv2.pem
  api_key: `+dir+`/tls/host-hv2.key
  token_file: `+dir+`/host-token
temporal:
  address: 10.99.0.1:7233
  namespace: slipway
  tls_ca: `+dir+`/tls/ca.pem
  tls_cert: `+dir+`/tls/host-hv2.pem
  tls_key: `+dir+`/tls/host-hv2.key
`, is["slipway.yaml"])

	e.Settings.Host.APIURL = "http://127.0.0.1:8774"
	settings, err = e.Unpack(t.TempDir(), false)
	require.NoError(t, err)
	text, err := os.ReadFile(settings)
	require.NoError(t, err)
	require.NotContains(t, string(text), "api_c", "an API without TLS has no certificate, and asks for none")
}

func TestFilesThatAreThereStayUnlessTheyAreToBeReplaced(t *testing.T) {
	first, second, dir := made(t), made(t), t.TempDir()
	_, err := first.Unpack(dir, false)
	require.NoError(t, err)
	was := tree(t, dir)
	_, err = first.Unpack(dir, false)
	require.NoError(t, err, "the same again is no change")

	_, err = second.Unpack(dir, false)
	require.ErrorContains(t, err, filepath.Join(dir, "tls/host-hv2.key"))
	require.ErrorContains(t, err, "--force")
	require.Equal(t, was, tree(t, dir))

	_, err = second.Unpack(dir, true)
	require.NoError(t, err)
	is := tree(t, dir)
	require.Equal(t, "-rw------- "+second.Key, is["tls/host-hv2.key"])
	require.Equal(t, was["slipway.yaml"], is["slipway.yaml.before"])
}

func TestOneThatDiesAfterAnyFileLeavesNoSettingsAndIsDoneAgain(t *testing.T) {
	old, e := made(t), made(t)
	files, err := e.files(t.TempDir())
	require.NoError(t, err)
	for n := range files {
		for _, before := range []bool{false, true} {
			dir := t.TempDir()
			if before {
				_, err := old.Unpack(dir, false)
				require.NoError(t, err)
				require.NoError(t, os.Rename(filepath.Join(dir, settingsFile), filepath.Join(dir, settingsFile+".before")))
			}
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "tls"), 0o755))
			files, err := e.files(dir)
			require.NoError(t, err)
			for _, f := range files[:n] {
				require.NoError(t, durable.WriteFile(f.path, f.text, f.mode))
			}
			require.NoFileExists(t, filepath.Join(dir, settingsFile), "it comes last")
			_, err = e.Unpack(dir, before)
			require.NoError(t, err)
			whole := t.TempDir()
			_, err = e.Unpack(whole, false)
			require.NoError(t, err)
			want, is := tree(t, whole), tree(t, dir)
			delete(is, settingsFile+".before")
			want[settingsFile], is[settingsFile] = "", "" // they name their own folder
			require.Equal(t, want, is)
		}
	}
}
