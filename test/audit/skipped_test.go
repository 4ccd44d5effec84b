package audit

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// An undo that waits for a host is no finding: it goes on. What it leaves when an operator gives it up is one.
func TestWhatAnOperatorSkippedIsFoundAndUndosThatWaitAreNot(t *testing.T) {
	r := newRig(t, 2, nil)
	engine := r.Temporal()
	lost := slices.Min(r.Hosts) // the scheduler's choice among equals
	r.Stop(lost)
	id := r.submit(t)
	r.waitFor(t, id, "ACTIVE")
	r.settled(t, engine, id)
	require.NotEqual(t, lost, r.hostOf(t, id))

	found, code := r.audit(t)
	require.Equal(t, 4, code, "%+v", found)
	require.Len(t, found, 1, "the lost host holds the server's room, and the clean-up gives it back: %+v", found)

	type undo struct{ ID, State string }
	build := r.APIURL + "/builds/cleanup:" + id
	undos := func() []undo {
		var b struct{ Build struct{ Undos []undo } }
		_, err := r.Admin().Request(t.Context(), http.MethodGet, build, &gophercloud.RequestOpts{JSONResponse: &b, OkCodes: []int{200}})
		require.NoError(t, err)
		return slices.DeleteFunc(b.Build.Undos, func(u undo) bool { return u.State != "undoing" && u.State != "parked" })
	}
	system.Eventually(t, patience, func() (bool, string) { return len(undos()) > 0, "no undo waits" })
	for _, u := range undos() {
		_, err := r.Admin().Request(t.Context(), http.MethodPost, build+"/action", &gophercloud.RequestOpts{
			JSONBody: map[string]any{"skip": map[string]any{"undo": u.ID, "reason": "the host is scrap"}}, OkCodes: []int{204},
		})
		require.NoError(t, err, u.ID)
	}
	system.Eventually(t, patience, func() (bool, string) {
		d, err := engine.DescribeWorkflow(context.Background(), ids.CleanUpWorkflow(id), "")
		require.NoError(t, err)
		return d.RawResponse.GetWorkflowExecutionInfo().GetCloseTime() != nil, "the clean-up runs"
	})

	room := audit.ID(audit.AllocationWithoutServer, id+"@"+lost)
	found, code = r.audit(t)
	require.Equal(t, 3, code)
	require.True(t, slices.ContainsFunc(found, func(f finding) bool { return f.ID == room }), "%+v", found)
	_, stderr, code := r.Slipway(t, "audit", "--repair", room, "--yes")
	require.Equal(t, 3, code)
	require.Contains(t, stderr, room+": left: "+lost+" does not answer", "what it holds may still run")

	r.Restart(lost)
	_, stderr, code = r.Slipway(t, "audit", "--repair", room, "--yes")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, room+": repaired")
	r.deleted(t, engine, id)
}
