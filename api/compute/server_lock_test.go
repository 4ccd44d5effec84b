package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestALockedServerRefusesAllButAdmins(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	at := "/servers/" + s.ID
	act := func(u apitest.User, version, word string, said any) apitest.Answer {
		return c.nova(t, u, version, "POST", at+"/action", fields{word: said})
	}
	shown := func(key string) any { return c.nova(t, c.member, at96, "GET", at, nil).At(t, "server", key) }

	a := act(c.member, at96, "lock", fields{"locked_reason": "mine until March"})
	require.Equal(t, 202, a.Status, a.Body)
	require.Empty(t, a.Body)
	require.Equal(t, []any{true, "mine until March"}, []any{shown("locked"), shown("locked_reason")})
	require.Equal(t, 202, act(c.member, at96, "lock", fields{"locked_reason": "again"}).Status)
	require.Equal(t, "mine until March", shown("locked_reason"), "an owner's second lock changes nothing, as in Nova")
	require.NotContains(t, c.nova(t, c.member, "2.72", "GET", at, nil).Body, "locked_reason")
	require.NotContains(t, c.nova(t, c.member, "2.8", "GET", at, nil).Body, `"locked"`)

	for _, refused := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/action", fields{"os-stop": nil}},
		{"DELETE", "", nil},
		{"POST", "/metadata", fields{"metadata": fields{"a": "b"}}},
		{"DELETE", "/metadata/role", nil},
	} {
		a := c.nova(t, c.member, at96, refused.method, at+refused.path, refused.body)
		require.Equal(t, 409, a.Status, "%s %s: %s", refused.method, refused.path, a.Body)
		require.Equal(t, "Instance "+s.ID+" is locked", a.Message(t))
	}
	require.Empty(t, c.builds.actions)
	require.Empty(t, c.builds.deleted)
	require.Equal(t, 200, c.nova(t, c.member, at96, "PUT", at, fields{"server": fields{"name": "x"}}).Status, "Nova's lock does not guard it")
	require.Equal(t, 201, c.nova(t, c.member, at96, "PUT", at+"/tags/x", nil).Status, "nor tags")
	require.Equal(t, 200, act(c.member, at96, "os-getConsoleOutput", fields{}).Status, "nor the console")
	require.Equal(t, 200, c.nova(t, c.admin, at96, "POST", at+"/metadata", fields{"metadata": fields{"a": "b"}}).Status)
	require.Equal(t, 202, act(c.admin, at96, "os-stop", nil).Status)
	require.True(t, c.builds.actions[0].OverLock)

	require.Equal(t, 202, act(c.member, at96, "unlock", nil).Status)
	require.Equal(t, []any{false, nil}, []any{shown("locked"), shown("locked_reason")})
	require.Equal(t, 202, act(c.member, at96, "os-stop", nil).Status)
	require.False(t, c.builds.actions[1].OverLock)

	actions := c.nova(t, c.member, at96, "GET", at+"/os-instance-actions", nil).At(t, "instanceActions").([]any)
	var names []any
	for _, x := range actions {
		names = append(names, x.(map[string]any)["action"])
	}
	require.Equal(t, []any{"unlock", "lock", "create"}, names)
	lock := actions[1].(map[string]any)["request_id"].(string)
	events := c.nova(t, c.member, at96, "GET", at+"/os-instance-actions/"+lock, nil).At(t, "instanceAction", "events").([]any)
	require.Len(t, events, 1)
	require.Equal(t, []any{"api_lock", "Success"}, []any{events[0].(map[string]any)["event"], events[0].(map[string]any)["result"]})
}

func TestWhatAnAdminOfAnotherProjectLockedAdminsUnlock(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	operator := c.User(t, "ops", "admin")
	act := func(u apitest.User, word string) apitest.Answer {
		return c.nova(t, u, at96, "POST", "/servers/"+s.ID+"/action", fields{word: nil})
	}
	require.Equal(t, 202, act(operator, "lock").Status)
	a := act(c.member, "unlock")
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.", a.Message(t))
	require.Equal(t, true, c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "locked"))
	require.Equal(t, 202, act(c.admin, "unlock").Status)
	require.Equal(t, 202, act(c.member, "lock").Status)
	require.Equal(t, 202, act(operator, "unlock").Status, "an owner's lock keeps no admin out")

	for word, rule := range map[string]string{"lock": "lock", "unlock": "unlock"} {
		a := act(c.reader, word)
		require.Equal(t, 403, a.Status)
		require.Equal(t, "Policy doesn't allow os_compute_api:os-lock-server:"+rule+" to be performed.", a.Message(t))
		require.Equal(t, 404, act(c.stranger, word).Status)
	}
}

func TestAReasonIsForNewMicroversionsAndFitsItsColumn(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	for _, tt := range []struct {
		version string
		said    any
		status  int
		text    string
	}{
		{at96, fields{"locked_reason": ""}, 400, "'' is too short"},
		{at96, fields{"reason": "x"}, 400, "Additional properties are not allowed ('reason' was unexpected)"},
		{at96, "x", 400, "'x' is not of type 'null', 'object'"},
		{"2.72", fields{"locked_reason": "x"}, 202, ""},
	} {
		a := c.nova(t, c.member, tt.version, "POST", "/servers/"+s.ID+"/action", fields{"lock": tt.said})
		require.Equal(t, tt.status, a.Status, a.Body)
		if tt.text != "" {
			require.Contains(t, a.Message(t), tt.text)
		}
	}
	require.Nil(t, c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "locked_reason"), "before 2.73 there was none")
}

func TestALockThatComesWhileAnActionIsAcceptedWins(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	c.builds.do = func(in contract.ActionInput) error {
		require.Equal(t, 202, c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"lock": nil}).Status)
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		return err
	}
	a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-stop": nil})
	require.Equal(t, 409, a.Status, a.Body)
	require.Equal(t, "Instance "+s.ID+" is locked", a.Message(t))
	require.Nil(t, c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "OS-EXT-STS:task_state"))
}

func TestServersAreListedAndSortedByTheirLock(t *testing.T) {
	c := newCloud(t)
	var ids []any
	for range 3 {
		ids = append(ids, c.row(t, c.member, "web", time.Now()).ID)
	}
	require.Equal(t, 202, c.nova(t, c.member, at96, "POST", "/servers/"+ids[1].(string)+"/action", fields{"lock": nil}).Status)
	listed := func(version, query string) (found []any) {
		for _, s := range c.nova(t, c.member, version, "GET", "/servers?"+query, nil).At(t, "servers").([]any) {
			found = append(found, s.(map[string]any)["id"])
		}
		return found
	}
	require.Equal(t, []any{ids[1]}, listed("2.73", "locked=true"))
	require.Equal(t, []any{ids[2], ids[0]}, listed("2.73", "locked=no"))
	require.Len(t, listed("2.72", "locked=true"), 3, "it is no filter yet")
	require.Equal(t, ids[1], listed("2.73", "sort_key=locked")[0])
	require.Equal(t, ids[1], listed("2.73", "sort_key=locked_by&sort_dir=desc")[0])
	a := c.nova(t, c.member, "2.73", "GET", "/servers?locked=perhaps", nil)
	require.Equal(t, 400, a.Status)
	require.Contains(t, a.Message(t), "Unrecognized value 'perhaps'")
}

func TestAnActionOfNovaThatIsNotServedSaysSo(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	for word, said := range map[string]any{"resetNetwork": nil, "os-migrateLive": fields{}, "evacuate": fields{}} {
		a := c.nova(t, c.member, "2.1", "POST", "/servers/"+s.ID+"/action", fields{word: said})
		require.Equal(t, 501, a.Status, a.Body)
		require.Equal(t, "The requested functionality is not supported: this cloud does not serve the action "+word+" yet.", a.Message(t))
		require.Contains(t, a.Body, `"notImplemented"`)
	}
	require.Equal(t, 404, c.nova(t, c.stranger, "2.1", "POST", "/servers/"+s.ID+"/action", fields{"resetNetwork": nil}).Status)
}
