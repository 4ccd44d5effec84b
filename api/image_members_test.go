package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnImageIsSharedAcceptedAndTakenBack(t *testing.T) {
	w := newWorld(t)
	id := w.active("demo", object{"name": "shared"}, noise(1000))
	members := "/image/v2/images/" + id + "/members"
	theirs := members + "/" + otherProject
	require.Equal(t, 404, w.do("other", "GET", members, nil).status, "not before it is shared")

	a := w.do("demo", "POST", members, object{"member": otherProject})
	require.Equal(t, 200, a.status, string(a.body))
	made := a.json(t)
	require.Equal(t, object{
		"image_id": id, "member_id": otherProject, "status": "pending", "schema": "/v2/schemas/member",
		"created_at": made["created_at"], "updated_at": made["created_at"],
	}, made)
	require.Equal(t, 200, w.do("demo", "POST", members, object{"member": adminProject}).status)
	require.Equal(t, 409, w.do("demo", "POST", members, object{"member": otherProject}).status)

	shown := func(as string) []string {
		a := w.do(as, "GET", members, nil)
		require.Equal(t, 200, a.status, string(a.body))
		require.Equal(t, "/v2/schemas/members", a.json(t)["schema"])
		list := []string{}
		for _, m := range a.json(t)["members"].([]any) {
			list = append(list, m.(object)["member_id"].(string))
		}
		return list
	}
	require.Equal(t, []string{adminProject, otherProject}, shown("demo"))
	require.Equal(t, []string{adminProject, otherProject}, shown("reader"))
	require.Equal(t, []string{otherProject}, shown("other"), "a member knows of itself alone")
	require.Equal(t, 404, w.do("other", "GET", members+"/"+adminProject, nil).status)
	require.Equal(t, made, w.do("other", "GET", theirs, nil).json(t))

	before := w.everything()
	for _, c := range []struct {
		as, method, path string
		body             any
		status           int
	}{
		{"demo", "POST", members, object{}, 400},
		{"demo", "POST", members, object{"member": ""}, 400},
		{"demo", "POST", members, object{"member": "nobody"}, 400},
		{"demo", "POST", members, object{"member": 5}, 400},
		{"reader", "POST", members, object{"member": demoProject}, 403},
		{"other", "POST", members, object{"member": demoProject}, 403},
		{"demo", "PUT", theirs, object{"status": "accepted"}, 403}, // not in another's name
		{"reader", "PUT", theirs, object{"status": "accepted"}, 403},
		{"other", "PUT", theirs, object{"status": "delighted"}, 400},
		{"other", "PUT", theirs, object{}, 400},
		{"other", "PUT", members + "/" + adminProject, object{"status": "accepted"}, 404},
		{"demo", "PUT", members + "/nobody", object{"status": "accepted"}, 403},
		{"other", "DELETE", theirs, nil, 403}, // a member rejects; only the owner takes back
		{"reader", "DELETE", theirs, nil, 403},
		{"demo", "DELETE", members + "/nobody", nil, 404},
		{"demo", "GET", members + "/nobody", nil, 404},
		{"other", "PUT", "/image/v2/images/" + id + "/tags/x", nil, 403},
		{"other", "DELETE", "/image/v2/images/" + id, nil, 403},
	} {
		a := w.do(c.as, c.method, c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s %s %v: %s", c.as, c.method, c.path, c.body, a.body)
	}
	require.Equal(t, before, w.everything())

	listed := func(query string) bool {
		a := w.do("other", "GET", "/image/v2/images?"+query, nil)
		require.Equal(t, 200, a.status, string(a.body))
		return strings.Contains(string(a.body), id)
	}
	require.Equal(t, "shared", w.image("other", id)["name"], "seen, if not listed, before it is accepted")
	for _, said := range []string{"pending", "accepted", "rejected"} {
		a := w.do("other", "PUT", theirs, object{"status": said})
		require.Equal(t, 200, a.status, string(a.body))
		require.Equal(t, said, a.json(t)["status"])
		require.Equal(t, said == "accepted", listed(""))
		for _, asked := range []string{"pending", "accepted", "rejected", "all"} {
			require.Equal(t, asked == said || asked == "all", listed("visibility=shared&member_status="+asked), "%s listed as %s", said, asked)
		}
		require.Equal(t, 200, w.do("other", "GET", "/image/v2/images/"+id+"/file", nil).status)
	}

	require.Equal(t, 204, w.do("demo", "DELETE", theirs, nil).status)
	require.Equal(t, 404, w.do("demo", "DELETE", theirs, nil).status)
	require.Equal(t, 404, w.do("other", "GET", "/image/v2/images/"+id, nil).status)
}

func TestOnlySharedImagesHaveMembers(t *testing.T) {
	w := newWorld(t)
	for _, visibility := range []string{"private", "public", "community"} {
		id := w.queued("admin", object{"visibility": visibility, "owner": demoProject})
		members := "/image/v2/images/" + id + "/members"
		a := w.do("demo", "POST", members, object{"member": otherProject})
		require.Equal(t, 403, a.status, visibility)
		require.Contains(t, a.json(t)["message"], "Only shared images have members.")
		require.Equal(t, 403, w.do("demo", "GET", members, nil).status, visibility)
		require.Equal(t, 404, w.do("demo", "GET", members+"/"+otherProject, nil).status, visibility)
	}
	// One that becomes private keeps them for when it is shared again.
	id := w.queued("demo", nil)
	require.Equal(t, 200, w.do("demo", "POST", "/image/v2/images/"+id+"/members", object{"member": otherProject}).status)
	for _, c := range []struct {
		visibility string
		status     int
	}{{"private", 404}, {"shared", 200}} {
		a := w.do("demo", "PATCH", "/image/v2/images/"+id, []object{{"op": "replace", "path": "/visibility", "value": c.visibility}},
			"Content-Type", "application/openstack-images-v2.1-json-patch")
		require.Equal(t, 200, a.status, string(a.body))
		require.Equal(t, c.status, w.do("other", "GET", "/image/v2/images/"+id, nil).status, c.visibility)
	}
}
