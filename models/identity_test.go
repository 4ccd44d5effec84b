package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// people is a world with a second domain, and in it users who have roles in every way there is.
type people struct {
	*world
	domain Domain
	at     time.Time
}

func newPeople(t *testing.T) people {
	t.Helper()
	p := people{world: newWorld(t), domain: Domain{ID: "d1", Name: "Acme", Enabled: true, Extra: Extra{}}, at: now()}
	p.domain.CreatedAt = p.at
	require.NoError(t, p.CreateDomain(t.Context(), p.domain))
	for _, id := range []string{"ann", "bob"} {
		require.NoError(t, p.CreateUser(t.Context(), User{ID: id, Name: id, DomainID: "d1", PasswordHash: "x", Enabled: true, Extra: Extra{}, CreatedAt: p.at}))
	}
	for _, id := range []string{"red", "blue"} {
		require.NoError(t, p.CreateProject(t.Context(), Project{ID: id, Name: id, DomainID: "d1", Enabled: true, Tags: []string{}, Extra: Extra{}, CreatedAt: p.at}))
	}
	require.NoError(t, p.CreateGroup(t.Context(), Group{ID: "ops", Name: "ops", DomainID: "d1", Extra: Extra{}, CreatedAt: p.at}))
	return p
}

func (p people) roles(t *testing.T, user string, on Scope) []string {
	t.Helper()
	roles, err := p.Roles(t.Context(), user, on)
	require.NoError(t, err)
	return roles
}

func ptr(s string) *string { return &s }

func TestRolesComeFromTheUserItsGroupsAndItsDomain(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	red, blue, domain, system := Scope{ProjectID: "red"}, Scope{ProjectID: "blue"}, Scope{DomainID: "d1"}, Scope{System: true}
	for _, g := range []Grant{
		{Role: "reader", UserID: ptr("ann"), ProjectID: ptr("red")},
		{Role: "member", GroupID: ptr("ops"), ProjectID: ptr("red")},
		{Role: "admin", UserID: ptr("ann"), DomainID: ptr("d1")},
		{Role: "member", UserID: ptr("bob"), DomainID: ptr("d1"), Inherited: true},
		{Role: "reader", GroupID: ptr("ops"), UserID: nil},
	} {
		require.NoError(t, p.EnsureGrant(ctx, g))
		require.NoError(t, p.EnsureGrant(ctx, g), "again")
	}
	require.Equal(t, []string{"reader"}, p.roles(t, "ann", red))
	require.NoError(t, p.JoinGroup(ctx, "ops", "ann"))
	require.NoError(t, p.JoinGroup(ctx, "ops", "ann"), "again")
	require.Equal(t, []string{"member", "reader"}, p.roles(t, "ann", red))
	require.Empty(t, p.roles(t, "ann", blue), "a role on a domain is none on its projects")
	require.Equal(t, []string{"admin"}, p.roles(t, "ann", domain))
	require.Equal(t, []string{"reader"}, p.roles(t, "ann", system))
	require.Equal(t, []string{"member"}, p.roles(t, "bob", blue))
	require.Empty(t, p.roles(t, "bob", domain), "an inherited role is none on the domain itself")
	require.Empty(t, p.roles(t, "bob", system))
	require.Empty(t, p.roles(t, "ann", Scope{}))

	projects, err := p.ListProjects(ctx, IdentityFilter{UserID: "bob"})
	require.NoError(t, err)
	require.Len(t, projects, 2)
	domains, err := p.ListDomains(ctx, IdentityFilter{UserID: "ann"})
	require.NoError(t, err)
	require.Equal(t, []Domain{p.domain}, domains)

	all, err := p.Assignments(ctx, GrantFilter{})
	require.NoError(t, err)
	require.Len(t, all, 6, "with the one of the world")
	effective, err := p.Assignments(ctx, GrantFilter{Effective: true, UserID: "bob"})
	require.NoError(t, err)
	require.Len(t, effective, 2, "one a project")
	for _, a := range effective {
		require.False(t, a.Inherited)
		require.Equal(t, Named{"bob", "bob"}, a.User)
		require.Equal(t, Named{"d1", "Acme"}, a.ProjectDomain)
	}

	was, err := p.LeaveGroup(ctx, "ops", "ann")
	require.NoError(t, err)
	require.True(t, was)
	require.Empty(t, p.roles(t, "ann", system))
	for _, bad := range []struct {
		grant Grant
		text  string
	}{
		{Grant{Role: "owner", UserID: ptr("ann"), ProjectID: ptr("red")}, "Could not find role: owner."},
		{Grant{Role: "member", UserID: ptr("eve"), ProjectID: ptr("red")}, "Could not find user: eve."},
		{Grant{Role: "member", GroupID: ptr("eve"), ProjectID: ptr("red")}, "Could not find group: eve."},
		{Grant{Role: "member", UserID: ptr("ann"), ProjectID: ptr("green")}, "Could not find project: green."},
		{Grant{Role: "member", UserID: ptr("ann"), DomainID: ptr("d2")}, "Could not find domain: d2."},
	} {
		requireFault(t, p.EnsureGrant(ctx, bad.grant), fault.NotFound, bad.text)
	}
}

func TestATokenDiesWithTheOneItWasBoughtWithAndWithWhatItStandsOn(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.EnsureGrant(ctx, Grant{Role: "member", UserID: ptr("ann"), ProjectID: ptr("red")}))
	require.NoError(t, p.EnsureGrant(ctx, Grant{Role: "reader", UserID: ptr("ann"), DomainID: ptr("d1")}))
	buy := func(name string, parent []byte, scope Scope) []byte {
		hash := tokenOf(name)
		require.NoError(t, p.CreateToken(ctx, Token{Hash: hash, AuditID: name, Parent: parent, UserID: "ann", Scope: scope, IssuedAt: p.at, ExpiresAt: p.at.Add(time.Hour)}))
		return hash
	}
	lives := func(hash []byte) bool {
		_, err := p.Token(ctx, hash, p.at)
		if err != nil {
			requireFault(t, err, fault.NotFound, "Could not find token.")
		}
		return err == nil
	}
	first := buy("first", nil, Scope{})
	second := buy("second", first, Scope{ProjectID: "red"})
	third := buy("third", second, Scope{DomainID: "d1"})
	other := buy("other", nil, Scope{ProjectID: "red"})
	require.True(t, lives(third))
	require.NoError(t, p.DeleteToken(ctx, first))
	require.False(t, lives(second))
	require.False(t, lives(third))
	require.True(t, lives(other))
	requireFault(t, p.CreateToken(ctx, Token{Hash: tokenOf("late"), Parent: first, UserID: "ann", IssuedAt: p.at, ExpiresAt: p.at}), fault.NotFound, "Could not find token.")

	off, on := false, true
	for name, change := range map[string]struct{ end, mend func() error }{
		"its domain is disabled": {
			func() error { _, err := p.UpdateDomain(ctx, "d1", DomainPatch{Enabled: &off}); return err },
			func() error { _, err := p.UpdateDomain(ctx, "d1", DomainPatch{Enabled: &on}); return err },
		},
		"its project is disabled": {
			func() error { _, err := p.UpdateProject(ctx, "red", ProjectPatch{Enabled: &off}); return err },
			func() error { _, err := p.UpdateProject(ctx, "red", ProjectPatch{Enabled: &on}); return err },
		},
		"its last role there is taken away": {
			func() error {
				_, err := p.DeleteGrant(ctx, Grant{Role: "member", UserID: ptr("ann"), ProjectID: ptr("red")})
				return err
			},
			func() error { return p.EnsureRole(ctx, "ann", "red", "reader") },
		},
	} {
		require.NoError(t, change.end())
		require.False(t, lives(other), name)
		require.NoError(t, change.mend())
		require.True(t, lives(other), name)
	}
	for name, end := range map[string]UserPatch{"another password": {PasswordHash: ptr("y")}, "it is disabled": {Enabled: &off}} {
		hash := buy(name, nil, Scope{ProjectID: "red"})
		_, err := p.UpdateUser(ctx, "ann", end)
		require.NoError(t, err)
		_, err = p.UpdateUser(ctx, "ann", UserPatch{Enabled: &on})
		require.NoError(t, err)
		require.False(t, lives(hash), name)
	}
	last := buy("last", nil, Scope{})
	require.NoError(t, p.DeleteUser(ctx, "ann"))
	require.False(t, lives(last))
}

func TestTheLastAdminStays(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	has, err := p.HasAdmin(ctx)
	require.NoError(t, err)
	require.False(t, has)
	direct := Grant{Role: "admin", UserID: ptr("ann"), ProjectID: ptr("red")}
	require.NoError(t, p.EnsureGrant(ctx, direct))
	off := false
	refused := func(err error) {
		t.Helper()
		requireFault(t, err, fault.Forbidden, "That would leave nobody with the role admin: give it to another user first.")
	}
	before := p.snapshot(t)
	for _, f := range []func() error{
		func() error { _, err := p.DeleteGrant(ctx, direct); return err },
		func() error { _, err := p.UpdateUser(ctx, "ann", UserPatch{Enabled: &off}); return err },
		func() error { _, err := p.UpdateUser(ctx, "ann", UserPatch{PasswordHash: ptr("")}); return err },
		func() error { _, err := p.UpdateProject(ctx, "red", ProjectPatch{Enabled: &off}); return err },
		func() error { _, err := p.UpdateDomain(ctx, "d1", DomainPatch{Enabled: &off}); return err },
		func() error { return p.DeleteUser(ctx, "ann") },
		func() error { return p.DeleteProject(ctx, "red") },
	} {
		refused(f())
		require.Equal(t, before, p.snapshot(t))
	}
	require.NoError(t, p.EnsureGrant(ctx, Grant{Role: "admin", GroupID: ptr("ops")}))
	require.NoError(t, p.JoinGroup(ctx, "ops", "bob"))
	require.NoError(t, p.DeleteUser(ctx, "ann"), "bob is one too")
	_, err = p.LeaveGroup(ctx, "ops", "bob")
	refused(err)
	refused(p.DeleteGroup(ctx, "ops"))

	// Two who would each leave the other.
	require.NoError(t, p.EnsureGrant(ctx, Grant{Role: "admin", UserID: ptr("u1")}))
	errs := atOnce(2, func(i int) error { return p.DeleteUser(ctx, []string{"bob", "u1"}[i]) })
	require.NotEqual(t, errs[0] == nil, errs[1] == nil, "%v", errs)
}

func TestAProjectThatOwnsSomethingIsNotDeleted(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	p.record(t, "s")
	requireFault(t, p.DeleteProject(ctx, "p1"), fault.Conflict, "Project p1 owns 1 server, 1 image, 1 network: delete what it owns first.")
	_, err := p.CreateNetwork(ctx, Network{ProjectID: "red", Name: "n", MTU: 1500})
	require.NoError(t, err)
	requireFault(t, p.DeleteProject(ctx, "red"), fault.Conflict, "Project red owns 1 network: delete what it owns first.")

	require.NoError(t, p.DeleteProject(ctx, "blue"))
	requireFault(t, p.DeleteProject(ctx, "blue"), fault.NotFound, "Could not find project: blue.")
	_, err = p.CreateNetwork(ctx, Network{ProjectID: "blue", Name: "n", MTU: 1500})
	require.Error(t, err, "what was let in before it was deleted gives it nothing")
	requireFault(t, p.ClaimQuota(ctx, Claim{ServerID: "s9", ProjectID: "blue", Instances: 1}, Limits{Instances: -1, Cores: -1, RAMMiB: -1}), fault.NotFound, "Could not find project: blue.")
	for _, id := range []string{"p8", "p9"} {
		green := Project{ID: id, Name: "green", DomainID: "d1", Enabled: true, Tags: []string{}, Extra: Extra{}, CreatedAt: p.at}
		require.NoError(t, p.CreateProject(ctx, green), "its name is free")
		green.ID = "p7"
		requireFault(t, p.CreateProject(ctx, green), fault.Conflict, "Conflict occurred attempting to store project - it is not permitted to have two projects with the same name : green.")
		require.NoError(t, p.DeleteProject(ctx, id))
	}
}

func TestADomainGoesWithWhoIsInIt(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	requireFault(t, p.DeleteDomain(ctx, "d1"), fault.Forbidden, "Cannot delete a domain that is enabled, please disable it first.")
	off := false
	_, err := p.UpdateDomain(ctx, "d1", DomainPatch{Enabled: &off})
	require.NoError(t, err)
	n, err := p.CreateNetwork(ctx, Network{ProjectID: "red", Name: "n", MTU: 1500})
	require.NoError(t, err)
	before := p.snapshot(t)
	requireFault(t, p.DeleteDomain(ctx, "d1"), fault.Conflict, "Project red owns 1 network: delete what it owns first.")
	require.Equal(t, before, p.snapshot(t))
	require.NoError(t, p.DeleteNetwork(ctx, n.ID))
	require.NoError(t, p.DeleteDomain(ctx, "d1"))
	requireFault(t, p.DeleteDomain(ctx, "d1"), fault.NotFound, "Could not find domain: d1.")
	for _, gone := range []func(context.Context, IdentityFilter) (int, error){
		func(ctx context.Context, f IdentityFilter) (int, error) {
			all, err := p.ListUsers(ctx, f)
			return len(all) - 1, err
		},
		func(ctx context.Context, f IdentityFilter) (int, error) {
			all, err := p.ListProjects(ctx, f)
			return len(all) - 1, err
		},
		func(ctx context.Context, f IdentityFilter) (int, error) {
			all, err := p.ListGroups(ctx, f)
			return len(all), err
		},
		func(ctx context.Context, f IdentityFilter) (int, error) {
			all, err := p.ListDomains(ctx, f)
			return len(all) - 1, err
		},
	} {
		n, err := gone(ctx, IdentityFilter{})
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

func TestIdentityListsAreFilteredAndPaged(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.TagProject(ctx, "red", "b"))
	require.NoError(t, p.TagProject(ctx, "red", "a"))
	require.NoError(t, p.TagProject(ctx, "red", "a"), "again")
	names := func(f IdentityFilter) []string {
		all, err := p.ListProjects(ctx, f)
		require.NoError(t, err)
		list := []string{}
		for _, one := range all {
			list = append(list, one.Name)
		}
		return list
	}
	text := func(op, value string) IdentityFilter {
		return IdentityFilter{Texts: []TextFilter{{Column: "name", Op: op, Value: value}}}
	}
	for _, c := range []struct {
		filter IdentityFilter
		names  []string
	}{
		{IdentityFilter{}, []string{"blue", "demo", "red"}},
		{IdentityFilter{DomainID: "d1"}, []string{"blue", "red"}},
		{IdentityFilter{DomainID: "d1", Limit: 1}, []string{"blue"}},
		{IdentityFilter{Limit: 2, Marker: "blue"}, []string{"demo", "red"}},
		{text("", "red"), []string{"red"}},
		{text("contains", "e"), []string{"blue", "demo", "red"}},
		{text("startswith", "re"), []string{"red"}},
		{text("endswith", "ue"), []string{"blue"}},
		{text("istartswith", "RE"), []string{"red"}},
		{text("startswith", "RE"), []string{}},
		{text("contains", "%"), []string{}},
		{text("contains", "_"), []string{}},
		{IdentityFilter{Tags: []TagFilter{{Tags: []string{"a", "b"}}}}, []string{"red"}},
		{IdentityFilter{Tags: []TagFilter{{Tags: []string{"a", "c"}}}}, []string{}},
		{IdentityFilter{Tags: []TagFilter{{Any: true, Tags: []string{"a", "c"}}}}, []string{"red"}},
		{IdentityFilter{Tags: []TagFilter{{Not: true, Tags: []string{"a"}}}}, []string{"blue", "demo"}},
		{IdentityFilter{Tags: []TagFilter{{Not: true, Any: true, Tags: []string{"c"}}}}, []string{"blue", "demo", "red"}},
	} {
		require.Equal(t, c.names, names(c.filter), "%+v", c.filter)
	}
	was, err := p.UntagProject(ctx, "red", "a")
	require.NoError(t, err)
	require.True(t, was)
	was, err = p.UntagProject(ctx, "red", "a")
	require.NoError(t, err)
	require.False(t, was)
	red, err := p.Project(ctx, "red")
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, red.Tags)
	_, err = p.ListProjects(ctx, IdentityFilter{Marker: "nothing"})
	requireFault(t, err, fault.Invalid, "marker [nothing] not found")

	changed, err := p.UpdateProject(ctx, "red", ProjectPatch{Extra: Extra{"cost": "c1", "gone": "x"}})
	require.NoError(t, err)
	require.Equal(t, Extra{"cost": "c1", "gone": "x"}, changed.Extra)
	changed, err = p.UpdateProject(ctx, "red", ProjectPatch{Description: ptr("d"), Extra: Extra{"gone": nil}})
	require.NoError(t, err)
	require.Equal(t, Extra{"cost": "c1"}, changed.Extra)
	require.Equal(t, "d", changed.Description)
}
