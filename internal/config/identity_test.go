package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const asked = "url: https://keystone.example.org:5000/v3, username: slipway, "

func TestAKeystoneIsNamedWholeOrNotAtAll(t *testing.T) {
	t.Run("whole", func(t *testing.T) { // the environment is its own
		c, err := settings(t, "identity: {mode: keystone, keystone: {"+asked+"}}", map[string]string{"SLIPWAY_IDENTITY_KEYSTONE_PASSWORD": "secret"})
		require.NoError(t, err)
		k := c.Identity.Keystone
		require.Equal(t, "https://keystone.example.org:5000/v3", k.LoginURL())
		require.Equal(t, []string{"Default", "service", "Default"}, []string{k.UserDomain, k.Project, k.ProjectDomain})
		require.Equal(t, time.Minute, k.CacheTTL)
		password, err := k.ReadPassword()
		require.NoError(t, err)
		require.Equal(t, "secret", password)
		for _, s := range Settings(c) {
			require.NotContains(t, s.Value, "secret", s.Name)
		}
	})
	for want, text := range map[string]string{
		`identity.mode must be slipway or keystone, not "ldap"`:                   "identity: {mode: ldap}",
		"identity.keystone.username is of no use without identity.mode: keystone": "identity: {keystone: {username: slipway}}",
		"identity.keystone.url must be like":                                      "identity: {mode: keystone, keystone: {username: slipway, password: p}}",
		"identity.keystone.username is not set":                                   "identity: {mode: keystone, keystone: {url: 'https://k', password: p}}",
		"identity.keystone.password_file is not set":                              "identity: {mode: keystone, keystone: {" + asked + "}}",
		"password and identity.keystone.password_file are both set":               "identity: {mode: keystone, keystone: {" + asked + "password: p, password_file: /p}}",
		"identity.keystone.ca_file is of no use without an https:// address":      "identity: {mode: keystone, keystone: {url: 'http://127.0.0.1:5000', username: s, password: p, ca_file: /ca}}",
		"identity.keystone.cache_ttl must be 0 to 5m0s":                           "identity: {mode: keystone, keystone: {" + asked + "password: p, cache_ttl: 6m}}",
		"identity.keystone.timeout must be more than 0":                           "identity: {mode: keystone, keystone: {" + asked + "password: p, timeout: 0s}}",
		"identity.keystone.public_url must be like":                               "identity: {mode: keystone, keystone: {" + asked + "password: p, public_url: 'keystone:5000'}}",
		"api.admin_password is of no use with identity.mode: keystone":            "api: {admin_password: x}\nidentity: {mode: keystone, keystone: {" + asked + "password: p}}",
		"api.default_network is of no use with identity.mode: keystone":           "api: {default_network: 10.0.0.0/24}\nidentity: {mode: keystone, keystone: {" + asked + "password: p}}",
	} {
		_, err := settings(t, text, nil)
		require.ErrorContains(t, err, want)
	}
	_, err := settings(t, "identity: {mode: keystone, keystone: {url: 'https://ann:hers@k:5000', username: s, password: p}}", nil)
	require.ErrorContains(t, err, "identity.keystone.url must be like")
	require.NotContains(t, err.Error(), "hers")
}

func TestTheServiceUsersPasswordIsReadAnewAndFromItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	k := Keystone{PasswordFile: path}
	_, err := k.ReadPassword()
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, password := range []string{"one", "two"} {
		require.NoError(t, os.WriteFile(path, []byte(password+"\n"), 0o600))
		got, err := k.ReadPassword()
		require.NoError(t, err)
		require.Equal(t, password, got)
	}
	require.NoError(t, os.WriteFile(path, []byte("\n"), 0o600))
	_, err = k.ReadPassword()
	require.ErrorContains(t, err, "is empty")
	require.NoError(t, os.Chmod(path, 0o644)) //nolint:gosec // G302: what is refused
	_, err = k.ReadPassword()
	require.ErrorContains(t, err, "chmod 600")
}

func TestAKeystoneOnAnotherMachineIsNotAskedInClear(t *testing.T) {
	c := Default()
	c.Identity.Mode, c.Identity.Keystone.URL = IdentityKeystone, "http://10.0.0.5:5000/v3"
	require.Contains(t, c.InClear("api"), "identity.keystone.url is plain http to another machine (10.0.0.5:5000): give an https:// address")
	c.Identity.Keystone.URL = "http://127.0.0.1:5000/v3"
	require.Empty(t, c.InClear("api"))
}
