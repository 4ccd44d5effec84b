package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli"
)

// say runs a command of this program, and gives what it prints and its exit code.
func say(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	code = cli.Exit(&e, cmd.ExecuteContext(t.Context()))
	return o.String(), e.String(), code
}

func TestTheVerbsOfTheCASayWhatTheyDid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	pki := func(args ...string) (out, errs string, code int) {
		return say(t, append(append([]string{"pki"}, args...), "--dir", dir)...)
	}
	_, errs, code := pki("show")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "`slipway pki init` makes one")

	out, _, code := pki("init", "--name", "Our CA")
	require.Equal(t, 0, code)
	require.Contains(t, out, "The CA is in "+dir)
	_, errs, code = pki("init")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "is not overwritten")

	out, errs, code = pki("issue", "control", "c1", "--dns", "cloud.example.org,c1", "--ip", "10.0.0.1")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, filepath.Join(dir, "control-c1.pem")+" and "+filepath.Join(dir, "control-c1.key")+" are valid until ")
	require.Empty(t, errs)
	_, errs, code = pki("issue", "control", "c2")
	require.Equal(t, 0, code)
	require.Contains(t, errs, "no listener can use it")
	_, errs, code = pki("issue", "king", "x")
	require.Equal(t, 1, code)
	require.Contains(t, errs, `there is no role "king"`)
	_, errs, code = pki("issue", "host", "hv1", "--days", "0")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "one day at least")
	_, _, code = pki("issue", "host")
	require.Equal(t, 2, code)

	out, errs, code = pki("show")
	require.Equal(t, 0, code, errs)
	require.Regexp(t, `(?m)^ca +Our CA +valid `, out)
	require.Regexp(t, `(?m)^control +c1 +valid +364 .*cloud.example.org, c1, 10.0.0.1$`, out)

	_, errs, code = pki("issue", "host", "hv1", "--days", "20")
	require.Equal(t, 0, code, errs)
	out, errs, code = pki("show", "-o", "json")
	require.Equal(t, exitExpires, code)
	require.Contains(t, errs, "Warning: host hv1 ends in 19 days: slipway pki renew host hv1 --dir "+dir)
	var shown []struct {
		Role, Name, State string
		DaysLeft          int `json:"days_left"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Len(t, shown, 4)
	require.Equal(t, 19, shown[3].DaysLeft)

	out, errs, code = pki("renew", "host", "hv1")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "host-hv1.pem")
	_, _, code = pki("show")
	require.Equal(t, 0, code)

	out, errs, code = pki("revoke", "host", "hv1")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "Revoked host hv1, serial ")
	require.Contains(t, out, "Copy "+filepath.Join(dir, "crl.pem")+" beside each ca.pem.")
	out, _, code = pki("revoke", "host", "hv1")
	require.Equal(t, 0, code)
	require.Contains(t, out, "Nothing of host hv1 is valid")
}
