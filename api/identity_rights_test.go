package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// made makes one of a kind as the admin, and gives its id.
func (w *world) made(kind string, attributes object) string {
	w.t.Helper()
	a := w.do("admin", "POST", "/v3/"+kind+"s", object{kind: attributes})
	require.Equal(w.t, 201, a.status, string(a.body))
	return a.json(w.t)[kind].(object)["id"].(string)
}

// Who sets an admin's password is that admin, and who joins a group has its roles.
func TestADomainsAdminDoesNotBecomeAnAdminOfEverything(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	acme, umbrella := w.made("domain", object{"name": "acme"}), w.made("domain", object{"name": "umbrella"})
	web := w.made("project", object{"name": "web", "domain_id": acme})
	user := func(name string) string {
		return w.made("user", object{"name": name, "domain_id": acme, "password": name + "'s own"})
	}
	boss, root, operator, neighbour, ann := user("boss"), user("root"), user("operator"), user("neighbour"), user("ann")
	ops, heirs, devs := w.made("group", object{"name": "ops", "domain_id": acme}), w.made("group", object{"name": "heirs", "domain_id": acme}),
		w.made("group", object{"name": "devs", "domain_id": acme})
	for _, g := range []models.Grant{
		{UserID: &boss, DomainID: &acme},
		{UserID: &root, ProjectID: &web},
		{GroupID: &ops},
		{GroupID: &heirs, DomainID: &acme, Inherited: true},
		{UserID: &neighbour, DomainID: &umbrella},
		{GroupID: &devs, DomainID: &acme},
	} {
		g.Role = auth.RoleAdmin
		require.NoError(t, w.store.EnsureGrant(ctx, g))
	}
	require.NoError(t, w.store.JoinGroup(ctx, ops, operator))
	w.loggedIn("boss", object{"name": "boss", "domain": object{"id": acme}}, "boss's own", object{"domain": object{"id": acme}})
	image := w.queued("other", object{"name": "another's"})

	admin := ids.Identity("role", "admin")
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"PATCH", "/v3/users/" + root, object{"user": object{"password": "mine"}}, 403},
		{"PATCH", "/v3/users/" + operator, object{"user": object{"password": "mine"}}, 403},
		{"PATCH", "/v3/users/" + neighbour, object{"user": object{"password": "mine"}}, 403},
		{"PATCH", "/v3/users/" + root, object{"user": object{"enabled": false}}, 403},
		{"DELETE", "/v3/users/" + root, nil, 403},
		{"PUT", "/v3/groups/" + ops + "/users/" + boss, nil, 403},
		{"PUT", "/v3/groups/" + heirs + "/users/" + boss, nil, 403},
		{"DELETE", "/v3/groups/" + ops + "/users/" + operator, nil, 403},
		{"PATCH", "/v3/groups/" + ops, object{"group": object{"name": "x"}}, 403},
		{"DELETE", "/v3/groups/" + ops, nil, 403},
		{"PUT", "/v3/projects/" + web + "/groups/" + devs + "/roles/" + admin, nil, 403},
		{"DELETE", "/v3/projects/" + web + "/users/" + root + "/roles/" + admin, nil, 403},
		{"DELETE", "/v3/system/groups/" + ops + "/roles/" + admin, nil, 403},
		{"GET", "/v3/credentials?user_id=" + root, nil, 200},
		{"GET", "/v3/users/" + root + "/credentials/OS-EC2", nil, 403},
		{"POST", "/v3/users/" + root + "/credentials/OS-EC2", object{"tenant_id": web}, 403},
		{"POST", "/v3/users/" + root + "/application_credentials", object{"application_credential": object{"name": "x"}}, 403},
		{"GET", "/image/v2/images/" + image, nil, 404},
		{"DELETE", "/image/v2/images/" + image, nil, 404},
		{"GET", "/hosts", nil, 403},
		// Everybody else is its to keep, and another one like itself.
		{"PATCH", "/v3/users/" + ann, object{"user": object{"password": "new"}}, 200},
		{"PUT", "/v3/groups/" + devs + "/users/" + ann, nil, 204},
		{"PATCH", "/v3/users/" + ann, object{"user": object{"password": "newer"}}, 200},
		{"DELETE", "/v3/groups/" + devs, nil, 204},
		{"DELETE", "/v3/users/" + ann, nil, 204},
	} {
		a := w.do("boss", c.method, c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s: %s", c.method, c.path, a.body)
	}
	require.Empty(t, w.do("boss", "GET", "/image/v2/images", nil).json(t)["images"])
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/users/"+root, object{"user": object{"password": "another"}}).status)
}

func TestAReaderOfTheSystemSeesNothingThatLetsInAsSomebodyElse(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: auth.RoleReader, UserID: new(readerUser)}))
	w.loggedIn("reader of all", byName("reader"), password, object{"system": object{"all": true}})
	key := w.do("admin", "POST", "/v3/users/"+adminUser+"/credentials/OS-EC2", object{"tenant_id": adminProject}).json(t)["credential"].(object)
	require.Equal(t, 403, w.do("reader of all", "GET", "/v3/users/"+adminUser+"/credentials/OS-EC2", nil).status)
	require.Equal(t, 403, w.do("reader of all", "GET", "/v3/users/"+adminUser+"/credentials/OS-EC2/"+key["access"].(string), nil).status)
	require.Empty(t, w.do("reader of all", "GET", "/v3/credentials", nil).json(t)["credentials"])
	require.Equal(t, 200, w.do("reader of all", "GET", "/v3/users/"+adminUser+"/application_credentials", nil).status)
}

func TestAllOfAUsersTokensEndAtOnce(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	require.Equal(t, 403, w.do("other", "DELETE", "/v3/users/"+demoUser+"/tokens", nil).status)
	require.Equal(t, object{"revoked": 3.0}, w.do("admin", "DELETE", "/v3/users/"+demoUser+"/tokens", nil).json(t))
	for _, name := range []string{"demo", "unscoped"} {
		require.Equal(t, 401, w.do(name, "GET", "/v3/auth/projects", nil).status)
	}
	require.Equal(t, 200, w.do("other", "GET", "/v3/auth/projects", nil).status)
	require.Equal(t, object{"revoked": 1.0}, w.do("other", "DELETE", "/v3/users/"+otherUser+"/tokens", nil).json(t))
	require.Equal(t, 404, w.do("admin", "DELETE", "/v3/users/nobody/tokens", nil).status)

	// A domain's admin ends those of its users, and not of an admin of everything.
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: auth.RoleAdmin, UserID: new(readerUser), DomainID: new("default")}))
	w.loggedIn("keeper", byName("reader"), password, object{"domain": object{"id": "default"}})
	require.Equal(t, 403, w.do("keeper", "DELETE", "/v3/users/"+adminUser+"/tokens", nil).status)
	require.Equal(t, 200, w.do("keeper", "DELETE", "/v3/users/"+demoUser+"/tokens", nil).status)
}

func TestAHashOfOtherParametersIsMadeAnewAtALogin(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	before, err := w.store.User(ctx, demoUser)
	require.NoError(t, err)
	require.True(t, auth.Outdated(before.PasswordHash))
	require.Equal(t, 401, w.do("", "POST", "/v3/auth/tokens", login(byName("demo"), with("guess"), nil)).status)
	same, err := w.store.User(ctx, demoUser)
	require.NoError(t, err)
	require.Equal(t, before, same)
	w.loggedIn("again", byName("demo"), password, nil)
	after, err := w.store.User(ctx, demoUser)
	require.NoError(t, err)
	require.False(t, auth.Outdated(after.PasswordHash))
	require.True(t, auth.CheckPassword(after.PasswordHash, password))
	require.Equal(t, 200, w.do("demo", "GET", "/v3/auth/projects", nil).status, "no token ends")
	w.loggedIn("and again", byName("demo"), password, nil)
	last, err := w.store.User(ctx, demoUser)
	require.NoError(t, err)
	require.Equal(t, after, last)
}

func TestWhatIsNotServedSaysSoAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	for path, says := range map[string]string{
		"/v3/OS-TRUST/trusts": "application credential", "/v3/OS-TRUST/trusts/x/roles": "application credential", "/v3/OS-OAUTH1/consumers": "application credential",
		"/v3/OS-FEDERATION/identity_providers": "Federation", "/v3/domains/default/config": "LDAP", "/v3/limits": "os-quota-sets",
		"/v3/registered_limits/x": "os-quota-sets", "/v3/s3tokens": "object store", "/v3/policies": "docs/policy.md",
	} {
		for _, method := range []string{"GET", "POST"} {
			a := w.do("demo", method, path, nil)
			require.Equal(t, 501, a.status, path)
			require.Contains(t, a.json(t)["error"].(object)["message"], says)
			require.Equal(t, 401, w.do("", method, path, nil).status)
		}
	}
}
