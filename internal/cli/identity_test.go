package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestAUserIsCreatedWithWhatTheFlagsSay(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/domains", 200, `{"domains":[{"id":"d1","name":"acme"}]}`)
	a.json("GET /v3/projects", 200, `{"projects":[{"id":"p7","name":"web"}]}`)
	a.json("POST /v3/users", 201, `{"user":{"id":"u7","name":"ann","enabled":true,"domain_id":"d1"}}`)
	got := runWith(t, t.Context(), "ann's own\n", "user", "create", "ann", "--domain", "acme", "--project", "web", "--email", "ann@acme.example", "--password")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"user":{"name":"ann","domain_id":"d1","default_project_id":"p7","email":"ann@acme.example","password":"ann's own"}}`,
		a.made("POST /v3/users")[0].body)
	require.Contains(t, got.out, "id       u7\n")
}

func TestOnlyWhatIsSaidOfAProjectChanges(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/projects", 200, `{"projects":[{"id":"p7","name":"web"}]}`)
	a.json("PATCH /v3/projects/p7", 200, `{"project":{"id":"p7","name":"web","enabled":false}}`)
	got := run(t, "project", "set", "web", "--disable", "--tag", "b", "--tag", "a")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"project":{"enabled":false,"tags":["b","a"]}}`, a.made("PATCH /v3/projects/p7")[0].body)
	require.Equal(t, show.ExitUsage, run(t, "project", "set", "web").code, "nothing to change")
	require.Equal(t, show.ExitUsage, run(t, "project", "set", "web", "--enable", "--disable").code)
}

func TestARoleIsGivenWhereTheFlagsSay(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/roles", 200, `{"roles":[{"id":"r1","name":"member"}]}`)
	a.json("GET /v3/users", 200, `{"users":[{"id":"u7","name":"ann"}]}`)
	a.json("GET /v3/groups", 200, `{"groups":[{"id":"g7","name":"devs"}]}`)
	a.json("GET /v3/projects", 200, `{"projects":[{"id":"p7","name":"web"}]}`)
	a.json("GET /v3/domains", 200, `{"domains":[{"id":"d7","name":"acme"}]}`)
	for _, c := range []struct {
		at   string
		args []string
	}{
		{"PUT /v3/projects/p7/users/u7/roles/r1", []string{"add", "member", "--user", "ann", "--project", "web"}},
		{"PUT /v3/domains/d7/groups/g7/roles/r1", []string{"add", "member", "--group", "devs", "--domain", "acme"}},
		{"PUT /v3/system/users/u7/roles/r1", []string{"add", "member", "--user", "ann", "--system"}},
		{"DELETE /v3/OS-INHERIT/domains/d7/users/u7/roles/r1/inherited_to_projects", []string{"remove", "member", "--user", "ann", "--domain", "acme", "--inherited"}},
	} {
		a.json(c.at, 204, "")
		got := run(t, append([]string{"role"}, c.args...)...)
		require.Equal(t, 0, got.code, got.err)
		require.Len(t, a.made(c.at), 1, c.at)
	}
	for _, wrong := range [][]string{
		{"add", "member", "--user", "ann"},
		{"add", "member", "--project", "web"},
		{"add", "member", "--user", "ann", "--group", "devs", "--project", "web"},
		{"add", "member", "--user", "ann", "--project", "web", "--inherited"},
	} {
		require.Equal(t, show.ExitUsage, run(t, append([]string{"role"}, wrong...)...).code, wrong)
	}
}

func TestAssignmentsAreListedByName(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/role_assignments", 200, `{"role_assignments":[
		{"role":{"id":"r1","name":"member"},"user":{"id":"u7","name":"ann"},"scope":{"project":{"id":"p7","name":"web"}}},
		{"role":{"id":"r1","name":"admin"},"group":{"id":"g7","name":"ops"},"scope":{"system":{"all":true}}}]}`)
	got := run(t, "role", "assignments", "--effective", "--system")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "effective=true&include_names=true&scope.system=all", a.made("GET /v3/role_assignments")[0].query)
	require.Contains(t, got.out, "member  ann")
	require.Contains(t, got.out, "ops")
}

func TestOnesOwnPasswordIsChangedByTheOneThatWasLoggedInWith(t *testing.T) {
	a := newAPI(t)
	a.json("POST /v3/users/{id}/password", 204, "")
	got := runWith(t, t.Context(), "new\n", "user", "password")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"user":{"password":"new","original_password":"correct horse"}}`, a.made("POST /v3/users/u1/password")[0].body)
}

func TestUsersAreInAndOutOfAGroup(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/groups", 200, `{"groups":[{"id":"g7","name":"devs"}]}`)
	a.json("GET /v3/users", 200, `{"users":[{"id":"u7","name":"ann"}]}`)
	a.json("GET /v3/groups/g7/users", 200, `{"users":[{"id":"u7","name":"ann"}]}`)
	a.json("PUT /v3/groups/g7/users/u7", 204, "")
	a.json("DELETE /v3/groups/g7/users/u7", 204, "")
	require.Equal(t, "put ann into group devs\n", run(t, "group", "add", "devs", "ann").err)
	require.Contains(t, run(t, "group", "users", "devs").out, "ann")
	require.Equal(t, "took ann out of group devs\n", run(t, "group", "remove", "devs", "ann").err)
}

func TestAProjectIsPurgedWhereThatIsSaid(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/projects", 200, `{"projects":[{"id":"p7","name":"web"}]}`)
	a.json("DELETE /v3/projects/p7", 202, "")
	require.Equal(t, "disabled project web; it is deleted with all that it owns\n", run(t, "project", "delete", "web", "--purge").err)
	require.Equal(t, "deleted project web\n", run(t, "project", "delete", "web").err)
	require.Equal(t, []string{"purge=true", ""}, []string{a.made("DELETE /v3/projects/p7")[0].query, a.made("DELETE /v3/projects/p7")[1].query})
}

// Keystone takes no notice of ?purge: it would delete the project, and leave all that it owns.
func TestWhatKeystoneCannotDoIsNotAskedOfIt(t *testing.T) {
	a := newAPI(t)
	keystone := &api{t: t, mux: http.NewServeMux()}
	keystone.Server = httptest.NewServer(keystone)
	t.Cleanup(keystone.Close)
	catalog := httptest.NewRecorder()
	a.mux.ServeHTTP(catalog, httptest.NewRequest(http.MethodPost, "/v3/auth/tokens", nil))
	keystone.json("POST /v3/auth/tokens", 201, catalog.Body.String(), "X-Subject-Token", "gAAAA")
	keystone.json("GET /v3/projects", 200, `{"projects":[{"id":"p7","name":"web"}]}`)
	keystone.json("DELETE /v3/projects/p7", 204, "")
	t.Setenv("OS_AUTH_URL", keystone.URL+"/v3")
	fresh := &api{t: t, mux: http.NewServeMux()}
	fresh.json("GET /v3", 200, `{"version":{"id":"v3.14","links":[{"rel":"self","href":"`+keystone.URL+`/v3/"}]}}`)
	fresh.json("GET /hosts", 200, `{"hosts":[{"hostname":"hv1"}]}`)
	a.mux = fresh.mux

	for _, verb := range [][]string{{"project", "delete", "web", "--purge"}, {"token", "revoke", "--user", "ann"}} {
		got := run(t, verb...)
		require.Equal(t, show.ExitRefused, got.code, got.err)
		require.Contains(t, got.err, "Keystone's, at "+keystone.URL)
	}
	require.Empty(t, keystone.made("DELETE /v3/projects/p7"))
	require.Equal(t, "deleted project web\n", run(t, "project", "delete", "web").err)
	require.Contains(t, run(t, "host", "list").out, "hv1", "Slipway's own resources lie beside its compute API")
}
