package cli

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestAHostIsGivenUpWhenItIsAgreedTo(t *testing.T) {
	a := newAPI(t)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-1","hostname":"hv1","state":"down","ready":false,"enabled":true,"servers":5,"leftovers":2,"seen_at":"2026-03-04T05:06:07Z"}]}`)
	a.json("GET /builds", 200, `{"builds":[{"id":"cleanup:1"}]}`)
	a.json("POST /hosts/h-1/forget", 202, `{"forget":{"host_id":"h-1","hostname":"hv1","reason":"it burnt","done_at":null,"servers":0,"undos":0,"waits_for":null}}`)
	a.sequence("GET /hosts/h-1/forget",
		`{"forget":{"host_id":"h-1","hostname":"hv1","reason":"it burnt","done_at":null,"servers":3,"undos":1,"waits_for":"1 servers are still being built"}}`,
		`{"forget":{"host_id":"h-1","hostname":"hv1","reason":"it burnt","done_at":"2026-03-04T06:00:00Z","servers":3,"undos":4,"waits_for":null}}`)

	got := runWith(t, context.Background(), "n\n", "host", "forget", "hv1", "--reason", "it burnt")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "hv1 is down, and seen last at 2026-03-04T05:06:07Z.\nOn it are 3 servers: they go into ERROR, and what is built there is built elsewhere. "+
		"What is left there of 2 other servers is given\nup, and the undos of 1 workflow that wait for it end. Its token ends. There is no way back.\nGive it up for good? [y/N] ")
	require.Contains(t, got.err, "nothing was given up")
	require.Equal(t, show.ExitUsage, run(t, "host", "forget", "hv1", "--reason", " ").code)
	require.Equal(t, show.ExitUsage, run(t, "host", "forget", "hv1").code)
	require.Equal(t, show.ExitNotFound, run(t, "host", "forget", "hv9", "--reason", "x").code)
	require.Empty(t, a.made("POST /hosts/h-1/forget"))
	require.Contains(t, a.made("GET /builds")[0].query, "host=hv1")

	got = runWith(t, context.Background(), "y\n", "host", "forget", "hv1", "--reason", "it burnt")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "gave up host hv1: its token has ended, and the rest follows\n")
	require.JSONEq(t, `{"reason":"it burnt"}`, a.made("POST /hosts/h-1/forget")[0].body)

	got = run(t, "host", "forget", "hv1", "--reason", "it burnt", "--yes", "--wait", "-o", "json")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "1 servers are still being built\n")
	require.JSONEq(t, `{"host_id":"h-1","hostname":"hv1","reason":"it burnt","done_at":"2026-03-04T06:00:00Z","servers":3,"undos":4,"waits_for":null}`, got.out)
}
