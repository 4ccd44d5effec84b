package hosts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAHostIsDrainedByOperatorsWhoSayWhereToAndHowManyAtOnce(t *testing.T) {
	e := newEnv(t)
	id, _ := e.admit(t, "hv1")
	ask := func(body any) (status int, message string) {
		a := e.Do(t, "POST", "/hosts/hv1/drain", e.admin.Token, body)
		if a.Status == 202 {
			return a.Status, ""
		}
		return a.Status, a.Message(t)
	}
	var in contract.DrainInput
	e.done.drain = func(asked contract.DrainInput) error {
		in = asked
		e.done.drains = contract.DrainState{RequestID: in.RequestID, Phase: contract.DrainRuns}
		return nil
	}
	for _, body := range []any{fields{"at_once": 0}, fields{"at_once": 21}, fields{"at_once": "2"}, fields{"availability_zone": ""}, fields{"zone": "x"}, []any{}} {
		status, _ := ask(body)
		require.Equal(t, 400, status, body)
	}
	status, message := ask(fields{"availability_zone": "rack-a"})
	require.Equal(t, []any{400, "No other host takes servers in availability zone rack-a."}, []any{status, message}, "it is in that itself")
	e.admit(t, "hv2")
	require.Equal(t, 403, e.Do(t, "POST", "/hosts/hv1/drain", e.member.Token, fields{}).Status)
	require.Equal(t, 404, e.Do(t, "POST", "/hosts/hv9/drain", e.admin.Token, fields{}).Status)
	require.Empty(t, in, "nothing was asked for")

	status, _ = ask(fields{})
	require.Equal(t, 202, status)
	require.Equal(t, []any{id, "hv1", "", 2, e.admin.UserID}, []any{in.HostID, in.Hostname, in.Zone, in.AtOnce, in.UserID})
	status, _ = ask(fields{"availability_zone": "rack-a", "at_once": 7})
	require.Equal(t, 202, status)
	require.Equal(t, []any{"rack-a", 7}, []any{in.Zone, in.AtOnce})

	e.done.drain = func(contract.DrainInput) error {
		return fault.New(fault.Conflict, "Host hv1 is being drained already, as request req-1 has asked. Stop that first.")
	}
	status, message = ask(fields{})
	require.Equal(t, []any{409, "Host hv1 is being drained already, as request req-1 has asked. Stop that first."}, []any{status, message})
	lost := fault.New(fault.Unavailable, "The workflow engine does not answer.")
	e.done.drain = func(contract.DrainInput) error { return lost }
	status, message = ask(fields{})
	require.Equal(t, []any{503, lost.Text}, []any{status, message}, "what runs is another's")
	e.done.drain = func(in contract.DrainInput) error {
		e.done.drains = contract.DrainState{RequestID: in.RequestID}
		return lost
	}
	status, _ = ask(fields{})
	require.Equal(t, 503, status, "the host may get servers yet")
	e.done.drain = func(in contract.DrainInput) error {
		e.done.drains = contract.DrainState{RequestID: in.RequestID, Begun: true}
		return lost
	}
	status, _ = ask(fields{})
	require.Equal(t, 202, status, "the drain says that it was accepted")
}

func TestADrainTellsHowFarItIsAndTakesAnOperatorsWord(t *testing.T) {
	e := newEnv(t)
	id, _ := e.admit(t, "hv1")
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	e.done.drains = contract.DrainState{
		HostID: id, Hostname: "hv1", Zone: "rack-b", AtOnce: 2, UserID: "ops", RequestID: "req-1", Phase: contract.DrainPaused, StartedAt: at, Moved: 3, Waiting: 5,
		Moving: []contract.DrainServer{{ServerID: "s1", Name: "web", ProjectID: "p1", Action: "migrate", RequestID: "req-2", Since: &at}},
		Failed: []contract.DrainServer{{ServerID: "s2", Name: "db", ProjectID: "p1", Why: "No valid host was found."}},
		More:   map[string]int{contract.DrainBusy: 4}, Leftovers: 1, WaitsFor: "it is down",
	}
	a := e.Do(t, "GET", "/hosts/hv1/drain", e.admin.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.JSONEq(t, `{"drain": {
		"host_id": "`+id+`", "hostname": "hv1", "availability_zone": "rack-b", "at_once": 2, "user_id": "ops", "request_id": "req-1", "phase": "paused",
		"started_at": "2026-03-04T05:06:07Z", "ended_at": null, "moved": 3, "waiting": 5,
		"moving": [{"server_id": "s1", "name": "web", "project_id": "p1", "action": "migrate", "request_id": "req-2", "since": "2026-03-04T05:06:07Z", "why": null}],
		"failed": [{"server_id": "s2", "name": "db", "project_id": "p1", "action": null, "request_id": null, "since": null, "why": "No valid host was found."}],
		"busy": [], "stays": [], "more": {"busy": 4, "stays": 0}, "leftovers": 1, "waits_for": "it is down"}}`, a.Body)

	for _, act := range []string{"pause", "resume", "stop"} {
		a := e.Do(t, "POST", "/hosts/hv1/drain/action", e.admin.Token, fields{act: fields{}})
		require.Equal(t, 202, a.Status, a.Body)
		require.Equal(t, "paused", a.At(t, "drain", "phase"))
		last := e.done.told[len(e.done.told)-1]
		require.Equal(t, []string{act, e.admin.UserID}, []string{last.Act, last.UserID})
		require.NotEmpty(t, last.RequestID)
	}
	for _, body := range []any{fields{}, fields{"pause": fields{}, "stop": fields{}}, fields{"end": fields{}}, fields{"pause": nil}, fields{"pause": fields{"x": 1}}} {
		require.Equal(t, 400, e.Do(t, "POST", "/hosts/hv1/drain/action", e.admin.Token, body).Status, body)
	}
	require.Equal(t, 403, e.Do(t, "POST", "/hosts/hv1/drain/action", e.member.Token, fields{"stop": fields{}}).Status)
	require.Equal(t, 403, e.Do(t, "GET", "/hosts/hv1/drain", e.member.Token, nil).Status)
	require.Len(t, e.done.told, 3)

	e.done.fault = fault.New(fault.Conflict, "The host is not being drained.")
	require.Equal(t, 409, e.Do(t, "POST", "/hosts/hv1/drain/action", e.admin.Token, fields{"stop": fields{}}).Status)
	e.done.fault = fault.New(fault.NotFound, "No drain of the host is known.")
	a = e.Do(t, "GET", "/hosts/hv1/drain", e.admin.Token, nil)
	require.Equal(t, []any{404, "No drain of the host is known."}, []any{a.Status, a.Message(t)})
}
