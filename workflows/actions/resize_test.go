package actions

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// resizable is a server of a flavor, or one that was resized to another.
func resizable(was lifecycle.VMState) *guest {
	g := &guest{vmState: was, on: was != lifecycle.Stopped, power: lifecycle.Running, image: "old", row: "old", earlier: string(lifecycle.Active)}
	if was == lifecycle.Resized {
		g.image, g.row, g.kept, g.held = "new", "new", true, true
	}
	return g
}

func TestAResizeReplacesTheGuestAndKeepsTheOldOneWithItsRoom(t *testing.T) {
	g := resizable(lifecycle.Active)
	require.NoError(t, perform(t, g, does.ResizeServer, "resize"))
	require.NoError(t, g.answer)
	require.Equal(t, []string{
		contract.PlanResize, contract.BeginAction, contract.RecordMigration, contract.SelectDestination, contract.StopDomain, contract.BuildResized, contract.FinishResize,
		contract.ReplaceGuest, contract.StartDomain, contract.RecordResize, contract.FinishAction,
	}, g.done)
	require.Equal(t, []any{true, "new", "new", true, true}, []any{g.on, g.image, g.row, g.kept, g.held})
}

func TestAStoppedServerIsResizedAndStaysOff(t *testing.T) {
	g := resizable(lifecycle.Stopped)
	require.NoError(t, perform(t, g, does.ResizeServer, "resize"))
	require.NotContains(t, g.done, contract.StopDomain)
	require.NotContains(t, g.done, contract.StartDomain)
	require.False(t, g.on)
}

func TestAResizeThatIsRefusedTouchesNothing(t *testing.T) {
	g := resizable(lifecycle.Active)
	g.before = map[string]error{contract.PlanResize: fault.New(fault.OverQuota, "Quota exceeded for cores")}
	require.Error(t, perform(t, g, does.ResizeServer, "resize"))
	require.Equal(t, fault.OverQuota, failure.Fault(g.answer).Kind)
	require.Equal(t, []string{contract.PlanResize}, g.done)
}

// failing are the actions about a resize with their steps that may fail.
var failing = []struct {
	name  string
	do    any
	from  lifecycle.VMState
	steps []string
}{
	{"resize", does.ResizeServer, lifecycle.Active, []string{
		contract.RecordMigration, contract.SelectDestination, contract.StopDomain, contract.BuildResized, contract.FinishResize, contract.ReplaceGuest, contract.StartDomain,
		contract.RecordResize, contract.FinishAction,
	}},
	{"confirmResize", does.ConfirmResize, lifecycle.Resized, []string{contract.ConfirmResize, contract.FinishAction}},
	{"soft-delete-resized", does.SoftDeleteResizedServer, lifecycle.Resized, []string{contract.StopDomain, contract.ConfirmResize, contract.FinishAction}},
	{"revertResize", does.RevertResize, lifecycle.Resized, []string{
		contract.PlanRevert, contract.StopDomain, contract.RevertGuest, contract.StartDomain, contract.RecordRevert, contract.FinishAction,
	}},
}

func TestWhateverOfAResizeFailsLeavesTheServerWhatItWas(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for _, c := range failing {
		for _, step := range c.steps {
			for way, fails := range map[string]func(*guest){
				"before": func(g *guest) { g.before = map[string]error{step: bad} },
				"after":  func(g *guest) { g.after = map[string]error{step: bad} },
			} {
				g, was := resizable(c.from), resizable(c.from)
				fails(g)
				require.Error(t, perform(t, g, c.do, c.name), "%s: %s %s", c.name, step, way)
				require.Equal(t, []any{was.on, was.image, was.row, was.kept, was.held, false}, []any{g.on, g.image, g.row, g.kept, g.held, g.beside},
					"%s: %s %s", c.name, step, way)
				require.Equal(t, "no", g.failed.Message)
				require.NotContains(t, g.done, contract.RemoveReplaced)
			}
		}
	}
}

func TestAConfirmedServerIsWhatItsGuestIs(t *testing.T) {
	for power, want := range map[int]lifecycle.VMState{lifecycle.Running: "", lifecycle.Shutdown: lifecycle.Stopped} {
		g := resizable(lifecycle.Resized)
		g.power = power
		require.NoError(t, perform(t, g, does.ConfirmResize, "confirmResize"))
		require.Equal(t, []string{contract.BeginAction, contract.ConfirmResize, contract.FinishAction, contract.RemoveReplaced}, g.done)
		require.Equal(t, string(want), g.becomes.VMState)
		require.False(t, g.kept || g.held)
	}
}

func TestARevertedServerIsWhatItWasBefore(t *testing.T) {
	for _, was := range []lifecycle.VMState{lifecycle.Active, lifecycle.Stopped} {
		g := resizable(lifecycle.Resized)
		g.earlier = string(was)
		require.NoError(t, perform(t, g, does.RevertResize, "revertResize"))
		require.Equal(t, string(was), g.becomes.VMState)
		require.Equal(t, []any{was == lifecycle.Active, "old", "old", false, false}, []any{g.on, g.image, g.row, g.kept, g.held})
		require.Equal(t, contract.RemoveReplaced, g.done[len(g.done)-1])
	}
}
