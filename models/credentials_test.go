package models

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// What is made while its user or its project is deleted goes with it, or is not made.
func TestNoCredentialOutlivesItsUserOrItsProject(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	for i := range 20 {
		user, project := fmt.Sprintf("u-%d", i), fmt.Sprintf("p-%d", i)
		require.NoError(t, p.CreateUser(ctx, User{ID: user, Name: user, DomainID: "d1", Enabled: true, Extra: Extra{}, CreatedAt: p.at}))
		require.NoError(t, p.CreateProject(ctx, Project{ID: project, Name: project, DomainID: "d1", Enabled: true, Tags: []string{}, Extra: Extra{}, CreatedAt: p.at}))
		require.NoError(t, p.EnsureRole(ctx, user, project, "member"))
		errs := atOnce(3, func(n int) error {
			switch {
			case n == 0:
				return p.CreateCredential(ctx, Credential{ID: user, Type: CredentialEC2, UserID: user, ProjectID: &project, KeyID: "k", Sealed: []byte("s"), CreatedAt: p.at})
			case n == 1:
				return p.CreateApplicationCredential(ctx, ApplicationCredential{ID: user, Name: "a", UserID: user, ProjectID: project, CreatedAt: p.at, Roles: []string{"member"}})
			case i%2 == 0:
				return p.DeleteUser(ctx, user)
			}
			return p.DeleteProject(ctx, project)
		})
		require.NoError(t, errs[2])
		for _, err := range errs[:2] {
			require.True(t, err == nil || fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid), "%v", err)
		}
	}
	left := p.snapshot(t)
	require.Empty(t, left["credentials"])
	require.Empty(t, left["application_credentials"])
	require.Empty(t, left["application_credential_roles"])
}

func TestNoApplicationCredentialIsMadeOfARoleThatIsBeingTakenAway(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	grant := Grant{Role: "member", UserID: ptr("ann"), ProjectID: ptr("red")}
	for i := range 20 {
		require.NoError(t, p.EnsureGrant(ctx, grant))
		errs := atOnce(2, func(n int) error {
			if n == 0 {
				return p.CreateApplicationCredential(ctx, ApplicationCredential{ID: fmt.Sprint(i), Name: fmt.Sprint(i), UserID: "ann", ProjectID: "red", CreatedAt: p.at, Roles: []string{"reader"}})
			}
			_, err := p.DeleteGrant(ctx, grant)
			return err
		})
		require.NoError(t, errs[1])
		require.True(t, errs[0] == nil || fault.Is(errs[0], fault.Invalid), "%v", errs[0])
	}
	require.Empty(t, p.snapshot(t)["application_credentials"])
}

func TestNoApplicationCredentialLosesARoleThatIsBeingDeletedAndStays(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	for i := range 20 {
		role := fmt.Sprintf("auditor-%d", i)
		require.NoError(t, p.CreateRole(ctx, Role{ID: role, Name: role, Extra: Extra{}, CreatedAt: p.at}))
		require.NoError(t, p.EnsureRole(ctx, "ann", "red", role))
		errs := atOnce(2, func(n int) error {
			if n == 0 {
				return p.CreateApplicationCredential(ctx, ApplicationCredential{ID: role, Name: role, UserID: "ann", ProjectID: "red", CreatedAt: p.at, Roles: []string{role}})
			}
			return p.DeleteRole(ctx, role)
		})
		require.NoError(t, errs[1])
		require.True(t, errs[0] == nil || fault.Is(errs[0], fault.Invalid) || fault.Is(errs[0], fault.NotFound), "%v", errs[0])
	}
	require.Empty(t, p.snapshot(t)["application_credentials"])
}

func TestAUserKeepsAsManyCredentialsAsItMayAndNotOneMore(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.EnsureRole(ctx, "ann", "red", "member"))
	for _, make := range []func(i int) error{
		func(i int) error {
			return p.CreateCredential(ctx, Credential{ID: fmt.Sprint(i), Type: "cert", UserID: "ann", KeyID: "k", Sealed: []byte("s"), CreatedAt: p.at})
		},
		func(i int) error {
			return p.CreateApplicationCredential(ctx, ApplicationCredential{ID: fmt.Sprint(i), Name: fmt.Sprint(i), UserID: "ann", ProjectID: "red", CreatedAt: p.at, Roles: []string{"member"}})
		},
	} {
		for i := range MaxCredentials - 2 {
			require.NoError(t, make(i))
		}
		require.Equal(t, 2, succeeded(atOnce(5, func(i int) error { return make(MaxCredentials + i) })))
	}
}

func TestCredentialsAreSealedAnewInStepsThatCanBeInterrupted(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	for i := range 3 {
		require.NoError(t, p.CreateCredential(ctx, Credential{ID: fmt.Sprint(i), Type: "cert", UserID: "ann", KeyID: "k1", Sealed: []byte("old"), CreatedAt: p.at}))
	}
	needed := func() map[string]int {
		keys, err := p.CredentialKeys(ctx)
		require.NoError(t, err)
		return keys
	}
	reseal := func(c Credential) (Credential, error) {
		require.Equal(t, "old", string(c.Sealed))
		c.KeyID, c.Sealed = "k2", []byte("new")
		return c, nil
	}
	_, err := p.ResealCredentials(ctx, "k2", 2, func(Credential) (Credential, error) { return Credential{}, errors.New("no key") })
	require.ErrorContains(t, err, "no key")
	require.Equal(t, map[string]int{"k1": 3}, needed())
	for _, want := range []int{2, 1, 0} {
		n, err := p.ResealCredentials(ctx, "k2", 2, reseal)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.Equal(t, map[string]int{"k2": 3}, needed())
}

func TestAnAccessKeyIsItsUserAndProjectAndRolesAsTheyAre(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.CreateCredential(ctx, Credential{ID: "k", Type: CredentialEC2, UserID: "ann", ProjectID: ptr("red"), KeyID: "k1", Sealed: []byte("s"), CreatedAt: p.at}))
	_, err := p.AccessKey(ctx, "k", time.Now())
	requireFault(t, err, fault.NotFound, "Could not find credential: k.")
	require.NoError(t, p.JoinGroup(ctx, "ops", "ann"))
	require.NoError(t, p.EnsureGrant(ctx, Grant{Role: "reader", GroupID: ptr("ops"), DomainID: ptr("d1"), Inherited: true}))
	k, err := p.AccessKey(ctx, "k", time.Now())
	require.NoError(t, err)
	require.Equal(t, []any{Named{"ann", "ann"}, Named{"red", "red"}, []string{"reader"}}, []any{k.User, k.Project, k.Roles})
	off := false
	_, err = p.UpdateDomain(ctx, "d1", DomainPatch{Enabled: &off})
	require.NoError(t, err)
	_, err = p.AccessKey(ctx, "k", time.Now())
	requireFault(t, err, fault.NotFound, "Could not find credential: k.")
}

func TestASubnetOnAnothersNetworkIsAProjectsOwn(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	n, err := p.CreateNetwork(ctx, Network{ProjectID: "red", Name: "n", MTU: 1500})
	require.NoError(t, err)
	s, err := p.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "blue", CIDR: "10.9.0.0/24"})
	require.NoError(t, err)
	requireFault(t, p.DeleteProject(ctx, "blue"), fault.Conflict, "Project blue owns 1 subnet: delete what it owns first.")
	require.NoError(t, p.DeleteSubnet(ctx, s.ID))
	require.NoError(t, p.DeleteProject(ctx, "blue"))
	_, err = p.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "blue", CIDR: "10.9.0.0/24"})
	requireFault(t, err, fault.NotFound, "Could not find project: blue.")
}
