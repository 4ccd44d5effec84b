package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The rescue of a server: another guest boots in its place, and sees its root disk.
var rescueSteps = slices.Concat(
	run.Table[*action]{
		run.OnControl(contract.ResolveImage, run.AdmissionPatience, resolveImage).When(namesImage).
			TakesNothing("nothing was taken"),
	},
	table(
		run.OnControl(contract.PlanRebuild, run.ControlPatience, planRebuild).
			GivenBackBy(contract.ForgetRebuild),

		host(contract.FetchImage, 2*time.Hour, fetchImage).
			TakesNothing("the host's image cache evicts what no server uses"),

		host(contract.BuildRescue, 35*time.Minute, buildReplacement).Tells(notTaken).
			GivenBackBy(contract.RemoveRescue),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the server's own guest runs again

		host(contract.EnterRescue, 5*time.Minute, enterRescue).
			GivenBackBy(contract.UndoRescue),

		host(contract.StartDomain, 2*time.Minute, startDomain).
			GivenBackBy(contract.PowerOffDomain),
	),
)

// The end of a rescue: that the server's own guest runs again, or that the server is deleted and may be restored.
var (
	leavesRescue = host(contract.LeaveRescue, 5*time.Minute, leaveRescue).
			GivenBackBy(contract.UndoUnrescue) // the guest that rescues runs again

	unrescueSteps = slices.Concat(
		table(leavesRescue, host(contract.StartDomain, 2*time.Minute, startDomain).
			GivenBackBy(contract.PowerOffDomain)),
		rescueEnds,
	)
	softDeleteRescuedSteps = slices.Concat(
		table(host(contract.StopDomain, 15*time.Minute, stopDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack), leavesRescue),
		rescueEnds,
	)

	// The server is its own guest's by now, whatever becomes of the other one's disk. A delete removes it too.
	rescueEnds = run.Table[*action]{
		host(contract.EndRescue, time.Minute, endRescue).UntilDone().
			TakesNothing("it only removes").
			Survives(survives),

		run.OnControl(contract.ForgetRescueImages, run.ControlPatience, forgetRescueImages).
			TakesNothing("the host has no use for the images any more").
			Survives(survives),
	}
)

// RescueServer boots a server of a rescue disk.
func (w Actions) RescueServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, rescueSteps)
}

// UnrescueServer boots it of its own again.
func (w Actions) UnrescueServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, unrescueSteps)
}

// SoftDeleteRescuedServer ends a rescue and leaves the server's own guest off.
func (w Actions) SoftDeleteRescuedServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, softDeleteRescuedSteps)
}

func namesImage(a *action) bool { return a.in.Rescue.ImageID != "" }

func enterRescue(a *action, _ int) (contract.EnterRescueInput, func(run.None)) {
	return contract.EnterRescueInput{ServerID: a.in.ServerID, Facts: a.rebuild.plan.New}, nil
}

func leaveRescue(a *action, _ int) (contract.LeaveRescueInput, func(run.None)) {
	return contract.LeaveRescueInput{ServerID: a.in.ServerID}, nil
}

func endRescue(a *action, _ int) (contract.EndRescueInput, func(run.None)) {
	return contract.EndRescueInput{ServerID: a.in.ServerID}, nil
}

func forgetRescueImages(a *action, _ int) (contract.ForgetRescueImagesInput, func(run.None)) {
	return contract.ForgetRescueImagesInput{ServerID: a.in.ServerID}, nil
}
