package actions

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestAnImageIsRecordedBeforeItsServerIsMarkedAndItsCopyDroppedLast(t *testing.T) {
	g := &guest{vmState: lifecycle.Active, on: true}
	require.NoError(t, perform(t, g, does.CreateImage, "createImage"))
	require.NoError(t, g.answer)
	require.Equal(t, []string{
		contract.RecordSnapshot, contract.BeginAction, contract.TakeSnapshot, contract.StoreSnapshot, contract.FinishAction, contract.DropSnapshot,
	}, g.done)
	require.Equal(t, "snap", g.image)
	require.True(t, g.on)
	require.False(t, g.beside)
}

func TestAnImageThatCannotBeMadeLeavesNothing(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for _, step := range []string{contract.TakeSnapshot, contract.StoreSnapshot, contract.FinishAction} {
		for _, late := range []bool{false, true} {
			g := &guest{vmState: lifecycle.Active, on: true, before: map[string]error{step: bad}}
			if late {
				g.before, g.after = nil, g.before
			}
			require.Error(t, perform(t, g, does.CreateImage, "createImage"), step)
			require.NoError(t, g.answer, "it was accepted")
			require.Empty(t, g.image, step)
			require.False(t, g.beside, step)
			require.Equal(t, "no", g.failed.Message)
			require.NotContains(t, g.done, contract.DropSnapshot)
		}
	}
}

func TestAnImageOfAServerThatIsOtherwiseOccupiedIsForgottenAndRefused(t *testing.T) {
	g := &guest{before: map[string]error{contract.BeginAction: fault.New(fault.Conflict, "busy")}}
	require.Error(t, perform(t, g, does.CreateImage, "createImage"))
	require.Equal(t, fault.Conflict, failure.Fault(g.answer).Kind)
	require.Empty(t, g.image)
	require.NotContains(t, g.done, contract.TakeSnapshot)
}

func TestADeleteOfAServerForgetsTheImageThatIsMadeOfIt(t *testing.T) {
	g := &guest{vmState: lifecycle.Active, on: true}
	require.NoError(t, perform(t, g, does.CreateImage, "createImage", func(env *testsuite.TestWorkflowEnvironment) {
		sent := false
		g.reached = func(activity string) {
			if activity == contract.StoreSnapshot && !sent {
				sent = true
				env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
			}
		}
	}))
	require.Equal(t, "deleted", g.state)
	require.Empty(t, g.image)
	require.False(t, g.beside)
	require.NotContains(t, g.done, contract.FinishAction)
}

func TestABackupTakesThePlaceOfTheOldestWhenItIsThere(t *testing.T) {
	g := &guest{vmState: lifecycle.Active, on: true}
	require.NoError(t, perform(t, g, does.CreateBackup, "createBackup"))
	require.Equal(t, []string{contract.FinishAction, contract.DropSnapshot, contract.RotateBackups}, g.done[len(g.done)-3:])
	require.Equal(t, "daily", g.row)

	g = &guest{vmState: lifecycle.Active, on: true, before: map[string]error{contract.RotateBackups: fault.New(fault.Internal, "no")}}
	require.NoError(t, perform(t, g, does.CreateBackup, "createBackup"), "the backup is there all the same")
	require.Equal(t, "snap", g.image)

	g = &guest{vmState: lifecycle.Active, on: true, before: map[string]error{contract.StoreSnapshot: fault.New(fault.Internal, "no")}}
	require.Error(t, perform(t, g, does.CreateBackup, "createBackup"))
	require.NotContains(t, g.done, contract.RotateBackups, "the older ones stay")
}

func TestAGuestIsOffWhileItsDiskIsCopiedAtRestAndRunsWhateverFails(t *testing.T) {
	defer func(was contract.ActionArguments) { arguments["createImage"] = was }(arguments["createImage"])
	arguments["createImage"] = contract.ActionArguments{Snapshot: &contract.Snapshot{ImageID: "snap", ProjectID: "p", AtRest: true}}
	steps := []string{
		contract.RecordSnapshot, contract.BeginAction, contract.StopDomain, contract.TakeSnapshot, contract.StartDomain, contract.StoreSnapshot,
		contract.FinishAction, contract.DropSnapshot,
	}
	running := func() *guest { return &guest{vmState: lifecycle.Active, power: lifecycle.Running, on: true} }
	g := running()
	was := map[string]bool{}
	g.reached = func(activity string) { was[activity] = g.on }
	require.NoError(t, perform(t, g, does.CreateImage, "createImage"))
	require.Equal(t, steps, g.done)
	require.Equal(t, map[string]bool{
		contract.RecordSnapshot: true, contract.BeginAction: true, contract.StopDomain: true, contract.TakeSnapshot: false, contract.StartDomain: false,
		contract.StoreSnapshot: true, contract.FinishAction: true, contract.DropSnapshot: true,
	}, was)
	require.True(t, g.on)

	bad := fault.New(fault.Internal, "no")
	for _, step := range steps[2:7] {
		for _, late := range []bool{false, true} {
			g := running()
			g.before = map[string]error{step: bad}
			if late {
				g.before, g.after = nil, g.before
			}
			require.Error(t, perform(t, g, does.CreateImage, "createImage"), step)
			require.True(t, g.on, "%s, late: %t", step, late)
			require.Empty(t, g.image, step)
			require.False(t, g.beside, step)
		}
	}
	g = &guest{vmState: lifecycle.Stopped, power: lifecycle.Shutdown}
	require.NoError(t, perform(t, g, does.CreateImage, "createImage"))
	require.NotContains(t, g.done, contract.StopDomain)
	require.False(t, g.on, "it was off")
}
