package cli

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestANamedCloudIsReadFromCloudsYAML(t *testing.T) {
	a := newAPI(t)
	for _, name := range []string{"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"} {
		t.Setenv(name, "")
	}
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	require.NoError(t, os.WriteFile(file, []byte("clouds:\n  dev:\n    auth:\n      auth_url: "+a.URL+"/v3\n      username: ada\n      password: pw\n      project_name: demo\n"), 0o600))
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	require.Equal(t, "gAAAA-the-token\n", run(t, "token", "issue", "-q", "--os-cloud", "dev").out)
	t.Setenv("OS_CLOUD", "dev")
	require.Equal(t, 0, run(t, "token", "issue").code)
	got := run(t, "token", "issue", "--os-cloud", "other")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, `cloud "other" not found in clouds.yaml`)
}

func TestAnIdAndANameOfTheSameAreTakenTogetherAndTheIdWins(t *testing.T) {
	a := newAPI(t)
	for _, name := range []string{"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"} {
		t.Setenv(name, "")
	}
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_CLOUD", "dev")
	for name, c := range map[string]struct {
		auth string
		args []string
		want string // of the request
	}{
		"domains": {
			"username: ada, password: pw, project_name: demo, user_domain_id: ud, user_domain_name: Users, project_domain_id: pd, project_domain_name: Projects", nil,
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ada","password":"pw","domain":{"id":"ud"}}}},"scope":{"project":{"name":"demo","domain":{"id":"pd"}}}}}`,
		},
		"one domain for all": {
			"username: ada, password: pw, project_name: demo, domain_id: d, domain_name: D", nil,
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ada","password":"pw","domain":{"id":"d"}}}},"scope":{"project":{"name":"demo","domain":{"id":"d"}}}}}`,
		},
		"a flag before the file": {
			"username: ada, password: pw, project_name: demo, user_domain_id: ud, project_domain_id: pd", []string{"--os-user-domain-name", "Users", "--os-project-domain-name", "Projects"},
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ada","password":"pw","domain":{"name":"Users"}}}},"scope":{"project":{"name":"demo","domain":{"name":"Projects"}}}}}`,
		},
		"user and project": {
			"username: ada, user_id: u1, password: pw, project_name: demo, project_id: p1, user_domain_id: ud, user_domain_name: Users", nil,
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"u1","password":"pw"}}},"scope":{"project":{"id":"p1"}}}}`,
		},
		"a token": {
			"token: tok, username: ada, user_domain_id: ud, user_domain_name: Users, project_id: p1", nil,
			`{"auth":{"identity":{"methods":["token"],"token":{"id":"tok"}},"scope":{"project":{"id":"p1"}}}}`,
		},
	} {
		require.NoError(t, os.WriteFile(file, []byte("clouds: {dev: {auth: {auth_url: '"+a.URL+"/v3', "+c.auth+"}}}\n"), 0o600))
		got := run(t, append([]string{"token", "issue"}, c.args...)...)
		require.Equal(t, 0, got.code, "%s: %s", name, got.err)
		sent := a.made("POST /v3/auth/tokens")
		require.JSONEq(t, c.want, sent[len(sent)-1].body, name)
	}
}

func TestWithoutAnyCloudTheUserIsToldWhatToSet(t *testing.T) {
	newAPI(t)
	t.Setenv("OS_PASSWORD", "")
	got := run(t, "server", "list")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "Error: no user name or no password: set OS_USERNAME and OS_PASSWORD\n")
	t.Setenv("OS_AUTH_URL", "")
	got = run(t, "server", "list")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "Error: no cloud to talk to: neither OS_AUTH_URL nor OS_CLOUD is set\n")
}

func TestAnUnknownCAIsRefusedUnlessItIsGivenOrVerificationIsOff(t *testing.T) {
	a := newAPI(t)
	a.Server.Close()
	a.Server = httptest.NewTLSServer(a)
	t.Cleanup(a.Server.Close)
	a.environment()

	for address, hint := range map[string]string{
		a.URL: "→ give the CA's certificate with --os-cacert, OS_CACERT or cacert in clouds.yaml",
		strings.Replace(a.URL, "https", "http", 1): "→ the API speaks https: source your openrc again",
	} {
		t.Setenv("OS_AUTH_URL", address+"/v3")
		got := run(t, "token", "issue")
		require.Equal(t, show.ExitFailed, got.code)
		require.Contains(t, got.err, hint)
	}
	a.environment()

	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600))
	require.Equal(t, 0, run(t, "token", "issue", "--os-cacert", ca).code)
	require.Equal(t, 0, run(t, "token", "issue", "--insecure").code)
	t.Setenv("OS_CACERT", ca)
	require.Equal(t, 0, run(t, "token", "issue").code)
	t.Setenv("OS_CACERT", "")
	t.Setenv("SLIPWAY_CACERT", ca)
	require.Equal(t, 0, run(t, "token", "issue").code)
	t.Setenv("SLIPWAY_CACERT", ca+"x")
	require.Contains(t, run(t, "token", "issue").err, "SLIPWAY_CACERT: open "+ca+"x")
	require.Equal(t, 0, run(t, "token", "issue", "--os-cacert", ca).code, "what OpenStack's clients know wins")
	t.Setenv("SLIPWAY_CACERT", "")
	plain := httptest.NewServer(a)
	t.Cleanup(plain.Close)
	got := run(t, "token", "issue", "--os-auth-url", strings.Replace(plain.URL, "http", "https", 1)+"/v3")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "→ what answers there speaks no TLS")
	got = run(t, "token", "issue", "--os-cacert", ca, "--os-auth-url", strings.Replace(a.URL, "127.0.0.1", "localhost", 1)+"/v3")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "→ ask for the API by a name that its certificate is for")

	file := filepath.Join(t.TempDir(), "clouds.yaml")
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_CLOUD", "dev")
	for more, code := range map[string]int{"": show.ExitFailed, "cacert: " + ca: 0, "verify: false": 0} {
		require.NoError(t, os.WriteFile(file, []byte("clouds: {dev: {auth: {auth_url: '"+a.URL+"/v3', username: ada, password: pw, project_name: demo}, "+more+"}}\n"), 0o600))
		require.Equal(t, code, run(t, "token", "issue").code, more)
	}
	t.Setenv("OS_CLOUD", "")
	t.Setenv("OS_INSECURE", "true")
	require.Equal(t, 0, run(t, "token", "issue").code)
}

func TestTheDebugLogHasNoSecretInIt(t *testing.T) {
	a := bootable(t)
	got := runWith(t, t.Context(), "secret user data", "boot", "web", "--image", "debian", "--flavor", "1", "--admin-pass", "hunter2", "--user-data", "-", "--debug")
	require.Equal(t, 0, got.code, got.err)
	for _, secret := range []string{"correct horse", "gAAAA-the-token", "hunter2", "s3cret", "c2VjcmV0IHVzZXIgZGF0YQ"} {
		require.NotContains(t, got.err, secret)
	}
	require.Contains(t, got.err, "> POST "+a.URL+"/compute/v2.1/servers\n")
	require.Contains(t, got.err, "> X-Auth-Token: ***\n")
	require.Contains(t, got.err, `"imageRef":"im-1"`)
	require.Contains(t, got.err, "< 202 Accepted in ")
}
