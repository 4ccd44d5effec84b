package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestAServerIsShelvedOffloadedByAnAdminAndUnshelvedWhereItIsAskedFor(t *testing.T) {
	c := newCloud(t)
	ctx := context.Background()
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	c.builds.do = func(in contract.ActionInput) error { // what the workflow's first step does
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(ctx, in.ServerID, action, instanceAction(in, action))
		return err
	}
	act := func(as apitest.User, version string, body fields) (int, string) {
		a := c.nova(t, as, version, "POST", "/servers/"+s.ID+"/action", body)
		return a.Status, a.Body
	}
	shown := func() []any {
		a := c.nova(t, c.admin, at96, "GET", "/servers/"+s.ID, nil)
		return []any{
			a.At(t, "server", "status"), a.At(t, "server", "OS-EXT-STS:vm_state"), a.At(t, "server", "OS-EXT-STS:task_state"),
			a.At(t, "server", "OS-EXT-SRV-ATTR:host"),
		}
	}
	last := func() contract.ActionInput { return c.builds.actions[len(c.builds.actions)-1] }
	finish := func() {
		action, _ := lifecycle.Find(last().Action)
		require.NoError(t, c.Store.FinishAction(ctx, s.ID, last().RequestID, action, nil))
	}
	for _, word := range []string{"shelveOffload", "unshelve"} {
		status, body := act(c.admin, at96, fields{word: nil})
		require.Equal(t, 409, status)
		require.Contains(t, body, "Cannot '"+word+"' instance "+s.ID+" while it is in vm_state active")
	}

	status, body := act(c.member, "2.1", fields{"shelve": fields{"whatever": 1}})
	require.Equal(t, 202, status, body)
	require.Empty(t, body)
	require.Equal(t, []string{"shelve", "web-shelved", s.ProjectID}, []string{last().Action, last().Snapshot.Name, last().Snapshot.ProjectID})
	require.Equal(t, []any{"ACTIVE", "active", "shelving", c.host.Hostname}, shown())
	finish()
	require.Equal(t, []any{"SHELVED", "shelved", nil, c.host.Hostname}, shown())
	require.Len(t, c.nova(t, c.member, at96, "GET", "/servers?status=SHELVED", nil).At(t, "servers"), 1)

	status, body = act(c.member, at96, fields{"shelve": nil})
	require.Equal(t, 409, status)
	require.Contains(t, body, "Cannot 'shelve' instance "+s.ID+" while it is in vm_state shelved")
	status, body = act(c.member, at96, fields{"unshelve": fields{"availability_zone": c.host.AvailabilityZone}})
	require.Equal(t, 409, status)
	require.Contains(t, body, `The server status must be SHELVED_OFFLOADED.`)
	status, _ = act(c.member, at96, fields{"shelveOffload": nil})
	require.Equal(t, 403, status)
	status, body = act(c.admin, at96, fields{"shelveOffload": nil})
	require.Equal(t, 202, status, body)
	require.NoError(t, c.Store.RecordShelve(ctx, s.ID, last().RequestID, action(t, "shelveOffload"), "image"))
	require.NoError(t, c.Store.LeaveHost(ctx, s.ID, last().RequestID, action(t, "shelveOffload"), c.host.Hostname))
	require.NoError(t, c.Store.ReleasePlacement(ctx, s.ID, c.host.Hostname))
	finish()
	require.Equal(t, []any{"SHELVED_OFFLOADED", "shelved_offloaded", nil, nil}, shown())
	require.Len(t, c.nova(t, c.member, at96, "GET", "/servers?vm_state=shelved_offloaded", nil).At(t, "servers"), 1)

	status, body = act(c.admin, at96, fields{"os-resetState": fields{"state": "active"}})
	require.Equal(t, 409, status)
	require.Contains(t, body, "has no guest")
	for _, word := range []string{"os-start", "rebuild", "os-getConsoleOutput"} {
		said := map[string]any{"rebuild": fields{"imageRef": s.ImageID}, "os-getConsoleOutput": fields{}}
		status, body = act(c.member, at96, fields{word: said[word]})
		require.Equal(t, 409, status, "%s: %s", word, body)
	}

	for version, asked := range map[string][]struct {
		status int
		says   any
		why    string
	}{
		"2.77": {
			{400, fields{}, "'availability_zone' is a required property"}, {400, fields{"availability_zone": nil}, ""}, {400, fields{"availability_zone": "az", "host": "h"}, ""},
			{400, fields{"availability_zone": "nowhere"}, "The requested availability zone is not available"}, {400, "now", ""},
		},
		at96: {
			{400, fields{"x": 1}, ""}, {400, fields{"host": nil}, ""}, {400, fields{"availability_zone": 1}, ""},
			{403, fields{"host": c.host.Hostname}, "Policy doesn't allow os_compute_api:os-shelve:unshelve_to_host to be performed."},
			{400, fields{"availability_zone": "nowhere"}, "The requested availability zone is not available"},
		},
	} {
		for _, ask := range asked {
			status, body := act(c.member, version, fields{"unshelve": ask.says})
			require.Equal(t, ask.status, status, "%s %v: %s", version, ask.says, body)
			require.Contains(t, body, ask.why)
		}
	}
	status, body = act(c.admin, at96, fields{"unshelve": fields{"host": "nobody"}})
	require.Equal(t, 400, status)
	require.Contains(t, body, "Compute host nobody could not be found.")

	zone := c.host.AvailabilityZone
	for _, ask := range []struct {
		as      apitest.User
		version string
		says    any
		zone    *string
		host    string
	}{
		{c.member, "2.1", fields{"availability_zone": "nowhere"}, nil, ""}, {c.member, "2.77", nil, nil, ""}, {c.member, "2.77", fields{"availability_zone": zone}, &zone, ""},
		{c.member, at96, nil, nil, ""}, {c.member, at96, fields{}, nil, ""}, {c.member, at96, fields{"availability_zone": nil}, new(""), ""},
		{c.admin, at96, fields{"host": c.host.Hostname}, nil, c.host.Hostname},
		{c.admin, at96, fields{"availability_zone": nil, "host": c.host.Hostname}, new(""), c.host.Hostname},
	} {
		status, body := act(ask.as, ask.version, fields{"unshelve": ask.says})
		require.Equal(t, 202, status, body)
		require.Equal(t, "unshelve-offloaded", last().Action)
		require.Equal(t, ask.zone, last().Unshelve.Zone)
		require.Equal(t, ask.host, last().Unshelve.Host)
		require.Equal(t, []any{"SHELVED_OFFLOADED", "shelved_offloaded", "unshelving", nil}, shown())
		require.NoError(t, c.Store.FailAction(ctx, s.ID, last().RequestID, action(t, "unshelve-offloaded"),
			models.Server{VMState: lifecycle.ShelvedOffloaded, PowerState: lifecycle.Shutdown}, models.ServerFault{Code: 500, Message: "no host"}, nil))
	}
}

func action(t *testing.T, name string) lifecycle.Action {
	t.Helper()
	a, ok := lifecycle.Find(name)
	require.True(t, ok)
	return a
}
