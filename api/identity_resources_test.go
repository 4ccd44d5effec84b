package api

import (
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/domains"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/osinherit"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// keystone is gophercloud's client of the identity API, as somebody of w.tokens.
func (w *world) keystone(as string) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: w.tokens[as]}, Endpoint: w.url + "/v3/", Type: "identity",
	}
}

// loggedIn logs somebody in for a scope, keeps the token under a name, and gives the body.
func (w *world) loggedIn(name string, user object, pass string, scope any) object {
	w.t.Helper()
	a := w.do("", "POST", "/v3/auth/tokens", login(user, with(pass), scope))
	require.Equal(w.t, 201, a.status, string(a.body))
	w.tokens[name] = a.header.Get("X-Subject-Token")
	return a.json(w.t)["token"].(object)
}

func TestAnAdminMakesADomainWithItsPeopleWhoThenWorkInIt(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	admin := w.keystone("admin")
	role := func(name string) string { return ids.Identity("role", name) }
	on := true

	d, err := domains.Create(ctx, admin, domains.CreateOpts{Name: "acme", Description: "of the test", Enabled: &on}).Extract()
	require.NoError(t, err)
	p, err := projects.Create(ctx, admin, projects.CreateOpts{Name: "web", DomainID: d.ID, Tags: []string{"b", "a"}, Extra: map[string]any{"cost": "c1"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, []any{d.ID, d.ID, true, []string{"a", "b"}, "c1"}, []any{p.DomainID, p.ParentID, p.Enabled, p.Tags, p.Extra["cost"]})
	u, err := users.Create(ctx, admin, users.CreateOpts{Name: "ann", DomainID: d.ID, Password: "ann's own", DefaultProjectID: p.ID, Extra: map[string]any{"email": "ann@acme.example"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "ann@acme.example", u.Extra["email"])
	boss, err := users.Create(ctx, admin, users.CreateOpts{Name: "boss", DomainID: d.ID, Password: "boss's own"}).Extract()
	require.NoError(t, err)
	g, err := groups.Create(ctx, admin, groups.CreateOpts{Name: "devs", DomainID: d.ID}).Extract()
	require.NoError(t, err)
	require.NoError(t, users.AddToGroup(ctx, admin, g.ID, u.ID).ExtractErr())
	in, err := users.IsMemberOfGroup(ctx, admin, g.ID, u.ID).Extract()
	require.NoError(t, err)
	require.True(t, in)
	require.NoError(t, roles.Assign(ctx, admin, role("member"), roles.AssignOpts{GroupID: g.ID, ProjectID: p.ID}).ExtractErr())
	require.NoError(t, roles.Validate(ctx, admin, role("member"), roles.ValidateOpts{GroupID: g.ID, ProjectID: p.ID}).ExtractErr())
	require.NoError(t, roles.Assign(ctx, admin, role("admin"), roles.AssignOpts{UserID: boss.ID, DomainID: d.ID}).ExtractErr())
	require.NoError(t, osinherit.Assign(ctx, admin, role("reader"), osinherit.AssignOpts{UserID: boss.ID, DomainID: d.ID}).ExtractErr())
	require.NoError(t, osinherit.Validate(ctx, admin, role("reader"), osinherit.ValidateOpts{UserID: boss.ID, DomainID: d.ID}).ExtractErr())

	// Ann is in the group, so a login without a scope is for her default project.
	acme := func(name string) object { return object{"name": name, "domain": object{"name": "acme"}} }
	token := w.loggedIn("ann", acme("ann"), "ann's own", nil)
	require.Equal(t, p.ID, token["project"].(object)["id"])
	require.Equal(t, object{"id": d.ID, "name": "acme"}, token["project"].(object)["domain"])
	require.Equal(t, []any{object{"id": role("member"), "name": "member"}, object{"id": role("reader"), "name": "reader"}}, token["roles"])
	require.Equal(t, 200, w.do("ann", "GET", "/compute/v2.1/servers", nil).status)
	require.NotContains(t, w.loggedIn("unscoped ann", acme("ann"), "ann's own", "unscoped"), "project")

	// The domain's admin keeps its people, and nobody else's; and is no admin of a cloud.
	token = w.loggedIn("boss", acme("boss"), "boss's own", object{"domain": object{"id": d.ID}})
	require.Equal(t, object{"id": d.ID, "name": "acme"}, token["domain"])
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/v3/users", nil, 200},
		{"GET", "/v3/users?domain_id=default", nil, 403},
		{"GET", "/v3/users/" + demoUser, nil, 403},
		{"GET", "/v3/users/nobody", nil, 403},
		{"PATCH", "/v3/users/" + adminUser, object{"user": object{"password": "mine now"}}, 403},
		{"POST", "/v3/projects", object{"project": object{"name": "shop"}}, 201},
		{"POST", "/v3/projects", object{"project": object{"name": "shop", "domain_id": "default"}}, 403},
		{"POST", "/v3/domains", object{"domain": object{"name": "another"}}, 403},
		{"PUT", "/v3/projects/" + p.ID + "/users/" + boss.ID + "/roles/" + role("member"), nil, 204},
		{"PUT", "/v3/projects/" + p.ID + "/users/" + boss.ID + "/roles/" + role("admin"), nil, 403},
		{"PUT", "/v3/OS-INHERIT/domains/" + d.ID + "/users/" + boss.ID + "/roles/" + role("admin") + "/inherited_to_projects", nil, 403},
		{"PUT", "/v3/system/users/" + boss.ID + "/roles/" + role("admin"), nil, 403},
		{"PUT", "/v3/projects/" + demoProject + "/users/" + boss.ID + "/roles/" + role("member"), nil, 403},
		{"GET", "/v3/role_assignments?scope.project.id=" + p.ID, nil, 200},
		{"GET", "/v3/role_assignments", nil, 403},
		{"GET", "/compute/v2.1/servers/detail?all_tenants=1", nil, 403},
		{"GET", "/compute/v2.1/os-hypervisors", nil, 403},
	} {
		a := w.do("boss", c.method, c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s: %s", c.method, c.path, a.body)
	}
	require.Len(t, w.do("boss", "GET", "/v3/users", nil).json(t)["users"], 2)
	require.Len(t, w.do("boss", "GET", "/v3/auth/domains", nil).json(t)["domains"], 1)
	require.Len(t, w.do("boss", "GET", "/v3/auth/projects", nil).json(t)["projects"], 2, "by the role that is inherited")

	// Who has which role.
	pages, err := roles.ListAssignments(admin, roles.ListAssignmentsOpts{ScopeProjectID: p.ID, Effective: &on, IncludeNames: &on}).AllPages(ctx)
	require.NoError(t, err)
	assigned, err := roles.ExtractRoleAssignments(pages)
	require.NoError(t, err)
	var who []string
	for _, a := range assigned {
		who = append(who, a.User.Name+" "+a.Role.Name+" "+a.Scope.Project.Name)
	}
	require.Equal(t, []string{"ann member web", "boss member web", "boss reader web"}, who)

	// What is taken away ends at once.
	require.NoError(t, users.RemoveFromGroup(ctx, admin, g.ID, u.ID).ExtractErr())
	require.Equal(t, 401, w.do("ann", "GET", "/compute/v2.1/servers", nil).status)
	require.Equal(t, 404, w.do("admin", "HEAD", "/v3/groups/"+g.ID+"/users/"+u.ID, nil).status)
	require.Equal(t, 200, w.do("unscoped ann", "GET", "/v3/auth/projects", nil).status)
	require.Equal(t, 401, w.do("", "POST", "/v3/users/"+u.ID+"/password", object{"user": object{"password": "new", "original_password": "guess"}}).status)
	require.Equal(t, 204, w.do("", "POST", "/v3/users/"+u.ID+"/password", object{"user": object{"password": "new", "original_password": "ann's own"}}).status)
	require.Equal(t, 401, w.do("unscoped ann", "GET", "/v3/auth/projects", nil).status, "with the password of before")
	require.NotContains(t, w.loggedIn("ann", acme("ann"), "new", nil), "project", "she has no role on it")

	off := false
	_, err = domains.Update(ctx, admin, d.ID, domains.UpdateOpts{Enabled: &off}).Extract()
	require.NoError(t, err)
	require.Equal(t, 401, w.do("ann", "GET", "/v3/auth/projects", nil).status)
	require.NoError(t, domains.Delete(ctx, admin, d.ID).ExtractErr())
	require.Equal(t, 404, w.do("admin", "GET", "/v3/users/"+u.ID, nil).status)
	require.Equal(t, 404, w.do("admin", "GET", "/v3/projects/"+p.ID, nil).status)
	for _, secret := range []string{"ann's own", "boss's own"} {
		require.NotContains(t, w.log.String(), secret)
	}
}

func TestTheSystemIsReadWithARoleOnIt(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: auth.RoleReader, UserID: new(demoUser)}))
	require.Empty(t, w.do("other", "GET", "/v3/auth/system", nil).json(t)["system"])
	require.Equal(t, []any{object{"all": true}}, w.do("demo", "GET", "/v3/auth/system", nil).json(t)["system"])
	token := w.loggedIn("reader of all", byName("demo"), password, object{"system": object{"all": true}})
	require.Equal(t, object{"all": true}, token["system"])
	require.Equal(t, 200, w.do("reader of all", "GET", "/v3/users", nil).status)
	require.Equal(t, 200, w.do("reader of all", "GET", "/v3/role_assignments?scope.system=all", nil).status)
	require.Equal(t, 403, w.do("reader of all", "POST", "/v3/users", object{"user": object{"name": "x"}}).status)
	require.Equal(t, 403, w.do("reader of all", "GET", "/compute/v2.1/servers", nil).status, "servers are projects'")
}

func TestATokenIsForTheDefaultProjectOnlyWhereItsUserHasARoleThere(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/users/"+demoUser, object{"user": object{"default_project_id": otherProject}}).status)
	require.NotContains(t, w.loggedIn("x", byName("demo"), password, nil), "project")
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/users/"+demoUser, object{"user": object{"default_project_id": nil}}).status)
	require.NotContains(t, w.do("admin", "GET", "/v3/users/"+demoUser, nil).json(t)["user"], "default_project_id")
}

func TestWhatIdentityDoesNotServeIsRefusedAndChangesNothing(t *testing.T) {
	w := newWorld(t)
	before := w.everything()
	member := ids.Identity("role", "member")
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		text         string
	}{
		{"POST", "/v3/projects", object{"project": object{"name": "x", "parent_id": demoProject}}, 400, "Projects have no projects below them here"},
		{"POST", "/v3/projects", object{"project": object{"name": "x", "is_domain": true}}, 400, "POST /v3/domains"},
		{"POST", "/v3/projects", object{"project": object{"name": "x", "domain_id": "nowhere"}}, 404, "Could not find domain: nowhere."},
		{"POST", "/v3/projects", object{"project": object{"name": "demo"}}, 409, "it is not permitted to have two projects with the same name : demo."},
		{"POST", "/v3/projects", object{"project": object{"name": " "}}, 400, "name"},
		{"POST", "/v3/projects", object{"project": object{}}, 400, ""},
		{"POST", "/v3/projects", object{"project": object{"name": "x", "options": object{"immutable": true}}}, 400, "options"},
		{"POST", "/v3/projects", object{"project": object{"name": "x", "tags": []string{"a,b"}}}, 400, "a,b"},
		{"PATCH", "/v3/projects/" + demoProject, object{"project": object{"domain_id": "d9"}}, 400, "Cannot change Domain ID."},
		{"PATCH", "/v3/projects/nothing", object{"project": object{"name": "x"}}, 404, "Could not find project: nothing."},
		{"POST", "/v3/users", object{"user": object{"name": "demo"}}, 409, "two users"},
		{"POST", "/v3/users", object{"user": object{"name": "x", "options": object{"multi_factor_auth_enabled": true}}}, 400, "options"},
		{"POST", "/v3/users", object{"user": object{"name": "x", "federated": []any{object{}}}}, 400, "federated"},
		{"POST", "/v3/users", object{"user": object{"name": "x", "password": string(make([]byte, 0))}}, 400, "password"},
		{"POST", "/v3/users", object{"user": object{"name": "x", "password": "0123456789012345678901234567890123456789012345678901234567890123456789012"}}, 400, "at most 72 bytes"},
		{"DELETE", "/v3/users/" + adminUser, nil, 403, "nobody with the role admin"},
		{"PATCH", "/v3/users/" + adminUser, object{"user": object{"enabled": false}}, 403, "nobody with the role admin"},
		{"DELETE", "/v3/projects/" + adminProject + "/users/" + adminUser + "/roles/" + ids.Identity("role", "admin"), nil, 403, "nobody with the role admin"},
		{"DELETE", "/v3/domains/default", nil, 403, "please disable it first"},
		{"PATCH", "/v3/domains/default", object{"domain": object{"enabled": false}}, 403, "The default domain cannot be disabled."},
		{"PATCH", "/v3/roles/" + member, object{"role": object{"name": "x"}}, 403, "immutable"},
		{"DELETE", "/v3/roles/" + member, nil, 403, "immutable"},
		{"POST", "/v3/roles", object{"role": object{"name": "x", "domain_id": "default"}}, 400, "domain_id"},
		{"PUT", "/v3/roles/" + member + "/implies/" + member, nil, 405, ""},
		{"PUT", "/v3/projects/" + demoProject + "/users/" + demoUser + "/roles/nothing", nil, 404, "Could not find role: nothing."},
		{"PUT", "/v3/projects/" + demoProject + "/users/nobody/roles/" + member, nil, 404, "Could not find user: nobody."},
		{"PUT", "/v3/projects/" + demoProject + "/groups/nobody/roles/" + member, nil, 404, "Could not find group: nobody."},
		{"DELETE", "/v3/projects/" + otherProject + "/users/" + demoUser + "/roles/" + member, nil, 404, "Could not find role assignment"},
		{"GET", "/v3/projects?name__like=x", nil, 400, "name__like"},
		{"GET", "/v3/users?colour=red", nil, 400, "colour"},
		{"GET", "/v3/services?colour=red", nil, 400, "colour"},
		{"GET", "/v3/role_assignments?colour=red", nil, 400, "colour"},
		{"GET", "/v3/role_assignments?user.id=a&group.id=b", nil, 400, "not both"},
		{"GET", "/v3/projects/" + demoProject + "/users/" + demoUser + "/roles/" + member + "/x", nil, 404, ""},
		{"POST", "/v3/auth/tokens", login(byName("demo"), with(password), object{"OS-TRUST:trust": object{"id": "t"}}), 400, "Trusts are not served"},
	} {
		a := w.do("admin", c.method, c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s: %s", c.method, c.path, a.body)
		require.Contains(t, string(a.body), c.text, "%s %s", c.method, c.path)
	}
	require.Equal(t, before, w.everything())
}

func TestIdentityListsShowNoMoreThanTheyWereAskedFor(t *testing.T) {
	w := newWorld(t)
	names := func(path string) []string {
		a := w.do("admin", "GET", path, nil)
		require.Equal(t, 200, a.status, string(a.body))
		list := []string{}
		for _, o := range a.json(t)["users"].([]any) {
			list = append(list, o.(object)["name"].(string))
		}
		return list
	}
	require.Equal(t, []string{"admin", "reader"}, names("/v3/users?name__contains=ad"))
	require.Equal(t, []string{"reader"}, names("/v3/users?name__istartswith=RE&enabled"))
	require.Equal(t, []string{"disabled"}, names("/v3/users?enabled=False"))
	require.Empty(t, names("/v3/users?domain_id=nowhere"))

	first := w.do("admin", "GET", "/v3/users?limit=2", nil).json(t)
	require.Len(t, first["users"], 2)
	next := first["links"].(object)["next"].(string)
	require.Equal(t, []string{"disabled", "other"}, names(next[len(w.url):]))
	require.Nil(t, w.do("admin", "GET", "/v3/users", nil).json(t)["links"].(object)["next"])

	tags := "/v3/projects/" + demoProject + "/tags"
	require.Equal(t, 201, w.do("admin", "PUT", tags+"/blue", nil).status)
	require.Equal(t, 204, w.do("demo", "GET", tags+"/blue", nil).status)
	require.Equal(t, 404, w.do("demo", "GET", tags+"/red", nil).status)
	require.Equal(t, 200, w.do("admin", "PUT", tags, object{"tags": []string{"x", "a"}}).status)
	require.Equal(t, []any{"a", "x"}, w.do("demo", "GET", tags, nil).json(t)["tags"])
	require.Equal(t, 204, w.do("admin", "DELETE", tags+"/x", nil).status)
	require.Equal(t, 204, w.do("admin", "DELETE", tags, nil).status)
	require.Empty(t, w.do("demo", "GET", tags, nil).json(t)["tags"])
	require.Len(t, w.do("demo", "GET", "/v3/role_inferences", nil).json(t)["role_inferences"], 2)
}
