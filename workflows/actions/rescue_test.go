package actions

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestARescueBootsAnotherGuestAndItsEndTheServersOwn(t *testing.T) {
	g := built(lifecycle.Active)
	require.NoError(t, perform(t, g, does.RescueServer, "rescue"))
	require.Equal(t, []string{
		contract.ResolveImage, contract.BeginAction, contract.PlanRebuild, contract.FetchImage, contract.BuildRescue, contract.StopDomain,
		contract.EnterRescue, contract.StartDomain, contract.FinishAction,
	}, g.done)
	require.True(t, g.on && g.beside)
	require.Equal(t, []string{"new", "old"}, []string{g.image, g.row}, "the server's image is what it was")
	require.False(t, g.mended)

	g.done, g.vmState = nil, lifecycle.Rescued
	require.NoError(t, perform(t, g, does.UnrescueServer, "unrescue"))
	require.Equal(t, []string{
		contract.BeginAction, contract.LeaveRescue, contract.StartDomain, contract.FinishAction, contract.EndRescue, contract.ForgetRescueImages,
	}, g.done)
	require.True(t, g.on && !g.beside)
	require.Equal(t, "old", g.image)
}

func TestADeferredDeleteOfARescuedServerLeavesItsOwnGuestOff(t *testing.T) {
	g := &guest{vmState: lifecycle.Rescued, power: lifecycle.Running, on: true, image: "new", beside: true}
	require.NoError(t, perform(t, g, does.SoftDeleteRescuedServer, "soft-delete-rescued"))
	require.Equal(t, []string{
		contract.BeginAction, contract.StopDomain, contract.LeaveRescue, contract.FinishAction, contract.EndRescue, contract.ForgetRescueImages,
	}, g.done)
	require.False(t, g.on || g.beside)
	require.Equal(t, "old", g.image)
}

func TestADeferredDeleteThatFailsLeavesTheRescuingGuestRunning(t *testing.T) {
	for _, step := range []string{contract.StopDomain, contract.LeaveRescue, contract.FinishAction} {
		g := &guest{vmState: lifecycle.Rescued, power: lifecycle.Running, on: true, image: "new", beside: true}
		g.after = map[string]error{step: fault.New(fault.Internal, "no")}
		require.Error(t, perform(t, g, does.SoftDeleteRescuedServer, "soft-delete-rescued"))
		require.True(t, g.beside, step)
		require.Equal(t, "new", g.image, step)
		require.Equal(t, contract.PutBackGuestInput{ServerID: "11111111-2222-3333-4444-555555555555", VMState: "rescued", PowerState: lifecycle.Running}, g.put, step)
		require.Equal(t, []string{"rescued", "no"}, []string{g.failed.VMState, g.failed.Message}, step)
	}
}

func TestAStoppedServerIsRescuedToo(t *testing.T) {
	g := built(lifecycle.Stopped)
	require.NoError(t, perform(t, g, does.RescueServer, "rescue"))
	require.NotContains(t, g.done, contract.StopDomain)
	require.True(t, g.on)
}

func TestARescueWhoseImageIsRefusedTouchesNothing(t *testing.T) {
	g := built(lifecycle.Active)
	g.before = map[string]error{contract.ResolveImage: fault.New(fault.Invalid, "Can not find requested image")}
	require.Error(t, perform(t, g, does.RescueServer, "rescue"))
	require.Equal(t, fault.Invalid, failure.Fault(g.answer).Kind)
	require.Equal(t, []string{contract.ResolveImage}, g.done)
}

func TestARescueThatFailsLeavesTheServersOwnGuestAndItsEndTheRescuingOne(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for _, c := range []struct {
		steps  []string
		name   string
		action any
		guest  *guest
	}{
		{
			[]string{contract.PlanRebuild, contract.FetchImage, contract.BuildRescue, contract.StopDomain, contract.EnterRescue, contract.StartDomain, contract.FinishAction},
			"rescue", does.RescueServer, &guest{vmState: lifecycle.Active, on: true, image: "old"},
		},
		{
			[]string{contract.LeaveRescue, contract.StartDomain, contract.FinishAction},
			"unrescue", does.UnrescueServer, &guest{vmState: lifecycle.Rescued, on: true, image: "new", beside: true},
		},
	} {
		for _, step := range c.steps {
			for way, failing := range map[string]func(*guest){
				"before": func(g *guest) { g.before = map[string]error{step: bad} },
				"after":  func(g *guest) { g.after = map[string]error{step: bad} },
			} {
				g := &guest{vmState: c.guest.vmState, on: c.guest.on, image: c.guest.image, beside: c.guest.beside}
				failing(g)
				require.Error(t, perform(t, g, c.action, c.name), "%s %s", step, way)
				require.True(t, g.on, "%s %s", step, way)
				require.Equal(t, c.guest.image, g.image, "%s %s", step, way)
				require.Equal(t, c.guest.beside, g.beside, "%s %s", step, way)
				require.Equal(t, "no", g.failed.Message)
			}
		}
	}
}
