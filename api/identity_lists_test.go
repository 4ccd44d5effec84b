package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

func TestANameIsFreeAfterADeleteWhoeverHasTheIdForAName(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{"user", "project"} {
		id := w.made(kind, object{"name": "short-lived"})
		w.made(kind, object{"name": id})
		require.Equal(t, 204, w.do("admin", "DELETE", "/v3/"+kind+"s/"+id, nil).status)
		w.made(kind, object{"name": "short-lived"})
	}
}

func TestWhatIsKeptBesideTheAttributesIsBounded(t *testing.T) {
	w := newWorld(t)
	id := w.made("user", object{"name": "hoarder"})
	status := func(key string) int {
		return w.do("admin", "PATCH", "/v3/users/"+id, object{"user": object{key: strings.Repeat("x", 30<<10)}}).status
	}
	require.Equal(t, []int{200, 200, 400}, []int{status("a"), status("b"), status("c")})
	require.NotContains(t, w.do("admin", "GET", "/v3/users/"+id, nil).json(t)["user"], "c")
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/users/"+id, object{"user": object{"a": nil}}).status)
	require.Equal(t, 200, status("c"))
}

func TestListsTakeKeystonesWordsForFalse(t *testing.T) {
	w := newWorld(t)
	for _, word := range []string{"no", "off", "0", "False", "n"} {
		users := w.do("admin", "GET", "/v3/users?enabled="+word, nil).json(t)["users"].([]any)
		require.Len(t, users, 1, word)
		require.Equal(t, "disabled", users[0].(object)["name"])
	}
}

func TestEffectiveAssignmentsThatAreInheritedAreThoseOfProjects(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	require.NoError(t, w.store.EnsureGrant(ctx, models.Grant{Role: "reader", UserID: new(otherUser), DomainID: new("default"), Inherited: true}))
	projects := func(query string) (on []any) {
		for _, a := range w.do("admin", "GET", "/v3/role_assignments?user.id="+otherUser+query, nil).json(t)["role_assignments"].([]any) {
			scope := a.(object)["scope"].(object)
			if p, is := scope["project"].(object); is {
				on = append(on, p["id"])
			}
		}
		return on
	}
	require.ElementsMatch(t, []any{adminProject, demoProject, otherProject}, projects("&effective&scope.OS-INHERIT:inherited_to=projects"))
	require.ElementsMatch(t, []any{adminProject, demoProject, otherProject, otherProject}, projects("&effective"))
	require.Empty(t, projects("&scope.OS-INHERIT:inherited_to=projects"), "the grant itself is the domain's")
}

func TestADefaultProjectThatIsDisabledKeepsNobodyOut(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/users/"+demoUser, object{"user": object{"default_project_id": demoProject}}).status)
	require.Contains(t, w.loggedIn("demo", byName("demo"), password, nil), "project")
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/projects/"+demoProject, object{"project": object{"enabled": false}}).status)
	require.NotContains(t, w.loggedIn("demo", byName("demo"), password, nil), "project")
}

func TestAPurgeIsNotedAndItsProjectDisabled(t *testing.T) {
	w := newWorld(t)
	image := w.queued("demo", object{"protected": true})
	require.Equal(t, 403, w.do("demo", "DELETE", "/v3/projects/"+demoProject+"?purge", nil).status)
	require.Equal(t, 404, w.do("admin", "DELETE", "/v3/projects/none?purge", nil).status)
	a := w.do("admin", "DELETE", "/v3/projects/"+demoProject+"?purge=true", nil)
	require.Equal(t, 409, a.status)
	require.Contains(t, string(a.body), "1 image that is protected")
	require.Equal(t, 200, w.do("demo", "PATCH", "/image/v2/images/"+image, []object{{"op": "replace", "path": "/protected", "value": false}},
		"Content-Type", "application/openstack-images-v2.1-json-patch").status)
	require.Equal(t, 409, w.do("admin", "DELETE", "/v3/projects/"+demoProject+"?purge=false", nil).status, "as without")

	require.Equal(t, 202, w.do("admin", "DELETE", "/v3/projects/"+demoProject+"?purge", nil).status)
	p := w.do("admin", "GET", "/v3/projects/"+demoProject, nil).json(t)["project"].(object)
	require.Equal(t, false, p["enabled"])
	require.NotEmpty(t, p["purging_since"])
	require.Equal(t, 401, w.do("demo", "GET", "/compute/v2.1/servers", nil).status)
	require.Equal(t, 202, w.do("admin", "DELETE", "/v3/projects/"+demoProject+"?purge", nil).status, "again")
	require.Equal(t, p["purging_since"], w.do("admin", "GET", "/v3/projects/"+demoProject, nil).json(t)["project"].(object)["purging_since"])
	require.Equal(t, 403, w.do("admin", "DELETE", "/v3/projects/"+adminProject+"?purge", nil).status, "its admin is the last one")
	require.Equal(t, 200, w.do("admin", "PATCH", "/v3/projects/"+demoProject, object{"project": object{"enabled": true}}).status)
	require.NotContains(t, w.do("admin", "GET", "/v3/projects/"+demoProject, nil).json(t)["project"], "purging_since")
}

func TestHEADIsAnsweredAsGETIs(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/v3/users", "/v3/projects/" + demoProject, "/v3/auth/catalog", "/v3/users/" + demoUser + "/application_credentials"} {
		get, head := w.do("admin", "GET", path, nil), w.do("admin", "HEAD", path, nil)
		require.Equal(t, []any{200, 200}, []any{get.status, head.status}, path)
		require.Empty(t, head.body)
		require.Equal(t, get.header.Get("Content-Type"), head.header.Get("Content-Type"))
	}
	require.Equal(t, 404, w.do("admin", "HEAD", "/v3/users/nobody", nil).status)
	require.Equal(t, 403, w.do("demo", "HEAD", "/v3/users", nil).status)
}
