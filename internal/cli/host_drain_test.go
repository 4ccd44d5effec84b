package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const drainRuns = `{"drain":{"host_id":"h-1","hostname":"hv1","availability_zone":null,"at_once":2,"phase":"draining","started_at":"2026-03-04T05:06:07Z","ended_at":null,"moved":1,"waiting":7,
	"moving":[{"server_id":"s-1","name":"web","action":"migrate","why":null}],"failed":[],"busy":[{"server_id":"s-2","name":"db","why":"it reboots"}],"stays":[],"more":{"busy":3,"stays":0},"leftovers":1,"waits_for":null}}`

// drainEnds is the end of a drain that leaves what it names.
func drainEnds(phase, failed string) string {
	return `{"drain":{"hostname":"hv1","phase":"` + phase + `","ended_at":"2026-03-04T06:00:00Z","moved":2,"moving":[],"failed":[` + failed + `],"busy":[],"stays":[],"more":{"busy":0,"stays":0},"leftovers":0,"waits_for":null}}`
}

func hostsToDrain(t *testing.T) *api {
	a := newAPI(t)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-1","hostname":"hv1","availability_zone":"rack-a"},{"id":"h-2","hostname":"hv2","availability_zone":"rack-b"},{"id":"h-3","hostname":"hv3","availability_zone":"rack-b"}]}`)
	return a
}

func TestAHostIsDrainedAndWaitedFor(t *testing.T) {
	a := hostsToDrain(t)
	a.json("POST /hosts/h-1/drain", 202, drainRuns)
	got := run(t, "host", "drain", "hv1")
	require.Zero(t, got.code, got.err)
	require.JSONEq(t, `{}`, a.made("POST /hosts/h-1/drain")[0].body)
	require.Contains(t, got.out, "web (s-1): migrate")
	require.Contains(t, got.out, "db (s-2): it reboots")
	require.Contains(t, got.out, "and 3 more")

	a.sequence("GET /hosts/h-1/drain", drainRuns, drainEnds("drained", ""))
	got = run(t, "host", "drain", "hv1", "--to", "rack-b", "--at-once", "4", "--wait", "-o", "json")
	require.Zero(t, got.code, got.err)
	require.JSONEq(t, `{"availability_zone":"rack-b","at_once":4}`, a.made("POST /hosts/h-1/drain")[1].body)
	require.Contains(t, got.err, "draining, 1 moved, 7 to move, 1 moving, 4 busy, 1 being cleaned up after\n")
	require.Contains(t, got.out, `"phase": "drained"`)
	require.Equal(t, "rack-b\n:4\n", run(t, "__complete", "host", "drain", "hv1", "--to", "").out)
}

func TestADrainThatLeavesServersHasFailedForWhoeverWaits(t *testing.T) {
	a := hostsToDrain(t)
	a.json("GET /hosts/h-1/drain", 200, drainEnds("incomplete", `{"server_id":"s-3","name":"big","why":"No valid host was found."}`))
	got := run(t, "host", "drain", "hv1", "--status", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.out, "big (s-3): No valid host was found.")
	require.Contains(t, got.err, "servers are left on host hv1")
	got = run(t, "host", "drain", "hv1", "--status")
	require.Zero(t, got.code, "it was asked for no more")
}

func TestADrainIsPausedResumedAndStopped(t *testing.T) {
	a := hostsToDrain(t)
	a.json("POST /hosts/h-1/drain/action", 202, drainRuns)
	for i, act := range []string{"pause", "resume", "stop"} {
		got := run(t, "host", "drain", "hv1", "--"+act)
		require.Zero(t, got.code, got.err)
		require.JSONEq(t, `{"`+act+`":{}}`, a.made("POST /hosts/h-1/drain/action")[i].body)
	}
	for _, wrong := range [][]string{{"--pause", "--stop"}, {"--status", "--to", "x"}, {"--stop", "--at-once", "3"}, {"--pause", "--wait"}, {"hv2"}} {
		require.Equal(t, show.ExitUsage, run(t, append([]string{"host", "drain", "hv1"}, wrong...)...).code, wrong)
	}
	require.Empty(t, a.made("POST /hosts/h-1/drain"))
}

func TestADrainThatDoesNotRunTakesNoWord(t *testing.T) {
	a := hostsToDrain(t)
	a.json("POST /hosts/h-1/drain/action", 409, `{"error":{"code":409,"message":"The host is not being drained."}}`)
	got := run(t, "host", "drain", "hv1", "--stop")
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, `cannot stop the drain of the host "hv1"`)
}
