package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAFilterBecomesAQueryAndNothingElseGetsIntoIt(t *testing.T) {
	const all = "WorkflowType IN ('BootServer', 'DeleteServer', 'CleanUp')"
	for _, tc := range []struct {
		filter BuildFilter
		want   string
	}{
		{BuildFilter{}, all + " AND ExecutionStatus = 'Running'"},
		{BuildFilter{Ended: true}, all},
		{BuildFilter{Parked: true, Overdue: true}, all + " AND ExecutionStatus = 'Running' AND SlipwayPhase = 'parked' AND SlipwayOverdue IS NOT NULL"},
		{BuildFilter{Ended: true, ServerID: "a0056075-5e1a", ProjectID: "9d2c", Host: "hv1.rack_b", ReservationID: "r-12345678", Phase: "spawning"},
			all + " AND SlipwayServer = 'a0056075-5e1a' AND SlipwayProject = '9d2c' AND SlipwayHost = 'hv1.rack_b' AND SlipwayReservation = 'r-12345678' AND SlipwayPhase = 'spawning'"},
	} {
		got, err := tc.filter.query()
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
	for _, bad := range []string{"x' OR WorkflowType = 'y", `x\`, "a b", "-", "'", "hv1\n", "ü", string(make([]byte, 300))} {
		for _, f := range []BuildFilter{{ServerID: bad}, {ProjectID: bad}, {Host: bad}, {ReservationID: bad}, {Phase: bad}} {
			_, err := f.query()
			require.True(t, fault.Is(err, fault.Invalid), "%q: %v", bad, err)
		}
	}
}

func TestABuildIsNamedByItsKindAndServer(t *testing.T) {
	const server = "a0056075-5e1a-4f6b-8f0e-0123456789ab"
	for id, want := range map[string]string{
		server: "server/" + server, "server:" + server: "server/" + server, "cleanup:" + server: "cleanup/" + server,
		"server:A0056075-5E1A-4F6B-8F0E-0123456789AB": "server/" + server,
	} {
		got, err := BuildWorkflowID(id)
		require.NoError(t, err, id)
		require.Equal(t, want, got)
	}
	for _, id := range []string{"", "web", "server:", "cleanup:web", "console:" + server, "server/" + server, "urn:uuid:" + server, "{" + server + "}", "server:server:" + server} {
		_, err := BuildWorkflowID(id)
		require.True(t, fault.Is(err, fault.NotFound), "%q: %v", id, err)
	}
}

func TestAnUndosFailureIsFoundAmongWhatTheEngineTries(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	next := at.Add(time.Minute)
	undo := func(id, host, state string) contract.UndoState {
		chain, name, _ := strings.Cut(id, ":")
		activity, _, _ := strings.Cut(name, "/")
		return contract.UndoState{ID: id, Chain: chain, Activity: activity, Host: host, State: state}
	}
	b := Build{
		State: &contract.BuildState{Undos: []contract.UndoState{
			undo("server:FailServer/0", "", "registered"),
			undo("network:ReleaseNetwork/0", "", "parked"),
			undo("network:ReleaseNetwork/1", "", "parked"),
			undo("attempt/1:ReleaseAllocation/0", "", "parked"), undo("attempt/1:RemoveDisk/0", "hv1", "parked"),
			undo("attempt/2:ReleaseAllocation/0", "", "undone"), undo("attempt/2:RemoveDisk/0", "hv2", "undoing"),
		}},
		Pending: []PendingStep{
			{Step: "RemoveDisk", Host: "hv2", Tries: 1, StartedAt: at},
			{Step: "RemoveDisk", Host: "hv1", Tries: 7, Error: "no space", NextTry: &next, StartedAt: at},
			{Step: "ReleaseNetwork", Tries: 2, Error: "no database", StartedAt: at},
			{Step: "FetchImage", Host: "hv1", Tries: 1, StartedAt: at},
		},
	}
	b.merge()
	var undos []string
	for _, p := range b.Pending {
		undos = append(undos, p.Undo)
	}
	require.Equal(t, []string{"attempt/2:RemoveDisk/0", "attempt/1:RemoveDisk/0", "network:ReleaseNetwork/1", ""}, undos)
	require.Equal(t, []any{7, "no space"}, []any{b.State.Undos[4].Tries, b.State.Undos[4].Error})
	require.Equal(t, []any{2, "no database"}, []any{b.State.Undos[2].Tries, b.State.Undos[2].Error})
	for _, waits := range []int{0, 1, 3} {
		require.Zero(t, b.State.Undos[waits].Tries, "%s waits for a later one of its chain", b.State.Undos[waits].ID)
	}
}
