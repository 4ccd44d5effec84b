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
