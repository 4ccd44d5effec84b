package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The resize of a server on its host. What the flavor does not allow is refused before the server is marked. The guest that follows
// is made of copies of the disks, once the old one is off, and takes its place as in a rebuild; the old one stays beside it, with its
// room, until the resize is confirmed or reverted.
var resizeSteps = slices.Concat(
	run.Table[*action]{
		run.OnControl(contract.PlanResize, run.AdmissionPatience, planResize).
			TakesNothing("nothing was taken"),
	},
	table(
		run.OnControl(contract.HoldResize, run.ControlPatience, holdResize).
			GivenBackBy(contract.ForgetResize),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the guest of before runs again

		host(contract.BuildResized, 2*time.Hour, buildResized).
			GivenBackBy(contract.RemoveReplacement),

		run.OnControl(contract.FinishResize, run.ControlPatience, finishResize).
			TakesNothing("it only shows how far the server is"),

		host(contract.ReplaceGuest, 5*time.Minute, replaceByResized).
			GivenBackBy(contract.RestoreGuest),

		host(contract.StartDomain, 2*time.Minute, startDomain).When(wasNotStopped).
			GivenBackBy(contract.PowerOffDomain),

		run.OnControl(contract.RecordResize, run.ControlPatience, recordResize).
			GivenBackBy(contract.UnrecordResize).GivenBackWith(unrecordResize),
	),
)

// The confirmation of a resize, and the deferred delete of a server that waits for it.
var (
	confirms = run.OnControl(contract.ConfirmResize, run.ControlPatience, confirmResize).
			GivenBackBy(contract.UnconfirmResize)

	confirmResizeSteps     = slices.Concat(table(confirms), run.Table[*action]{removes})
	softDeleteResizedSteps = slices.Concat(
		table(
			host(contract.StopDomain, 15*time.Minute, stopDomain).
				GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
			confirms,
		),
		run.Table[*action]{removes},
	)
)

// The way back. The new guest stays beside the old one until that runs.
var revertResizeSteps = slices.Concat(
	table(
		run.OnControl(contract.PlanRevert, run.ControlPatience, planRevert).
			TakesNothing("it only reads"),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the new guest runs again

		host(contract.RevertGuest, 5*time.Minute, revertGuest).
			GivenBackBy(contract.UnrevertGuest),

		host(contract.StartDomain, 2*time.Minute, startDomain).When(becomesActive).
			GivenBackBy(contract.PowerOffDomain),

		run.OnControl(contract.RecordRevert, run.ControlPatience, recordResize).
			GivenBackBy(contract.UnrecordRevert).GivenBackWith(unrecordResize),
	),
	run.Table[*action]{removes},
)

// ResizeServer makes a server's guest anew by another flavor.
func (w Actions) ResizeServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, resizeSteps)
}

// ConfirmResize drops the guest of before.
func (w Actions) ConfirmResize(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, confirmResizeSteps)
}

// RevertResize makes the server that one's again.
func (w Actions) RevertResize(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, revertResizeSteps)
}

// SoftDeleteResizedServer drops the guest of before and shuts the new one down.
func (w Actions) SoftDeleteResizedServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, softDeleteResizedSteps)
}

// becomes is what the end of a resize makes of a server; "" where the action's row says it.
func (a *action) becomes() (vmState lifecycle.VMState, power int) {
	switch a.in.Action {
	case "confirmResize":
		if a.begun.PowerState == lifecycle.Shutdown {
			return lifecycle.Stopped, lifecycle.Shutdown
		}
	case "revertResize":
		if !becomesActive(a) {
			return lifecycle.Stopped, lifecycle.Shutdown
		}
		return lifecycle.Active, lifecycle.Running
	}
	return "", 0
}

func becomesActive(a *action) bool { return a.resize.VMState == string(lifecycle.Active) }

func planResize(a *action, _ int) (contract.PlanResizeInput, func(contract.ResizePlan)) {
	return contract.PlanResizeInput{ServerID: a.in.ServerID, ProjectID: a.in.ProjectID, Resize: *a.in.Resize},
		func(plan contract.ResizePlan) { a.resize = plan }
}

func holdResize(a *action, _ int) (contract.HoldResizeInput, func(run.None)) {
	return contract.HoldResizeInput{
		ServerID: a.in.ServerID, ProjectID: a.in.ProjectID, RequestID: a.in.RequestID, Hostname: a.begun.Hostname, Limits: a.in.Resize.Limits,
		Old: a.resize.Old, New: a.resize.New, VMState: a.begun.VMState,
	}, nil
}

func buildResized(a *action, _ int) (contract.BuildResizedInput, func(run.None)) {
	facts := a.resize.New
	in := contract.BuildResizedInput{ServerID: a.in.ServerID, Disk: facts.BuildDisk()}
	if facts.Server.ConfigDrive {
		drive := facts.BuildConfigDrive(a.resize.Zone)
		in.ConfigDrive = &drive
	}
	return in, nil
}

func finishResize(a *action, _ int) (contract.FinishResizeInput, func(run.None)) {
	return contract.FinishResizeInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID}, nil
}

func replaceByResized(a *action, _ int) (contract.ReplaceGuestInput, func(run.None)) {
	return contract.ReplaceGuestInput{ServerID: a.in.ServerID, Facts: a.resize.New}, nil
}

func recordResize(a *action, _ int) (contract.RecordResizeInput, func(run.None)) {
	return contract.RecordResizeInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Old: a.resize.Old, New: a.resize.New}, nil
}

func unrecordResize(a *action) (any, bool) {
	return contract.RecordResizeInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Old: a.resize.New, New: a.resize.Old}, true
}

func confirmResize(a *action, _ int) (contract.ConfirmResizeInput, func(run.None)) {
	return contract.ConfirmResizeInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID}, nil
}

func planRevert(a *action, _ int) (contract.PlanRevertInput, func(contract.ResizePlan)) {
	return contract.PlanRevertInput{ServerID: a.in.ServerID}, func(plan contract.ResizePlan) { a.resize = plan }
}

func revertGuest(a *action, _ int) (contract.RevertGuestInput, func(run.None)) {
	return contract.RevertGuestInput{ServerID: a.in.ServerID}, nil
}
