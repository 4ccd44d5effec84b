package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const (
	leak = `{"id":"f1","kind":"claim-without-server","severity":"finding","object":"s1","server_id":"s1","host":null,"text":"server s1 claims quota, and it is deleted",
		"repair":"release the claim","first_seen_at":"2026-01-02T03:04:05.000000Z","last_seen_at":"2026-01-02T03:04:05.000000Z"}`
	missed = `{"id":"f2","kind":"host-not-looked-at","severity":"warning","object":"hv1","server_id":null,"host":"hv1","text":"hv1 was not looked at","repair":null}`
	done   = `{"audit":{"id":"r1","state":"done","hosts":2,"hosts_looked_at":2,"finished_at":"2026-01-02T03:04:06.000000Z"}}`
)

// auditing lays out an audit that runs and finds.
func auditing(t *testing.T, findings ...string) *api {
	a := newAPI(t)
	a.json("POST /audits", 202, `{"audit":{"id":"r1","state":"running","hosts":2,"hosts_looked_at":0},"joined":false}`)
	a.sequence("GET /audits/r1", `{"audit":{"id":"r1","state":"running","hosts":2,"hosts_looked_at":1}}`, done)
	a.json("GET /audits/findings", 200, `{"findings":[`+strings.Join(findings, ",")+`]}`)
	return a
}

func TestAnAuditSaysByItsExitStatusWhatItFound(t *testing.T) {
	for name, c := range map[string]struct {
		findings []string
		code     int
		says     string
	}{
		"nothing":                {nil, show.ExitOK, "nothing was found"},
		"something":              {[]string{leak}, ExitFindings, "1 finding;"},
		"not everything":         {[]string{missed}, ExitIncomplete, "not everything was looked at"},
		"something all the same": {[]string{leak, missed}, ExitFindings, "1 finding;"},
	} {
		t.Run(name, func(t *testing.T) {
			auditing(t, c.findings...)
			got := run(t, "audit")
			out, errs, code := got.out, got.err, got.code
			require.Equal(t, c.code, code, errs)
			require.Contains(t, errs, c.says)
			require.Contains(t, errs, "1 of 2 hosts looked at")
			require.Equal(t, len(c.findings) > 0, strings.Contains(out, "KIND"), out)
			for _, f := range c.findings {
				require.Contains(t, out, strings.Split(f, `"`)[7]) // its kind
			}
		})
	}
}

func TestAFailureOfAnAuditIsNeverTakenForWhatItFound(t *testing.T) {
	a := newAPI(t)
	a.json("POST /audits", 403, `{"error":{"code":403,"message":"Policy doesn't allow this to be performed without the role admin."}}`)
	got := run(t, "audit")
	require.Equal(t, show.ExitFailed, got.code, got.err)

	a = newAPI(t)
	a.json("POST /audits/repairs", 404, `{"error":{"code":404,"message":"There is no open finding x."}}`)
	got = run(t, "audit", "--repair", "x", "--yes")
	require.Equal(t, show.ExitFailed, got.code, got.err)

	got = run(t, "audit", "x")
	require.Equal(t, show.ExitUsage, got.code, got.err)
}

func TestAnAuditThatRanAlreadyIsFollowedByOneOfItsOwn(t *testing.T) {
	a := newAPI(t)
	a.sequence("POST /audits", `{"audit":{"id":"r0","state":"running","hosts":0,"hosts_looked_at":0},"joined":true}`,
		`{"audit":{"id":"r1","state":"running","hosts":0,"hosts_looked_at":0},"joined":false}`)
	a.json("GET /audits/r0", 200, `{"audit":{"id":"r0","state":"failed"}}`)
	a.json("GET /audits/r1", 200, done)
	a.json("GET /audits/findings", 200, `{"findings":[]}`)
	got := run(t, "audit")
	require.Zero(t, got.code, got.err)
	require.Len(t, a.made("POST /audits"), 2)
}

func TestTheLastAuditIsShownWithoutRunningOne(t *testing.T) {
	a := newAPI(t)
	a.json("GET /audits", 200, `{"audits":[{"id":"r2","state":"running"},{"id":"r1","state":"done","finished_at":"2026-01-02T03:04:06.000000Z"}]}`)
	a.json("GET /audits/findings", 200, `{"findings":[`+leak+`]}`)
	got := run(t, "audit", "--last", "-o", "json")
	require.Equal(t, ExitFindings, got.code, got.err)
	require.Contains(t, got.out, `"id": "r1"`)
	require.Contains(t, got.out, `"repair": "release the claim"`)
	require.Empty(t, a.made("POST /audits"))
}

func TestARepairIsShownAskedForAndChecked(t *testing.T) {
	repairable := func(t *testing.T) *api {
		a := auditing(t)
		a.sequence("POST /audits/repairs", `{"repair":{"dry_run":true,"findings":[`+leak+`]}}`,
			`{"repair":{"id":"p1","finished_at":null,"findings":[{"id":"f1","outcome":null,"text":null}]}}`)
		a.json("GET /audits/repairs/p1", 200, `{"repair":{"id":"p1","finished_at":"2026-01-02T03:04:07.000000Z","findings":[{"id":"f1","outcome":"repaired","text":null}]}}`)
		return a
	}
	for name, c := range map[string]struct {
		args     []string
		terminal bool
		reply    string
		code     int
		repairs  int // calls: the dry run, and the repair
		says     string
	}{
		"without a terminal it is refused": {nil, false, "", show.ExitUsage, 0, "--yes"},
		"no answer is no":                  {nil, true, "", show.ExitOK, 1, "nothing was done"},
		"no":                               {nil, true, "n\n", show.ExitOK, 1, "nothing was done"},
		"yes":                              {nil, true, "y\n", show.ExitOK, 2, "f1: repaired"},
		"unasked":                          {[]string{"--yes"}, false, "", show.ExitOK, 2, "f1: repaired"},
	} {
		t.Run(name, func(t *testing.T) {
			a := repairable(t)
			asked := newClient()
			asked.answers = func(*cobra.Command) bool { return c.terminal }
			got := runClient(t, t.Context(), asked, c.reply, append([]string{"audit", "--repair"}, c.args...)...)
			errs := got.err
			require.Equal(t, c.code, got.code, errs)
			require.Contains(t, errs, c.says)
			calls := a.made("POST /audits/repairs")
			require.Len(t, calls, c.repairs)
			if c.repairs > 0 {
				require.Contains(t, errs, "release the claim", "it is shown first")
				require.JSONEq(t, `{"repair":{"dry_run":true}}`, calls[0].body)
			}
			if c.repairs > 1 {
				require.JSONEq(t, `{"repair":{"findings":["f1"]}}`, calls[1].body, "what was shown, and nothing else")
				require.Len(t, a.made("POST /audits"), 1, "and looked at again")
			}
		})
	}
}
