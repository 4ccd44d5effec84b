package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFileOfRulesIsCheckedAndShownBesideWhatTheTableAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := root()
		cmd.SetArgs(append([]string{"policy"}, args...))
		cmd.SetOut(&out)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	require.NoError(t, os.WriteFile(path, []byte(`"os_compute_api:servers:create": "role:builder or role:admin"`+"\nget_images: \"!\"\n"), 0o600))
	said, err := run("check", path)
	require.NoError(t, err)
	require.Equal(t, path+": 2 rules\n", said)
	said, err = run("show", "--api.policy_file", path)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^os_compute_api:servers:create +member +role:builder or role:admin$`, said)
	require.Regexp(t, `(?m)^get_images +token +!$`, said)
	require.Regexp(t, `(?m)^os_compute_api:servers:delete +member *$`, said)

	require.NoError(t, os.WriteFile(path, []byte("get_images: \"@\""), 0o600))
	for _, args := range [][]string{{"check", path}, {"show", "--api.policy_file", path}} {
		_, err = run(args...)
		require.ErrorContains(t, err, path+": line 1: rule \"get_images\"")
	}
}
