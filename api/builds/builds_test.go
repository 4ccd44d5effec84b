package builds_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/builds"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

const server = "a0056075-5e1a-4f6b-8f0e-0123456789ab"

// engine answers what a test lays out, and keeps what it was asked. That the real one answers so, test/operators shows.
type answers struct {
	asked engine.BuildFilter
	found []engine.BuildSummary
	next  string
	build engine.Build
	act   contract.OperatorAct
	acted string
	err   error
}

func (e *answers) Builds(_ context.Context, f engine.BuildFilter) ([]engine.BuildSummary, string, error) {
	e.asked = f
	return e.found, e.next, e.err
}

func (e *answers) Build(context.Context, string) (engine.Build, error) { return e.build, e.err }

func (e *answers) Act(_ context.Context, id string, act contract.OperatorAct) error {
	e.acted, e.act = id, act
	return e.err
}

func (e *answers) CountBuilds(context.Context) (engine.BuildCounts, error) {
	return engine.BuildCounts{}, e.err
}

type env struct {
	*apitest.Env
	answers
	admin, member apitest.User
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{}
	e.Env = apitest.New(t, func(x *echo.Echo, store *models.Store) { builds.New(store, &e.answers).Mount(x.Group("/builds")) })
	e.admin, e.member = e.User(t, "ops", "admin"), e.User(t, "one", "member")
	return e
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

func running() engine.BuildSummary {
	return engine.BuildSummary{
		ID: "server:" + server, RunID: "run-1", Workflow: contract.WorkflowBoot, ServerID: server, ProjectID: "p1", Host: "hv1", ImageID: "i1",
		Phase: "parked", Overdue: "parked", Status: "running", StartedAt: began,
	}
}

func TestBuildsAreTheOperatorsBusiness(t *testing.T) {
	e := newEnv(t)
	for _, r := range [][2]string{{"GET", ""}, {"GET", "/server:" + server}, {"POST", "/server:" + server + "/action"}} {
		require.Equal(t, 401, e.Do(t, r[0], "/builds"+r[1], "", fields{"retry": fields{}}).Status, r)
		require.Equal(t, 403, e.Do(t, r[0], "/builds"+r[1], e.member.Token, fields{"retry": fields{}}).Status, r)
	}
	require.Empty(t, e.acted)
}

func TestTheListAsksForWhatTheQueryNamesAndLinksTheNextPage(t *testing.T) {
	e := newEnv(t)
	ended := running()
	at := began.Add(time.Minute)
	ended.EndedAt, ended.Status, ended.Overdue = &at, "failed", ""
	e.found, e.next = []engine.BuildSummary{running(), ended}, "page-2"
	a := e.Do(t, "GET", "/builds?parked&overdue=true&all=1&server="+server+"&project=p1&host=hv1&reservation=r-1&phase=parked&limit=2&marker=page-1", e.admin.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, engine.BuildFilter{
		Ended: true, Parked: true, Overdue: true, ServerID: server, ProjectID: "p1", Host: "hv1", ReservationID: "r-1", Phase: "parked", Limit: 2, Page: "page-1",
	}, e.asked)
	list := a.At(t, "builds").([]any)
	require.Equal(t, fields{
		"id": "server:" + server, "run_id": "run-1", "workflow": "BootServer", "server_id": server, "project_id": "p1", "host": "hv1", "image_id": "i1",
		"reservation_id": nil, "status": "running", "phase": "parked", "parked": true, "overdue": true, "started_at": "2026-01-02T03:04:05Z", "ended_at": nil,
	}, list[0])
	require.Equal(t, []any{false, false, "failed", "2026-01-02T03:05:05Z"}, []any{
		list[1].(fields)["parked"], list[1].(fields)["overdue"], list[1].(fields)["status"], list[1].(fields)["ended_at"]})
	next, err := url.Parse(a.At(t, "builds_links").([]any)[0].(fields)["href"].(string))
	require.NoError(t, err)
	require.Equal(t, []string{"/builds", "page-2", "hv1"}, []string{next.Path, next.Query().Get("marker"), next.Query().Get("host")})

	e.found, e.next = nil, ""
	a = e.Do(t, "GET", "/builds", e.admin.Token, nil)
	require.JSONEq(t, `{"builds":[]}`, a.Body)
	require.Equal(t, engine.BuildFilter{Limit: 100}, e.asked)
	for _, query := range []string{"parked=maybe", "colour=red", "limit=x"} {
		require.Equal(t, 400, e.Do(t, "GET", "/builds?"+query, e.admin.Token, nil).Status, query)
	}
	e.err = fault.New(fault.Invalid, "The marker is not one that a list of builds has named.")
	require.Equal(t, 400, e.Do(t, "GET", "/builds?marker=x", e.admin.Token, nil).Status)
	e.err = fault.New(fault.Unavailable, "The workflow engine does not answer.")
	require.Equal(t, 503, e.Do(t, "GET", "/builds", e.admin.Token, nil).Status)
}

func TestABuildShowsItsUndosWithTheirTriesAndWhatOperatorsDid(t *testing.T) {
	e := newEnv(t)
	next := began.Add(time.Minute)
	e.build = engine.Build{
		BuildSummary: running(),
		State: &contract.BuildState{
			Phase: "parked", Since: began, Overdue: true,
			Steps: []contract.StepProgress{{Step: "BuildDisk", Host: "hv1", State: contract.StepParked, Phase: contract.PhaseSpawning, Started: &began, Error: "The disk is full."}},
			Undos: []contract.UndoState{{ID: "server:ReleaseQuota/0", State: "registered"}, {ID: "attempt/1:RemoveDisk/0", Host: "hv1", State: "parked", Since: &began, Tries: 7, Error: "input/output error"}},
		},
		Pending: []engine.PendingStep{{Step: "RemoveDisk", Undo: "attempt/1:RemoveDisk/0", Host: "hv1", Tries: 7, StartedAt: began, Error: "input/output error", NextTry: &next}},
	}
	for _, x := range []models.OperatorAct{
		{Act: "retry", RequestID: "req-1", WorkflowID: "server/" + server, ServerID: server, UserID: "u1", At: began},
		{Act: "skip", Undo: "x", Reason: "y", RequestID: "req-2", WorkflowID: "cleanup/" + server, ServerID: server, UserID: "u1", At: began},
	} {
		require.NoError(t, e.Store.RecordOperatorAct(t.Context(), x))
	}
	for _, id := range []string{"server:" + server, server, "server%3A" + server} {
		a := e.Do(t, "GET", "/builds/"+id, e.admin.Token, nil)
		require.Equal(t, 200, a.Status, a.Body)
		b := a.At(t, "build").(fields)
		const at, later = "2026-01-02T03:04:05.678901Z", "2026-01-02T03:05:05.678901Z"
		require.Equal(t, []any{"parked", at, true, true, nil}, []any{b["phase"], b["phase_since"], b["parked"], b["overdue"], b["unanswered"]})
		require.Equal(t, []any{fields{"step": "BuildDisk", "host": "hv1", "index": 0.0, "state": "parked", "phase": "spawning", "started_at": at, "finished_at": nil, "error": "The disk is full."}}, b["steps"])
		require.Equal(t, []any{
			fields{"id": "server:ReleaseQuota/0", "host": nil, "state": "registered", "since": nil, "tries": 0.0, "error": nil, "next_try": nil},
			fields{"id": "attempt/1:RemoveDisk/0", "host": "hv1", "state": "parked", "since": at, "tries": 7.0, "error": "input/output error", "next_try": later},
		}, b["undos"])
		require.Equal(t, []any{fields{"step": "RemoveDisk", "undo": "attempt/1:RemoveDisk/0", "host": "hv1", "tries": 7.0, "started_at": at, "error": "input/output error", "next_try": later}}, b["pending"])
		require.Equal(t, []any{fields{"at": at, "act": "retry", "undo": nil, "reason": nil, "user_id": "u1", "request_id": "req-1"}}, b["acts"], "those of the clean-up are its own")
	}

	e.build.State, e.build.Unanswered = nil, "No worker answers."
	a := e.Do(t, "GET", "/builds/"+server, e.admin.Token, nil)
	require.Equal(t, []any{"No worker answers.", []any{}, "parked"}, []any{a.At(t, "build", "unanswered"), a.At(t, "build", "undos"), a.At(t, "build", "phase")})
	require.Len(t, a.At(t, "build", "pending"), 1)

	e.build, e.err = engine.Build{}, fault.New(fault.NotFound, "There is no build.")
	a = e.Do(t, "GET", "/builds/cleanup:"+server, e.admin.Token, nil)
	require.Equal(t, []any{"forgotten", 1}, []any{a.At(t, "build", "status"), len(a.At(t, "build", "acts").([]any))}, "what operators did is kept longer than histories")
	require.Equal(t, 404, e.Do(t, "GET", "/builds/cleanup:b0056075-5e1a-4f6b-8f0e-0123456789ab", e.admin.Token, nil).Status)
	require.Equal(t, 404, e.Do(t, "GET", "/builds/web", e.admin.Token, nil).Status)
}

func TestAnOperatorsActReachesTheBuildWithWhoAskedAndWhy(t *testing.T) {
	e := newEnv(t)
	act := func(body any) apitest.Answer {
		return e.Do(t, "POST", "/builds/server:"+server+"/action", e.admin.Token, body)
	}
	a := act(fields{"skip": fields{"undo": "attempt/1:RemoveDisk/0", "reason": "burnt"}})
	require.Equal(t, 204, a.Status, a.Body)
	require.Equal(t, "server:"+server, e.acted)
	require.Equal(t, contract.OperatorAct{
		Act: "skip", Undo: "attempt/1:RemoveDisk/0", Reason: "burnt", UserID: e.admin.UserID, RequestID: a.Header.Get("X-Openstack-Request-Id"),
	}, e.act)
	require.Equal(t, 204, act(fields{"retry": fields{}}).Status)
	require.Equal(t, []string{"retry", "", ""}, []string{e.act.Act, e.act.Undo, e.act.Reason})

	e.acted = ""
	for _, bad := range []any{
		fields{}, fields{"skip": fields{}}, fields{"skip": fields{"undo": "x"}}, fields{"skip": fields{"undo": "x", "reason": "  "}}, fields{"skip": fields{"reason": "x"}},
		fields{"retry": fields{}, "skip": fields{"undo": "x", "reason": "y"}}, fields{"forget": fields{}}, fields{"retry": fields{"all": true}}, fields{"retry": nil}, "[]", "{",
	} {
		require.Equal(t, 400, act(bad).Status, bad)
	}
	require.Empty(t, e.acted)
	for kind, status := range map[fault.Kind]int{fault.NotFound: 404, fault.Conflict: 409, fault.Invalid: 400, fault.Unavailable: 503, fault.Internal: 500} {
		e.err = fault.New(kind, "Said by the build.")
		a := act(fields{"retry": fields{}})
		require.Equal(t, status, a.Status)
		if status != 500 {
			require.Equal(t, "Said by the build.", a.Message(t))
		}
	}
}
