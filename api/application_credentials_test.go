package api

import (
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// program logs in with an application credential, and keeps its token under the credential's name.
func (w *world) program(a *applicationcredentials.ApplicationCredential) (*gophercloud.ServiceClient, error) {
	w.t.Helper()
	client, err := openstack.AuthenticatedClient(w.t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: w.url + "/v3", ApplicationCredentialID: a.ID, ApplicationCredentialSecret: a.Secret,
	})
	if err != nil {
		return nil, err
	}
	w.tokens[a.Name] = client.TokenID
	return w.keystone(a.Name), nil
}

func TestAProgramLogsInWithSomeOfItsUsersRoles(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	demo := w.keystone("demo")
	reads, err := applicationcredentials.Create(ctx, demo, demoUser, applicationcredentials.CreateOpts{
		Name: "reads", Description: "of the test", Roles: []applicationcredentials.Role{{Name: "reader"}},
	}).Extract()
	require.NoError(t, err)
	require.Len(t, reads.Secret, 43)
	require.Equal(t, []any{demoProject, false, []applicationcredentials.Role{{ID: ids.Identity("role", "reader"), Name: "reader"}}},
		[]any{reads.ProjectID, reads.Unrestricted, reads.Roles})
	program, err := w.program(reads)
	require.NoError(t, err)
	shown := w.do("reads", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["reads"]).json(t)["token"].(object)
	require.Equal(t, []any{object{"id": ids.Identity("role", "reader"), "name": "reader"}}, shown["roles"])
	require.Equal(t, object{"id": reads.ID, "name": "reads", "restricted": true}, shown["application_credential"])
	require.Equal(t, demoProject, shown["project"].(object)["id"])
	require.Equal(t, 200, w.do("reads", "GET", "/compute/v2.1/servers", nil).status)
	require.Equal(t, 403, w.do("reads", "POST", "/compute/v2.1/os-keypairs", object{"keypair": object{"name": "k"}}).status, "the user may, the program not")

	// By name and user, and once more with a token of it: for the same project only, and as limited.
	as := func(secret string) object {
		return object{"methods": []string{"application_credential"}, "application_credential": object{"name": "reads", "secret": secret, "user": byName("demo")}}
	}
	require.Equal(t, 201, w.do("", "POST", "/v3/auth/tokens", object{"auth": object{"identity": as(reads.Secret)}}).status)
	require.Equal(t, 401, w.do("", "POST", "/v3/auth/tokens", object{"auth": object{"identity": as("guess")}}).status)
	require.Equal(t, 401, w.do("", "POST", "/v3/auth/tokens", object{"auth": object{"identity": as(reads.Secret), "scope": object{"project": object{"id": demoProject}}}}).status)
	by := func(scope any) answer {
		return w.do("", "POST", "/v3/auth/tokens", object{"auth": object{
			"identity": object{"methods": []string{"token"}, "token": object{"id": w.tokens["reads"]}}, "scope": scope,
		}})
	}
	again := by(object{"project": object{"id": demoProject}})
	require.Equal(t, 201, again.status)
	require.Equal(t, []any{object{"id": ids.Identity("role", "reader"), "name": "reader"}}, again.json(t)["token"].(object)["roles"])
	require.NoError(t, w.store.EnsureRole(ctx, demoUser, otherProject, "member"))
	require.Equal(t, 401, by(object{"project": object{"id": otherProject}}).status)
	require.Equal(t, 401, by(object{"unscoped": object{}}).status)

	// It is restricted: it makes no others, and sees nothing that lets in with more.
	key, err := ec2credentials.Create(ctx, demo, demoUser, ec2credentials.CreateOpts{TenantID: demoProject}).Extract()
	require.NoError(t, err)
	isRefused(t, applicationcredentials.Create(ctx, program, demoUser, applicationcredentials.CreateOpts{Name: "more"}).Err, 403)
	isRefused(t, applicationcredentials.Delete(ctx, program, demoUser, reads.ID).Err, 403)
	isRefused(t, ec2credentials.Create(ctx, program, demoUser, ec2credentials.CreateOpts{TenantID: demoProject}).Err, 403)
	isRefused(t, ec2credentials.Get(ctx, program, demoUser, key.Access).Err, 403)
	require.Equal(t, 403, w.do("reads", "GET", "/v3/credentials", nil).status)
	_, err = applicationcredentials.Get(ctx, program, demoUser, reads.ID).Extract()
	require.NoError(t, err)

	// Another one may, for its project, and what it makes is no more than itself.
	makes, err := applicationcredentials.Create(ctx, demo, demoUser, applicationcredentials.CreateOpts{
		Name: "makes", Secret: "its own secret", Unrestricted: true, Roles: []applicationcredentials.Role{{ID: ids.Identity("role", "reader")}},
	}).Extract()
	require.NoError(t, err)
	require.Equal(t, "its own secret", makes.Secret)
	program, err = w.program(makes)
	require.NoError(t, err)
	isRefused(t, applicationcredentials.Create(ctx, program, demoUser, applicationcredentials.CreateOpts{
		Name: "more", Roles: []applicationcredentials.Role{{Name: "member"}},
	}).Err, 400)
	isRefused(t, ec2credentials.Create(ctx, program, demoUser, ec2credentials.CreateOpts{TenantID: otherProject}).Err, 403)
	key, err = ec2credentials.Create(ctx, program, demoUser, ec2credentials.CreateOpts{TenantID: demoProject}).Extract()
	require.NoError(t, err)
	people := identity.New(w.store, w.server.options.Servers.Keys)
	_, caller, err := people.EC2Key(ctx, key.Access)
	require.NoError(t, err)
	require.Equal(t, []string{"reader"}, caller.Roles)
	require.NoError(t, applicationcredentials.Delete(ctx, demo, demoUser, makes.ID).ExtractErr())
	_, _, err = people.EC2Key(ctx, key.Access)
	require.Error(t, err, "it went with what it was made with")
	require.Equal(t, 401, w.do("makes", "GET", "/compute/v2.1/servers", nil).status)

	pages, err := applicationcredentials.List(demo, demoUser, applicationcredentials.ListOpts{}).AllPages(ctx)
	require.NoError(t, err)
	listed, err := applicationcredentials.ExtractApplicationCredentials(pages)
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Empty(t, listed[0].Secret)
	other := w.keystone("other")
	isRefused(t, applicationcredentials.Get(ctx, other, otherUser, reads.ID).Err, 404)
	isRefused(t, applicationcredentials.Get(ctx, other, demoUser, reads.ID).Err, 403)
	isRefused(t, applicationcredentials.Delete(ctx, other, otherUser, reads.ID).Err, 404)
	isRefused(t, applicationcredentials.Create(ctx, w.keystone("admin"), demoUser, applicationcredentials.CreateOpts{Name: "x"}).Err, 403)
	isRefused(t, applicationcredentials.Create(ctx, w.keystone("unscoped"), demoUser, applicationcredentials.CreateOpts{Name: "x"}).Err, 403)
	isRefused(t, applicationcredentials.Create(ctx, demo, demoUser, applicationcredentials.CreateOpts{Name: "reads"}).Err, 409)
	for why, body := range map[string]object{
		"with a role that its user has not": {"name": "x", "roles": []object{{"name": "admin"}}},
		"of before":                         {"name": "x", "expires_at": "2020-01-01T00:00:00.000000Z"},
		"at no time":                        {"name": "x", "expires_at": "soon"},
		"with access rules":                 {"name": "x", "access_rules": []object{{"path": "/v2.1/servers", "method": "GET", "service": "compute"}}},
		"for another project":               {"name": "x", "project_id": otherProject},
		"of no name":                        {"secret": "x"},
	} {
		require.Equal(t, 400, w.do("demo", "POST", "/v3/users/"+demoUser+"/application_credentials", object{"application_credential": body}).status, why)
	}
	require.NotContains(t, w.log.String(), reads.Secret)
}

func TestAnApplicationCredentialEndsWithWhatItRestsOn(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	admin := w.keystone("admin")
	made := func(name string) *applicationcredentials.ApplicationCredential {
		w.loggedIn("demo", byName("demo"), password, object{"project": object{"id": demoProject}})
		a, err := applicationcredentials.Create(ctx, w.keystone("demo"), demoUser, applicationcredentials.CreateOpts{Name: name}).Extract()
		require.NoError(t, err)
		_, err = w.program(a)
		require.NoError(t, err)
		require.Equal(t, 200, w.do(name, "GET", "/compute/v2.1/servers", nil).status)
		return a
	}
	lets := func(a *applicationcredentials.ApplicationCredential) bool {
		_, err := w.program(a)
		if err != nil {
			isRefused(t, err, 401)
		}
		return err == nil
	}

	a := made("disabled")
	for _, on := range []bool{false, true} {
		_, err := users.Update(ctx, admin, demoUser, users.UpdateOpts{Enabled: &on}).Extract()
		require.NoError(t, err)
		require.Equal(t, on, lets(a))
	}
	for _, on := range []bool{false, true} {
		_, err := w.store.UpdateProject(ctx, demoProject, models.ProjectPatch{Enabled: &on})
		require.NoError(t, err)
		require.Equal(t, on, lets(a))
	}
	member := models.Grant{Role: "member", UserID: new(demoUser), ProjectID: new(demoProject)}
	_, err := w.store.DeleteGrant(ctx, member)
	require.NoError(t, err)
	require.Equal(t, 401, w.do("disabled", "GET", "/compute/v2.1/servers", nil).status)
	require.NoError(t, w.store.EnsureGrant(ctx, member))
	require.False(t, lets(a), "it does not come back with the role")

	// What is left of the roles is enough for one that has no more.
	require.NoError(t, w.store.EnsureRole(ctx, demoUser, demoProject, "reader"))
	whole := made("whole")
	w.loggedIn("demo", byName("demo"), password, object{"project": object{"id": demoProject}})
	part, err := applicationcredentials.Create(ctx, w.keystone("demo"), demoUser, applicationcredentials.CreateOpts{
		Name: "part", Roles: []applicationcredentials.Role{{Name: "reader"}},
	}).Extract()
	require.NoError(t, err)
	_, err = w.store.DeleteGrant(ctx, member)
	require.NoError(t, err)
	require.False(t, lets(whole))
	require.True(t, lets(part))

	// By a group.
	g, err := groups.Create(ctx, admin, groups.CreateOpts{Name: "devs"}).Extract()
	require.NoError(t, err)
	require.NoError(t, users.AddToGroup(ctx, admin, g.ID, demoUser).ExtractErr())
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: "member", GroupID: &g.ID, ProjectID: new(demoProject)}))
	a = made("by a group")
	require.NoError(t, users.RemoveFromGroup(ctx, admin, g.ID, demoUser).ExtractErr())
	require.False(t, lets(a))
	require.True(t, lets(part))
	require.NoError(t, users.AddToGroup(ctx, admin, g.ID, demoUser).ExtractErr())
	a = made("by the group again")
	require.NoError(t, groups.Delete(ctx, admin, g.ID).ExtractErr())
	require.False(t, lets(a))

	// By a domain, with its groups.
	acme := w.made("domain", object{"name": "acme"})
	guests := w.made("group", object{"name": "guests", "domain_id": acme})
	require.NoError(t, w.store.JoinGroup(ctx, guests, demoUser))
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: "member", GroupID: &guests, ProjectID: new(demoProject)}))
	a = made("a guest's")
	_, err = w.store.UpdateDomain(ctx, acme, models.DomainPatch{Enabled: new(false)})
	require.NoError(t, err)
	require.NoError(t, w.store.DeleteDomain(ctx, acme))
	require.NoError(t, w.store.EnsureGrant(ctx, member))
	require.False(t, lets(a))
	_, err = w.store.DeleteGrant(ctx, member)
	require.NoError(t, err)

	// By a role that is deleted.
	role, err := w.store.ListRoles(ctx, models.IdentityFilter{})
	require.NoError(t, err)
	require.Len(t, role, 3)
	require.Equal(t, 201, w.do("admin", "POST", "/v3/roles", object{"role": object{"name": "auditor"}}).status)
	require.NoError(t, w.store.EnsureRole(ctx, demoUser, demoProject, "auditor"))
	a = made("an auditor's")
	all, err := w.store.RolesNamed(ctx, []string{"auditor"})
	require.NoError(t, err)
	require.Equal(t, 204, w.do("admin", "DELETE", "/v3/roles/"+all[0].ID, nil).status)
	require.False(t, lets(a))

	// In time: on a busy machine it lives for longer, or it ends before it is used.
	for life := 3 * time.Second; ; life *= 4 {
		w.loggedIn("demo", byName("demo"), password, object{"project": object{"id": demoProject}})
		demo := w.keystone("demo")
		soon := time.Now().Add(life).UTC()
		a, err = applicationcredentials.Create(ctx, demo, demoUser, applicationcredentials.CreateOpts{Name: "for " + life.String(), ExpiresAt: &soon}).Extract()
		require.NoError(t, err)
		require.WithinDuration(t, soon, a.ExpiresAt, time.Millisecond)
		if lets(a) {
			break
		}
		require.Less(t, life, time.Minute)
	}
	require.Eventually(t, func() bool { return w.do(a.Name, "GET", "/compute/v2.1/servers", nil).status == 401 }, 5*time.Minute, 100*time.Millisecond)
	require.False(t, lets(a))

	require.True(t, lets(part))
	require.Equal(t, 204, w.do("admin", "DELETE", "/v3/users/"+demoUser, nil).status)
	require.False(t, lets(part))
}
