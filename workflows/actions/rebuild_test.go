package actions

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func built(was lifecycle.VMState) *guest {
	return &guest{vmState: was, on: was == lifecycle.Active, image: "old", row: "old"}
}

func TestARebuildReplacesTheGuestAndDropsTheOldOneLast(t *testing.T) {
	g := built(lifecycle.Active)
	require.NoError(t, perform(t, g, does.RebuildServer, "rebuild"))
	require.NoError(t, g.answer)
	require.Equal(t, []string{
		contract.ResolveImage, contract.BeginAction, contract.PlanRebuild, contract.FetchImage, contract.BuildReplacement, contract.StopDomain,
		contract.ReplaceGuest, contract.StartDomain, contract.RecordRebuild, contract.FinishAction, contract.RemoveReplaced,
	}, g.done)
	require.True(t, g.on)
	require.Equal(t, "new", g.image)
	require.Equal(t, "new", g.row)
	require.False(t, g.mended)
}

func TestAStoppedServerIsRebuiltAndStaysOff(t *testing.T) {
	g := built(lifecycle.Stopped)
	require.NoError(t, perform(t, g, does.RebuildServer, "rebuild"))
	require.NotContains(t, g.done, contract.StopDomain)
	require.False(t, g.on)
	require.Equal(t, "new", g.image)
	require.False(t, g.mended)
}

func TestAServerInErrorIsMendedByARebuild(t *testing.T) {
	g := built(lifecycle.Error)
	require.NoError(t, perform(t, g, does.RebuildServer, "rebuild"))
	require.NotContains(t, g.done, contract.StopDomain, "nobody knows that it runs")
	require.True(t, g.on)
	require.True(t, g.mended)
}

func TestARebuildWhoseImageIsRefusedTouchesNothing(t *testing.T) {
	g := built(lifecycle.Active)
	g.before = map[string]error{contract.ResolveImage: fault.New(fault.Invalid, "Flavor's memory is too small for requested image.")}
	require.Error(t, perform(t, g, does.RebuildServer, "rebuild"))
	require.Equal(t, fault.Invalid, failure.Fault(g.answer).Kind)
	require.Equal(t, []string{contract.ResolveImage}, g.done)
}

func TestARebuildThatFailsLeavesTheOldGuestRunning(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for _, step := range []string{
		contract.PlanRebuild, contract.FetchImage, contract.BuildReplacement, contract.StopDomain, contract.ReplaceGuest, contract.StartDomain,
		contract.RecordRebuild, contract.FinishAction,
	} {
		for way, failing := range map[string]func(*guest){
			"before": func(g *guest) { g.before = map[string]error{step: bad} },
			"after":  func(g *guest) { g.after = map[string]error{step: bad} },
		} {
			g := built(lifecycle.Active)
			failing(g)
			require.Error(t, perform(t, g, does.RebuildServer, "rebuild"), "%s %s", step, way)
			require.True(t, g.on, "%s %s", step, way)
			require.Equal(t, "old", g.image, "%s %s", step, way)
			require.Equal(t, "old", g.row, "%s %s", step, way)
			require.False(t, g.beside || g.kept, "%s %s", step, way)
			require.Equal(t, "no", g.failed.Message)
			require.NotContains(t, g.done, contract.RemoveReplaced)
		}
	}
}

func TestADeleteThatComesWhileTheOldGuestIsDroppedTearsTheServerDown(t *testing.T) {
	g := built(lifecycle.Active)
	require.NoError(t, perform(t, g, does.RebuildServer, "rebuild", func(env *testsuite.TestWorkflowEnvironment) {
		sent := false
		g.reached = func(activity string) {
			if activity == contract.RemoveReplaced && !sent {
				sent = true
				env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
			}
		}
	}))
	require.Equal(t, "deleted", g.state)
	require.NotContains(t, g.done, contract.RestoreGuest, "the server was the new guest's")
}

func TestWhatAnImageDidNotTakeIsToldOfItsAction(t *testing.T) {
	for name, c := range map[string]struct {
		action any
		builds string
	}{
		"rebuild": {does.RebuildServer, contract.BuildReplacement},
		"rescue":  {does.RescueServer, contract.BuildRescue},
	} {
		g := built(lifecycle.Active)
		g.notes = []string{"no key", "no password"}
		require.NoError(t, perform(t, g, c.action, name))
		n := slices.IndexFunc(g.told, func(p contract.StepProgress) bool { return p.Step == c.builds })
		require.Equal(t, []any{contract.StepDone, "no key; no password"}, []any{g.told[n].State, g.told[n].Detail}, name)
	}
}
