package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestAnApplicationCredentialIsMadeForTheUserWhoIsLoggedIn(t *testing.T) {
	a := newAPI(t)
	a.json("POST /v3/users/u1/application_credentials", 201, `{"application_credential":{"id":"a1","name":"backup","secret":"s3cret","roles":[{"name":"reader"}]}}`)
	got := run(t, "credential", "create", "backup", "--role", "reader", "--expires", "2096-01-31T18:00:00Z")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"application_credential":{"name":"backup","roles":[{"name":"reader"}],"expires_at":"2096-01-31T18:00:00.000000"}}`,
		a.made("POST /v3/users/u1/application_credentials")[0].body)
	require.Contains(t, got.out, "s3cret")
	require.Equal(t, show.ExitUsage, run(t, "credential", "create", "backup", "--expires", "soon").code)

	a.json("GET /v3/users/u1/application_credentials", 200, `{"application_credentials":[{"id":"a1","name":"backup","roles":[{"name":"reader"}]}]}`)
	a.json("DELETE /v3/users/u1/application_credentials/a1", 204, "")
	require.Contains(t, run(t, "credential", "list").out, "backup")
	require.Equal(t, "deleted application credential backup\n", run(t, "credential", "delete", "backup").err)
}

func TestAnAccessKeyIsMadeForAProject(t *testing.T) {
	a := newAPI(t)
	a.json("POST /v3/users/u1/credentials/OS-EC2", 201, `{"credential":{"access":"AK","secret":"SK","tenant_id":"p1"}}`)
	got := run(t, "credential", "key", "create")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"tenant_id":"9d2c0f1e8a7b4c6d9e0f112233445566"}`, a.made("POST /v3/users/u1/credentials/OS-EC2")[0].body)
	require.Contains(t, got.out, "SK")

	a.json("GET /v3/users/u1/credentials/OS-EC2", 200, `{"credentials":[{"access":"AK","secret":"SK","tenant_id":"p1"}]}`)
	a.json("DELETE /v3/users/u1/credentials/OS-EC2/AK", 204, "")
	require.Contains(t, run(t, "credential", "key", "list").out, "AK")
	require.NotContains(t, run(t, "credential", "key", "list").out, "SK")
	require.Equal(t, "deleted access key AK\n", run(t, "credential", "key", "delete", "AK").err)
}

func TestAUsersTokensAreEnded(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/users", 200, `{"users":[{"id":"u7","name":"ann"}]}`)
	a.json("DELETE /v3/users/u7/tokens", 200, `{"revoked":3}`)
	require.Equal(t, "ended 3 tokens of ann\n", run(t, "token", "revoke", "--user", "ann").err)
	require.Equal(t, show.ExitUsage, run(t, "token", "revoke").code)
}
