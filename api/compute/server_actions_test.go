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
	"github.com/slipway-cloud/slipway/models"
)

func TestAnActionIsAcceptedFromItsStatesAndRefusedInNovasWordsFromOthers(t *testing.T) {
	c := newCloud(t)
	c.builds.do = func(in contract.ActionInput) error { // what the workflow's first step does
		action, _ := lifecycle.Find(in.Action)
		s, err := c.Store.Server(context.Background(), in.ServerID)
		if err != nil {
			return err
		}
		_, err = c.Store.BeginAction(context.Background(), s.ID, action, instanceAction(in, action))
		return err
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	said := map[string]any{"reboot": fields{"type": "HARD"}}
	act := func(id, name string) (int, string) {
		a := c.nova(t, c.member, at96, "POST", "/servers/"+id+"/action", fields{name: said[name]})
		return a.Status, a.Body
	}
	finish := func(id string) {
		in := c.builds.actions[len(c.builds.actions)-1]
		action, _ := lifecycle.Find(in.Action)
		require.NoError(t, c.Store.FinishAction(context.Background(), id, in.RequestID, action, nil))
	}
	s := c.row(t, c.member, "web", time.Now())
	status, body := act(s.ID, "os-stop")
	require.Equal(t, 409, status)
	require.Contains(t, body, "Cannot 'stop' instance "+s.ID+" while it is in vm_state building")
	c.place(t, s, n)
	c.activate(t, s, time.Now())

	for _, step := range []struct{ action, shown, task, refused, why string }{
		{"os-stop", "SHUTOFF", "powering-off", "os-stop", "while it is in vm_state stopped"},
		{"os-start", "ACTIVE", "powering-on", "os-start", "while it is in vm_state active"},
		{"pause", "PAUSED", "pausing", "os-stop", "Cannot 'stop' instance " + s.ID + " while it is in vm_state paused"},
		{"unpause", "ACTIVE", "unpausing", "unpause", "while it is in vm_state active"},
		{"suspend", "SUSPENDED", "suspending", "pause", "while it is in vm_state suspended"},
		{"resume", "ACTIVE", "resuming", "resume", "while it is in vm_state active"},
		{"suspend", "SUSPENDED", "suspending", "os-start", "while it is in vm_state suspended"},
		{"reboot", "ACTIVE", "rebooting_hard", "os-start", "while it is in vm_state active"},
	} {
		status, body = act(s.ID, step.action)
		require.Equal(t, 202, status, body)
		require.Empty(t, body)
		require.Equal(t, step.task, c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "OS-EXT-STS:task_state"))
		status, body = act(s.ID, step.action)
		require.Equal(t, 409, status)
		require.Contains(t, body, "while it is in task_state "+step.task)
		finish(s.ID)
		shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
		require.Equal(t, step.shown, shown.At(t, "server", "status"))
		require.Nil(t, shown.At(t, "server", "OS-EXT-STS:task_state"))
		require.Len(t, c.nova(t, c.member, at96, "GET", "/servers?status="+step.shown, nil).At(t, "servers"), 1)
		status, body = act(s.ID, step.refused)
		require.Equal(t, 409, status)
		require.Contains(t, body, step.why)
	}
	require.Len(t, c.builds.actions, 8, "what the row refuses starts no workflow")

	for action, rule := range map[string]string{
		"os-stop": "servers:stop", "os-start": "servers:start", "os-getConsoleOutput": "os-console-output", "reboot": "servers:reboot",
		"pause": "os-pause-server:pause", "unpause": "os-pause-server:unpause", "suspend": "os-suspend-server:suspend", "resume": "os-suspend-server:resume",
	} {
		a := c.nova(t, c.reader, at96, "POST", "/servers/"+s.ID+"/action", fields{action: nil})
		require.Equal(t, 403, a.Status)
		require.Equal(t, "Policy doesn't allow os_compute_api:"+rule+" to be performed.", a.Message(t))
	}
	require.Equal(t, 404, c.nova(t, c.stranger, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-stop": nil}).Status)
	status, body = act(s.ID, "resume-guest")
	require.Equal(t, 400, status, "it is no user's: %s", body)
	status, _ = act(s.ID, "os-fly")
	require.Equal(t, 400, status)
}

func TestARebootIsSoftOrHardAndShownSoMeanwhile(t *testing.T) {
	c := newCloud(t)
	c.builds.do = func(in contract.ActionInput) error {
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		return err
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	ask := func(body any) apitest.Answer {
		return c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"reboot": body})
	}
	for text, body := range map[string]any{
		"None is not of type 'object'":                               nil,
		"'type' is a required property":                              fields{},
		"'WARM' is not one of ":                                      fields{"type": "WARM"},
		"Additional properties are not allowed ('x' was unexpected)": fields{"type": "SOFT", "x": 1},
	} {
		a := ask(body)
		require.Equal(t, 400, a.Status, a.Body)
		require.Contains(t, a.Message(t), text)
	}
	for _, how := range []struct{ said, status, task string }{{"soft", "REBOOT", "rebooting"}, {"Hard", "HARD_REBOOT", "rebooting_hard"}} {
		require.Equal(t, 202, ask(fields{"type": how.said}).Status)
		shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
		require.Equal(t, []any{how.status, how.task}, []any{shown.At(t, "server", "status"), shown.At(t, "server", "OS-EXT-STS:task_state")})
		require.Len(t, c.nova(t, c.member, at96, "GET", "/servers?status="+how.status, nil).At(t, "servers"), 1)
		in := c.builds.actions[len(c.builds.actions)-1]
		action, _ := lifecycle.Find(in.Action)
		require.NoError(t, c.Store.FinishAction(context.Background(), s.ID, in.RequestID, action, nil))
	}
	stop, _ := lifecycle.Find("os-stop")
	asked := models.InstanceAction{ServerID: s.ID, RequestID: "req-stop", Action: "stop", UserID: "u", ProjectID: s.ProjectID}
	_, err := c.Store.BeginAction(context.Background(), s.ID, stop, asked)
	require.NoError(t, err)
	require.NoError(t, c.Store.FinishAction(context.Background(), s.ID, "req-stop", stop, nil))
	a := ask(fields{"type": "SOFT"})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'reboot' instance "+s.ID+" while it is in vm_state stopped", a.Message(t))
	require.Equal(t, 202, ask(fields{"type": "HARD"}).Status)
}

func TestAnActionWhoseAnswerWasLostIsAccepted(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	c.builds.do = func(in contract.ActionInput) error {
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		require.NoError(t, err)
		return fault.New(fault.Unavailable, "the answer got lost")
	}
	a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-stop": nil})
	require.Equal(t, 202, a.Status, a.Body)
}

func TestAnActionIsAskedForAgainWhileWhatHeldTheServerEnds(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	tries := 0
	c.builds.do = func(contract.ActionInput) error {
		if tries++; tries < 3 {
			return fault.New(fault.Conflict, "a workflow of the server runs")
		}
		return nil
	}
	a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-stop": nil})
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, 3, tries)

	c.builds.do = func(contract.ActionInput) error { return fault.New(fault.Unavailable, "The engine does not answer.") }
	a = c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-stop": nil})
	require.Equal(t, 503, a.Status, a.Body)
}

func instanceAction(in contract.ActionInput, action lifecycle.Action) models.InstanceAction {
	return models.InstanceAction{ServerID: in.ServerID, RequestID: in.RequestID, Action: action.Method, UserID: in.UserID, ProjectID: in.ProjectID, OverLock: in.OverLock}
}
