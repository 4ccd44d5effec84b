package api

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// isRefused holds that gophercloud got a status.
func isRefused(t *testing.T, err error, status int) {
	t.Helper()
	require.True(t, gophercloud.ResponseCodeIs(err, status), "%d expected: %v", status, err)
}

func TestAnAccessKeyLetsItsUserInOnItsProjectWhileTheUserMayBeThere(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	demo, admin := w.keystone("demo"), w.keystone("admin")
	key, err := ec2credentials.Create(ctx, demo, demoUser, ec2credentials.CreateOpts{TenantID: demoProject}).Extract()
	require.NoError(t, err)
	require.Equal(t, []any{demoUser, demoProject, w.url + "/v3/users/" + demoUser + "/credentials/OS-EC2/" + key.Access},
		[]any{key.UserID, key.TenantID, key.Links["self"]})
	require.Len(t, key.Secret, 32)
	again, err := ec2credentials.Get(ctx, demo, demoUser, key.Access).Extract()
	require.NoError(t, err)
	require.Equal(t, key, again)
	pages, err := ec2credentials.List(demo, demoUser).AllPages(ctx)
	require.NoError(t, err)
	listed, err := ec2credentials.ExtractCredentials(pages)
	require.NoError(t, err)
	require.Equal(t, []ec2credentials.Credential{*key}, listed)
	for _, readable := range []string{key.Secret, hex.EncodeToString([]byte(key.Secret))} {
		require.NotContains(t, fmt.Sprint(w.everything()), readable, "the database keeps it sealed")
	}

	people := identity.New(w.store, w.server.options.Servers.Keys)
	letsIn := func() (string, auth.Caller, error) { return people.EC2Key(ctx, key.Access) }
	secret, who, err := letsIn()
	require.NoError(t, err)
	require.Equal(t, key.Secret, secret)
	require.Equal(t, auth.Caller{UserID: demoUser, ProjectID: demoProject, Roles: []string{"member"}}, who)
	for name, change := range map[string]struct{ away, back func() error }{
		"the user is disabled": {
			func() error {
				_, err := users.Update(ctx, admin, demoUser, users.UpdateOpts{Enabled: new(false)}).Extract()
				return err
			},
			func() error {
				_, err := users.Update(ctx, admin, demoUser, users.UpdateOpts{Enabled: new(true)}).Extract()
				return err
			},
		},
		"the project is disabled": {
			func() error {
				_, err := w.store.UpdateProject(ctx, demoProject, models.ProjectPatch{Enabled: new(false)})
				return err
			},
			func() error {
				_, err := w.store.UpdateProject(ctx, demoProject, models.ProjectPatch{Enabled: new(true)})
				return err
			},
		},
		"the role is taken away": {
			func() error {
				_, err := w.store.DeleteGrant(ctx, models.Grant{Role: "member", UserID: new(demoUser), ProjectID: new(demoProject)})
				return err
			},
			func() error { return w.store.EnsureRole(ctx, demoUser, demoProject, "member") },
		},
	} {
		require.NoError(t, change.away())
		_, _, err := letsIn()
		require.True(t, fault.Is(err, fault.Unauthorized), "%s: %v", name, err)
		require.NoError(t, change.back())
		_, _, err = letsIn()
		require.NoError(t, err, name)
	}
	_, _, err = people.EC2Key(ctx, "nobody's")
	require.True(t, fault.Is(err, fault.Unauthorized))

	// Nobody else sees it; an admin does.
	w.loggedIn("demo", byName("demo"), password, object{"project": object{"id": demoProject}})
	demo = w.keystone("demo")
	other := w.keystone("other")
	isRefused(t, ec2credentials.Get(ctx, other, demoUser, key.Access).Err, 403)
	isRefused(t, ec2credentials.Get(ctx, other, otherUser, key.Access).Err, 404)
	isRefused(t, ec2credentials.Delete(ctx, other, otherUser, key.Access).Err, 404)
	isRefused(t, ec2credentials.Create(ctx, other, demoUser, ec2credentials.CreateOpts{TenantID: demoProject}).Err, 403)
	isRefused(t, ec2credentials.Create(ctx, other, otherUser, ec2credentials.CreateOpts{TenantID: demoProject}).Err, 404)
	isRefused(t, ec2credentials.Create(ctx, admin, demoUser, ec2credentials.CreateOpts{TenantID: "none"}).Err, 404)
	require.Equal(t, 400, w.do("demo", "POST", "/v3/users/"+demoUser+"/credentials/OS-EC2", object{}).status)
	_, err = ec2credentials.Get(ctx, admin, demoUser, key.Access).Extract()
	require.NoError(t, err)

	require.NoError(t, ec2credentials.Delete(ctx, demo, demoUser, key.Access).ExtractErr())
	isRefused(t, ec2credentials.Delete(ctx, demo, demoUser, key.Access).Err, 404)
	_, _, err = letsIn()
	require.True(t, fault.Is(err, fault.Unauthorized))
	require.NotContains(t, w.log.String(), key.Secret)
}

func TestCredentialsAreKeptForTheirUser(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	demo, other, admin := w.keystone("demo"), w.keystone("other"), w.keystone("admin")
	cert, err := credentials.Create(ctx, demo, credentials.CreateOpts{Blob: "-----BEGIN", Type: "cert", UserID: demoUser}).Extract()
	require.NoError(t, err)
	blob := `{"access": "my own key", "secret": "my own secret"}`
	key, err := credentials.Create(ctx, demo, credentials.CreateOpts{Blob: blob, Type: "ec2", UserID: demoUser, ProjectID: demoProject}).Extract()
	require.NoError(t, err)
	require.Equal(t, "e0d61b3a1d878254655aa2716edb4c9c1f4a28bdaf7efe8080072266a59e8406", key.ID)
	require.Equal(t, blob, key.Blob)
	isRefused(t, credentials.Create(ctx, other, credentials.CreateOpts{Blob: blob, Type: "ec2", UserID: otherUser, ProjectID: otherProject}).Err, 409)
	secret, _, err := identity.New(w.store, w.server.options.Servers.Keys).EC2Key(ctx, "my own key")
	require.NoError(t, err)
	require.Equal(t, "my own secret", secret)

	list := func(as *gophercloud.ServiceClient, o credentials.ListOpts) (ids []string) {
		pages, err := credentials.List(as, o).AllPages(ctx)
		require.NoError(t, err)
		found, err := credentials.ExtractCredentials(pages)
		require.NoError(t, err)
		for _, c := range found {
			ids = append(ids, c.ID)
		}
		return ids
	}
	require.ElementsMatch(t, []string{cert.ID, key.ID}, list(demo, credentials.ListOpts{}))
	require.Equal(t, []string{key.ID}, list(demo, credentials.ListOpts{Type: "ec2"}))
	require.Empty(t, list(other, credentials.ListOpts{}))
	require.Empty(t, list(other, credentials.ListOpts{UserID: demoUser}))
	require.Len(t, list(admin, credentials.ListOpts{UserID: demoUser}), 2)
	require.Len(t, w.do("demo", "GET", "/v3/credentials?limit=1", nil).json(t)["credentials"], 1)

	isRefused(t, credentials.Get(ctx, other, cert.ID).Err, 404)
	isRefused(t, credentials.Delete(ctx, other, cert.ID).Err, 404)
	isRefused(t, credentials.Update(ctx, other, cert.ID, credentials.UpdateOpts{Blob: "x"}).Err, 404)
	isRefused(t, credentials.Update(ctx, demo, key.ID, credentials.UpdateOpts{Blob: `{"access": "another", "secret": "s"}`}).Err, 400)
	isRefused(t, credentials.Update(ctx, demo, key.ID, credentials.UpdateOpts{ProjectID: otherProject}).Err, 404)
	isRefused(t, credentials.Update(ctx, demo, cert.ID, credentials.UpdateOpts{UserID: adminUser}).Err, 400)
	isRefused(t, credentials.Update(ctx, demo, cert.ID, credentials.UpdateOpts{Type: "ec2"}).Err, 400)
	changed, err := credentials.Update(ctx, demo, cert.ID, credentials.UpdateOpts{Blob: "another"}).Extract()
	require.NoError(t, err)
	require.Equal(t, []string{"another", "cert", demoUser}, []string{changed.Blob, changed.Type, changed.UserID})
	got, err := credentials.Get(ctx, admin, cert.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, changed, got)

	for why, body := range map[string]object{
		"a second factor":                {"blob": "x", "type": "totp", "user_id": demoUser},
		"an access key without project":  {"blob": blob, "type": "ec2", "user_id": demoUser},
		"an access key that is no JSON":  {"blob": "access", "type": "ec2", "user_id": demoUser, "project_id": demoProject},
		"an access key without a secret": {"blob": `{"access":"a"}`, "type": "ec2", "user_id": demoUser, "project_id": demoProject},
		"an access key of a trust":       {"blob": `{"access":"a","secret":"b","trust_id":"t"}`, "type": "ec2", "user_id": demoUser, "project_id": demoProject},
		"something beside the blob":      {"blob": "x", "type": "cert", "user_id": demoUser, "note": "secret"},
		"nobody's":                       {"blob": "x", "type": "cert"},
	} {
		require.Equal(t, 400, w.do("demo", "POST", "/v3/credentials", object{"credential": body}).status, why)
	}
	isRefused(t, credentials.Create(ctx, demo, credentials.CreateOpts{Blob: "x", Type: "cert", UserID: otherUser}).Err, 403)
	isRefused(t, credentials.Create(ctx, admin, credentials.CreateOpts{Blob: "x", Type: "cert", UserID: "nobody"}).Err, 404)

	for i := 2; i < models.MaxCredentials; i++ {
		require.NoError(t, w.store.CreateCredential(ctx, models.Credential{ID: auth.NewAuditID(), Type: "cert", UserID: demoUser, KeyID: "k", Sealed: []byte("s")}))
	}
	isRefused(t, credentials.Create(ctx, demo, credentials.CreateOpts{Blob: "x", Type: "cert", UserID: demoUser}).Err, 403)

	// They go with their project and with their user.
	require.NoError(t, w.store.DeleteProject(ctx, demoProject))
	isRefused(t, credentials.Get(ctx, admin, key.ID).Err, 404)
	require.NoError(t, w.store.DeleteUser(ctx, demoUser))
	isRefused(t, credentials.Get(ctx, admin, cert.ID).Err, 404)
	isRefused(t, credentials.Create(ctx, admin, credentials.CreateOpts{Blob: "x", Type: "cert", UserID: demoUser}).Err, 404)
}
