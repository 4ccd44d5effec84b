package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlagsWinOverTheEnvironmentAndDomainsDefault(t *testing.T) {
	env := map[string]string{"OS_AUTH_URL": "http://a/v3", "OS_USERNAME": "ada", "OS_PASSWORD": "pw", "OS_PROJECT_NAME": "demo"}
	get := func(name string) string { return env[name] }

	auth, _, _, err := (&Settings{}).options(get)
	require.NoError(t, err)
	require.Equal(t, "default", auth.DomainID)
	require.Equal(t, "demo", auth.Scope.ProjectName)
	require.Equal(t, "default", auth.Scope.DomainID)

	env["OS_USER_DOMAIN_NAME"], env["OS_PROJECT_DOMAIN_NAME"], env["OS_REGION_NAME"], env["OS_INTERFACE"] = "Users", "Projects", "R1", "internal"
	auth, endpoints, _, err := (&Settings{username: "bob", projectName: "lab"}).options(get)
	require.NoError(t, err)
	require.Equal(t, []string{"bob", "Users", "", "lab", "Projects"}, []string{auth.Username, auth.DomainName, auth.DomainID, auth.Scope.ProjectName, auth.Scope.DomainName})
	require.Equal(t, "R1", endpoints.Region)
	require.EqualValues(t, "internal", endpoints.Availability)

	env["OS_PROJECT_ID"] = "p-1"
	auth, _, _, err = (&Settings{}).options(get)
	require.NoError(t, err)
	require.Equal(t, "p-1", auth.Scope.ProjectID)

	auth, _, _, err = (&Settings{token: "tok"}).options(get)
	require.NoError(t, err)
	require.Equal(t, "tok", auth.TokenID)
	require.Empty(t, auth.Password)
	require.False(t, auth.AllowReauth)
}
