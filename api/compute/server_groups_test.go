package compute_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/models"
)

func TestServerGroupsAreShownAsEachMicroversionShowsThem(t *testing.T) {
	c := newCloud(t)
	create := func(u apitest.User, version string, g fields) apitest.Answer {
		return c.nova(t, u, version, "POST", "/os-server-groups", fields{"server_group": g})
	}
	for _, tt := range []struct {
		version string
		asked   fields
		status  int
		says    string
	}{
		{"2.1", fields{"name": "g", "policies": []string{"affinity"}}, 200, `"policies":["affinity"]`},
		{"2.14", fields{"name": "g", "policies": []string{"soft-affinity"}}, 400, ""},
		{"2.15", fields{"name": "g", "policies": []string{"soft-affinity"}}, 200, `"metadata":{}`},
		{"2.15", fields{"name": "g", "policies": []string{"affinity", "soft-affinity"}}, 400, ""},
		{"2.63", fields{"name": "g", "policy": "affinity"}, 400, ""},
		{"2.64", fields{"name": "g", "policies": []string{"affinity"}}, 400, ""},
		{"2.64", fields{"name": "g", "policy": "soft-anti-affinity"}, 200, `"policy":"soft-anti-affinity"`},
		{"2.64", fields{"name": "g", "policy": "anti-affinity", "rules": fields{"max_server_per_host": "3"}}, 200, `"rules":{"max_server_per_host":3}`},
		{"2.64", fields{"name": "g", "policy": "affinity", "rules": fields{"max_server_per_host": 3}}, 400, "Only anti-affinity policy supports rules."},
		{"2.64", fields{"name": "g", "policy": "anti-affinity", "rules": fields{"max_server_per_host": 0}}, 400, ""},
		{"2.64", fields{"name": "g", "policy": "anti-affinity", "rules": fields{"max_server_per_host": "0"}}, 400, "out of range"},
		{"2.64", fields{"name": "g", "policy": "legacy"}, 400, ""}, {"2.64", fields{"policy": "affinity"}, 400, ""}, {"2.64", fields{"name": " ", "policy": "affinity"}, 400, ""},
	} {
		a := create(c.member, tt.version, tt.asked)
		require.Equal(t, tt.status, a.Status, "%v: %s", tt.asked, a.Body)
		require.Contains(t, a.Body, tt.says)
	}
	require.Equal(t, 403, create(c.reader, at96, fields{"name": "g", "policy": "affinity"}).Status)

	id := create(c.member, at96, fields{"name": "apart", "policy": "anti-affinity"}).At(t, "server_group", "id").(string)
	path := "/os-server-groups/" + id
	s := c.row(t, c.member, "web", then)
	in := models.Server{
		ID: uuid.NewString(), ProjectID: c.member.ProjectID, UserID: c.member.UserID, Name: "in", Hostname: "in", ImageID: c.image, FlavorID: "1",
		GroupID: &id, GroupLimit: -1, CreatedAt: then,
	}
	require.NoError(t, c.Store.RecordServer(t.Context(), in, models.InstanceAction{
		ServerID: in.ID, RequestID: "req-in", Action: "create", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: then,
	}))
	require.JSONEq(t, steady(`{"server_group":{"id":"ID","name":"apart","policy":"anti-affinity","rules":{},"members":["IN"],"project_id":"PROJECT","user_id":"USER"}}`,
		"ID", id, "IN", in.ID, "PROJECT", c.member.ProjectID, "USER", c.member.UserID), c.nova(t, c.reader, at96, "GET", path, nil).Body)
	require.JSONEq(t, steady(`{"server_group":{"id":"ID","name":"apart","policies":["anti-affinity"],"metadata":{},"members":["IN"]}}`,
		"ID", id, "IN", in.ID), c.nova(t, c.reader, "2.12", "GET", path, nil).Body)
	require.Equal(t, []any{id}, c.nova(t, c.member, "2.71", "GET", "/servers/"+in.ID, nil).At(t, "server", "server_groups"))
	require.Equal(t, []any{}, c.nova(t, c.member, "2.71", "GET", "/servers/"+s.ID, nil).At(t, "server", "server_groups"))

	list := func(u apitest.User, query string) int {
		a := c.nova(t, u, at96, "GET", "/os-server-groups"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		return len(a.At(t, "server_groups").([]any))
	}
	require.Equal(t, 5, list(c.member, ""))
	require.Equal(t, []int{2, 1, 0}, []int{list(c.member, "?limit=2"), list(c.member, "?offset=4"), list(c.member, "?offset=9")})
	require.Equal(t, []int{0, 0}, []int{list(c.stranger, ""), list(c.stranger, "?all_projects=True")})
	require.Equal(t, 200, create(c.stranger, at96, fields{"name": "theirs", "policy": "affinity"}).Status)
	require.Equal(t, []int{5, 6}, []int{list(c.admin, ""), list(c.admin, "?all_projects=1")})
	require.Equal(t, 400, c.nova(t, c.member, at96, "GET", "/os-server-groups?offset=-1", nil).Status)
	require.Equal(t, 400, c.nova(t, c.member, at96, "GET", "/os-server-groups?colour=red", nil).Status)

	for _, method := range []string{"GET", "DELETE"} {
		a := c.nova(t, c.stranger, at96, method, path, nil)
		require.Equal(t, []any{404, "Instance group " + id + " could not be found."}, []any{a.Status, a.Message(t)})
	}
	require.Equal(t, 404, c.nova(t, c.member, at96, "GET", "/os-server-groups/x", nil).Status)
	require.Equal(t, 403, c.nova(t, c.reader, at96, "DELETE", path, nil).Status)
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", path, nil).Status)
	require.Equal(t, 404, c.nova(t, c.member, at96, "DELETE", path, nil).Status)
	require.Equal(t, []any{}, c.nova(t, c.member, "2.71", "GET", "/servers/"+in.ID, nil).At(t, "server", "server_groups"))

	require.Equal(t, 4.0, c.nova(t, c.member, at96, "GET", "/limits", nil).At(t, "limits", "absolute", "totalServerGroupsUsed"))
	a := c.nova(t, c.admin, at96, "PUT", "/os-quota-sets/"+c.member.ProjectID, fields{"quota_set": fields{"server_groups": 3}})
	require.Equal(t, []any{400, "Quota limit 3 for server_groups must be greater than or equal to already used and reserved 4."}, []any{a.Status, a.Message(t)})
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", "/os-quota-sets/"+c.member.ProjectID, fields{"quota_set": fields{"server_groups": 4}}).Status)
	a = create(c.member, at96, fields{"name": "more", "policy": "affinity"})
	require.Equal(t, []any{403, "Quota exceeded, too many server groups."}, []any{a.Status, a.Message(t)})
}
