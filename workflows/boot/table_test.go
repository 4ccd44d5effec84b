package boot

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

func TestEveryRowGivesBackWhatItTakesOrSaysWhyNot(t *testing.T) {
	for _, s := range Table() {
		require.True(t, (s.Undo == "") != (s.WhyNoUndo == ""), "%s needs an undo, or the reason why it has none, and not both", s.Name)
	}
}

func TestEveryRowIsAnActivityOfTheContractAndHasADeadline(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Table() {
		for _, name := range []string{s.Name, s.Undo} {
			if name == "" {
				continue
			}
			require.NotNil(t, contract.ActivityOf(name).Input, "internal/contract has no row for the activity %s", name)
			require.False(t, seen[name], "%s stands twice: an undo could not be told from the other's", name)
			seen[name] = true
		}
		require.Positive(t, s.Timeout, "%s has no deadline for a try", s.Name)
		require.NotEmpty(t, s.Phase, "%s shows users no task_state", s.Name)
		require.Contains(t, []run.Scope{run.Control, OnHost}, s.Scope, s.Name)
	}
}

func TestARowBesideOthersNamesALaterRowOfTheSameAttempt(t *testing.T) {
	table := Table()
	finish := steps.Index("Activate")
	for i, s := range table {
		if s.Beside == "" {
			continue
		}
		until := slices.IndexFunc(table, func(other Step) bool { return other.Name == s.Beside })
		require.Greater(t, until, i, "%s runs beside %s, which is no later row", s.Name, s.Beside)
		require.Less(t, until, finish, "%s outlives its attempt", s.Name)
		require.Equal(t, OnHost, s.Scope, "%s: a row of the control plane is too short to run beside others", s.Name)
	}
}

func TestWhatAHostHoldsIsGivenBackWhenTheBuildLeavesIt(t *testing.T) {
	selected := false
	for _, s := range Table() {
		if s.Scope == OnHost {
			require.True(t, selected, "%s runs on a host before one is selected", s.Name)
			require.True(t, s.PerPlace, s.Name)
		}
		selected = selected || s.Name == "SelectHost"
	}
}

func TestTheTableIsACopy(t *testing.T) {
	Table()[0].Name = "changed"
	require.NotEqual(t, "changed", Table()[0].Name)
}

func TestEveryControlStepSaysItsInputInAFewWords(t *testing.T) {
	b := &build{in: contract.BootInput{Server: contract.Server{Name: "web"}, Networks: []contract.NICRequest{{}}, VendorServices: &contract.VendorServices{}}, ports: make([]contract.Port, 1), run: &run.Run{}}
	for name, in := range map[string]any{
		contract.ResolveImage: first(resolveImage(b, 0)), contract.ClaimQuota: first(claimQuota(b, 0)), contract.RecordServer: first(recordServer(b, 0)),
		contract.AskVendorData: first(askVendorData(b, 0)),
		contract.SelectHost:    first(selectHost(b, 0)), contract.AllocateNetwork: first(allocateNetwork(b, 0)), contract.Activate: first(activate(b, 0)),
	} {
		require.NotEmpty(t, contract.Summary(name, in), name)
	}
}

func first[I, O any](in I, _ func(O)) any { return in }
