package compute_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestAnAdminResetsAServersState(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	act := func(u apitest.User, id string, said any) apitest.Answer {
		return c.nova(t, u, "2.1", "POST", "/servers/"+id+"/action", fields{"os-resetState": said})
	}
	require.Equal(t, 202, act(c.admin, s.ID, fields{"state": "error"}).Status)
	require.Len(t, c.builds.resets, 1)
	in := c.builds.resets[0]
	require.Equal(t, []string{s.ID, "error", c.admin.UserID}, []string{in.ServerID, in.VMState, in.UserID})
	reset := func(state lifecycle.VMState, request, ended string) { // what its workflow does
		require.NoError(t, c.Store.ResetServer(t.Context(), s.ID, state, ended, models.InstanceAction{
			RequestID: request, Action: "resetState", UserID: c.admin.UserID, ProjectID: c.admin.ProjectID, StartedAt: time.Now(),
		}))
	}
	reset(lifecycle.Error, in.RequestID, "")
	require.Equal(t, "ERROR", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "status"))
	reset(lifecycle.Active, "req-2", "")
	reset(lifecycle.Error, in.RequestID, "") // again is as before
	require.Equal(t, "ACTIVE", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "status"))

	// What was ended for it does not change the server any more.
	stop, _ := lifecycle.Find("os-stop")
	was, err := c.Store.BeginAction(t.Context(), s.ID, stop, models.InstanceAction{RequestID: "req-stop", Action: "stop", UserID: "u", ProjectID: "p"})
	require.NoError(t, err)
	reset(lifecycle.Error, "req-3", "req-stop")
	require.NoError(t, c.Store.FinishAction(t.Context(), s.ID, "req-stop", stop, nil))
	require.NoError(t, c.Store.FailAction(t.Context(), s.ID, "req-stop", stop, was, models.ServerFault{Code: 500, Message: "late"}, nil))
	shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
	require.Equal(t, []any{"ERROR", nil}, []any{shown.At(t, "server", "status"), shown.At(t, "server", "OS-EXT-STS:task_state")})
	require.NotContains(t, shown.Body, "late")
	require.Equal(t, "Error", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID+"/os-instance-actions/req-stop", nil).At(t, "instanceAction", "message"))

	for _, tt := range []struct {
		said any
		text string
	}{
		{nil, "None is not of type 'object'"},
		{fields{}, "'state' is a required property"},
		{fields{"state": "building"}, "'building' is not one of ['active', 'error']"},
	} {
		a := act(c.admin, s.ID, tt.said)
		require.Equal(t, 400, a.Status, a.Body)
		require.Contains(t, a.Message(t), tt.text)
	}
	a := act(c.member, s.ID, fields{"state": "error"})
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.", a.Message(t))

	building := c.row(t, c.member, "building", time.Now())
	a = act(c.admin, building.ID, fields{"state": "active"})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Instance "+building.ID+" has no guest, and cannot become active.", a.Message(t))
	require.Equal(t, 202, act(c.admin, building.ID, fields{"state": "error"}).Status)
	_, err = c.Store.MarkServerDeleting(t.Context(), s.ID, models.InstanceAction{RequestID: "req-del", Action: "delete", UserID: "u", ProjectID: "p"})
	require.NoError(t, err)
	a = act(c.admin, s.ID, fields{"state": "active"})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'resetState' instance "+s.ID+" while it is in task_state deleting", a.Message(t))
	reset(lifecycle.Active, "req-4", "")
	require.Equal(t, "deleting", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "OS-EXT-STS:task_state"))
}

func TestAForcedDeleteIsADeleteInAnyState(t *testing.T) {
	c := newCloud(t)
	for _, s := range []models.Server{c.running(t, "web"), c.row(t, c.member, "building", time.Now())} {
		a := c.nova(t, c.member, "2.1", "POST", "/servers/"+s.ID+"/action", fields{"forceDelete": nil})
		require.Equal(t, 202, a.Status, a.Body)
		require.Equal(t, s.ID, c.builds.deleted[len(c.builds.deleted)-1].ServerID)
	}
	require.Equal(t, 403, c.nova(t, c.reader, "2.1", "POST", "/servers/"+c.row(t, c.member, "x", time.Now()).ID+"/action", fields{"forceDelete": nil}).Status)
}
