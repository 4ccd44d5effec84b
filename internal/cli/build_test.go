package cli

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const parkedBuild = `{"build":{"id":"cleanup:` + serverID + `","workflow":"CleanUp","status":"running","phase":"parked","phase_since":"2030-01-02T03:04:05.000000Z",
	"overdue":true,"parked":true,"server_id":"` + serverID + `","project_id":"p1","host":"hv1","image_id":null,"started_at":"2030-01-02T03:04:05Z","ended_at":null,"unanswered":null,
	"steps":[{"step":"BuildDisk","host":"hv1","state":"parked","phase":"spawning","started_at":"2030-01-02T03:04:05.000000Z","finished_at":"2030-01-02T03:04:05.250000Z","error":"The disk is full."}],
	"undos":[{"id":"attempt/1:ReleaseAllocation/0","host":null,"state":"parked","since":null,"tries":0,"error":null,"next_try":null},
		{"id":"attempt/1:RemoveDisk/0","host":"hv1","state":"parked","since":null,"tries":7,"error":"input/output\u001b[2J error","next_try":"2030-01-02T03:05:05.000000Z"}],
	"pending":[{"step":"RemoveDisk","undo":"attempt/1:RemoveDisk/0","host":"hv1","tries":7,"error":"input/output error"}],
	"acts":[{"at":"2030-01-02T03:04:06.000000Z","act":"retry","undo":null,"reason":null,"user_id":"u1","request_id":"req-1"}]}}`

const (
	cleanupURL = "/builds/cleanup:" + serverID
	diskUndo   = "attempt/1:RemoveDisk/0"
)

func TestBuildsAreListedAsTheFlagsSay(t *testing.T) {
	a := newAPI(t)
	a.json("GET /builds", 200, `{"builds":[{"id":"server:1","workflow":"BootServer","phase":"spawning","overdue":true,"parked":false,"host":"hv1","status":"running","started_at":"2030-01-02T03:04:05Z"},
		{"id":"cleanup:2","workflow":"CleanUp","phase":"parked","overdue":false,"parked":true,"host":null,"status":"running","started_at":"2030-01-02T03:04:05Z"}]}`)
	got := run(t, "build", "list")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "ID         WORK      PHASE     OVERDUE  HOST  STATUS   STARTED\n"+
		"server:1   build     spawning  yes      hv1   running  2030-01-02T03:04:05Z\n"+
		"cleanup:2  clean-up  parked    -        -     running  2030-01-02T03:04:05Z\n", got.out)
	require.Equal(t, "server:1\ncleanup:2\n", run(t, "build", "list", "--quiet").out)
	run(t, "build", "list", "--parked", "--overdue", "--all", "--host", "hv1", "--project", "p1", "--server", "s1", "--reservation", "r-1", "--phase", "parked", "--limit", "7")
	calls := a.made("GET /builds")
	require.Equal(t, "", calls[0].query)
	query, err := url.ParseQuery(calls[2].query)
	require.NoError(t, err)
	require.Equal(t, url.Values{"parked": {"true"}, "overdue": {"true"}, "all": {"true"}, "host": {"hv1"}, "project": {"p1"}, "server": {"s1"}, "reservation": {"r-1"}, "phase": {"parked"}, "limit": {"7"}}, query)
}

func TestABuildIsShownWithItsUndosAndWhatOperatorsDid(t *testing.T) {
	a := newAPI(t)
	a.json("GET "+cleanupURL, 200, parkedBuild)
	got := run(t, "build", "show", "cleanup:"+serverID)
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "phase    parked\nsince    2030-01-02T03:04:05.000000Z\noverdue  yes\n")
	require.Contains(t, got.out, "\nsteps\nSTEP       HOST  STATE   STARTED                      TOOK    ERROR\nBuildDisk  hv1   parked  2030-01-02T03:04:05.000000Z  250 ms  The disk is full.\n")
	require.Contains(t, got.out, "\nundos, the last first\nUNDO                           HOST  STATE   SINCE  TRIES  NEXT TRY                     LAST ERROR\n"+
		"attempt/1:RemoveDisk/0         hv1   parked  -      7      2030-01-02T03:05:05.000000Z  input/output?[2J error\n"+
		"attempt/1:ReleaseAllocation/0  -     parked  -      -      -                            -\n")
	require.NotContains(t, got.out, "running or waiting", "the undo says it")
	require.Contains(t, got.out, "\noperators' acts\nAT                           ACT    UNDO             REASON  USER  REQUEST\n2030-01-02T03:04:06.000000Z  retry  all that waited  -       u1    req-1\n")
	require.Equal(t, "parked", asJSON(t, run(t, "build", "show", "cleanup:"+serverID, "-o", "json").out)["phase"])

	a.json("GET /builds/{id}", 404, `{"error":{"code":404,"message":"There is no build web."}}`)
	got = run(t, "build", "show", "web")
	require.Equal(t, show.ExitNotFound, got.code)
	require.Contains(t, got.err, "Error: there is no build \"web\"\n  → slipway build list --all\n")
}

func TestABuildWithoutAWorkerIsShownWithWhatTheEngineTries(t *testing.T) {
	a := newAPI(t)
	a.json("GET /builds/server:1", 200, `{"build":{"id":"server:1","workflow":"BootServer","status":"running","phase":"spawning","unanswered":"No worker answers.","steps":[],"undos":[],
		"pending":[{"step":"BuildDisk","undo":null,"host":"hv1","tries":2,"started_at":"2030-01-02T03:04:05.000000Z","error":"gone","next_try":null}],"acts":[]}}`)
	got := run(t, "build", "show", "server:1")
	require.Contains(t, got.out, "not known  No worker answers.\n")
	require.Contains(t, got.out, "running or waiting\nSTEP       HOST  TRIES  STARTED                      NEXT TRY  LAST ERROR\nBuildDisk  hv1   2      2030-01-02T03:04:05.000000Z  -         gone\n")
}

func TestUndosAreTriedAgain(t *testing.T) {
	a := newAPI(t)
	a.json("POST "+cleanupURL+"/action", 204, "")
	got := run(t, "build", "retry", "cleanup:"+serverID)
	require.Equal(t, result{err: "tries again: every undo that waits of build cleanup:" + serverID + "\n"}, got)
	got = run(t, "build", "retry", "cleanup:"+serverID, diskUndo, "--reason", "new disk")
	require.Equal(t, 0, got.code, got.err)
	acts := a.made("POST " + cleanupURL + "/action")
	require.JSONEq(t, `{"retry":{}}`, acts[0].body)
	require.JSONEq(t, `{"retry":{"undo":"`+diskUndo+`","reason":"new disk"}}`, acts[1].body)

	a.json("POST /builds/server:1/action", 409, `{"error":{"code":409,"message":"No undo waits here."}}`)
	got = run(t, "build", "retry", "server:1")
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "Error: cannot have every undo that waits of build \"server:1\" tried again\n  No undo waits here.")
}

func TestAnUndoIsGivenUpOnlyByWhoSaysWhyAndIsSure(t *testing.T) {
	a := newAPI(t)
	a.json("GET "+cleanupURL, 200, parkedBuild)
	a.json("POST "+cleanupURL+"/action", 204, "")
	skip := func(answer string, more ...string) result {
		return runWith(t, t.Context(), answer, append([]string{"build", "skip", "cleanup:" + serverID, diskUndo}, more...)...)
	}
	for _, tc := range []struct {
		answer string
		args   []string
		code   int
	}{
		{"y\n", nil, show.ExitUsage}, {"y\n", []string{"--reason", " "}, show.ExitUsage},
		{"", []string{"--reason", "burnt"}, show.ExitFailed}, {"n\n", []string{"--reason", "burnt"}, show.ExitFailed}, {"yo\n", []string{"--reason", "burnt"}, show.ExitFailed},
	} {
		got := skip(tc.answer, tc.args...)
		require.Equal(t, tc.code, got.code, "%v: %s", tc, got.err)
	}
	require.Empty(t, a.made("POST "+cleanupURL+"/action"))

	got := skip("Yes\n", "--reason", "burnt")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "attempt/1:RemoveDisk/0, parked on hv1, tried 7 times: input/output?[2J error\nTo skip it leaves behind on hv1 what it would have given back.")
	require.Contains(t, got.err, "`slipway audit`")
	asked := len(a.made("GET " + cleanupURL))
	got = skip("", "--reason", "burnt", "--yes")
	require.Equal(t, 0, got.code, got.err)
	require.Len(t, a.made("GET "+cleanupURL), asked, "who is sure is not asked")
	acts := a.made("POST " + cleanupURL + "/action")
	require.Len(t, acts, 2)
	for _, x := range acts {
		require.JSONEq(t, `{"skip":{"undo":"`+diskUndo+`","reason":"burnt"}}`, x.body)
	}
}

func TestCompletionOffersBuildsAndTheUndosThatWait(t *testing.T) {
	a := newAPI(t)
	a.json("GET /builds", 200, `{"builds":[{"id":"cleanup:`+serverID+`","workflow":"CleanUp"}]}`)
	a.json("GET "+cleanupURL, 200, strings.Replace(parkedBuild, `"host":null,"state":"parked"`, `"host":null,"state":"undone"`, 1))
	require.Contains(t, run(t, "__complete", "build", "show", "clean").out, "cleanup:"+serverID)
	require.Equal(t, diskUndo+"\tparked hv1\n:4\n", run(t, "__complete", "build", "retry", "cleanup:"+serverID, "").out)
	require.Equal(t, ":4\n", run(t, "__complete", "build", "show", "cleanup:"+serverID, "").out)
}
