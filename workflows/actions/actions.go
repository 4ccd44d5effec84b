// Package actions is what can be done to a server that is there: a table of steps in a file for each action. The rows of
// internal/lifecycle say when each may be done, and what the server is meanwhile and afterwards.
package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// Actions runs actions on servers. A delete that arrives while one runs ends it, and tears the server down in the same run.
type Actions struct{ Ends teardown.Workflow }

// action is the state of one.
type action struct {
	in       contract.ActionInput
	about    server.Subject
	run      *run.Run
	begun    contract.BegunAction
	rebuild  rebuilding
	resize   contract.ResizePlan
	to       contract.Destination // of a resize or a migration
	offer    contract.DiskOffer
	unshelve unshelving
	deletion *teardown.Asked
	held     []run.Spec // the rows whose undos take a guest from a host
	left     bool       // for good: the host that it was on
}

// Tables are the steps of each action, by the name of its row in internal/lifecycle.
func Tables() map[string][]run.Spec {
	return map[string][]run.Spec{
		"os-stop": stopSteps.Specs(), "os-start": startSteps.Specs(), "restore": startSteps.Specs(), "soft-delete": softDeleteSteps.Specs(),
		"soft-delete-rescued": softDeleteRescuedSteps.Specs(),
		"reboot-soft":         softRebootSteps.Specs(), "reboot-hard": hardRebootSteps.Specs(),
		"pause": pauseSteps.Specs(), "unpause": unpauseSteps.Specs(), "suspend": suspendSteps.Specs(), "resume": resumeSteps.Specs(),
		"changePassword": passwordSteps.Specs(), "rebuild": rebuildSteps.Specs(),
		"rescue": rescueSteps.Specs(), "unrescue": unrescueSteps.Specs(), "createImage": createImageSteps.Specs(),
		"createBackup": createBackupSteps.Specs(),
		"resize":       resizeSteps.Now().Specs(), "migrate": resizeSteps.Now().Specs(),
		"confirmResize": confirmResizeSteps.Specs(), "revertResize": revertResizeSteps.Specs(),
		"soft-delete-resized": softDeleteResizedSteps.Specs(), "soft-delete-shelved": softDeleteShelvedSteps.Specs(),
		"shelve": shelveSteps.Specs(), "shelve-at-once": shelveAtOnceSteps.Specs(), "shelveOffload": shelveOffloadSteps.Specs(),
		"unshelve": unshelveSteps.Specs(), "unshelve-offloaded": unshelveOffloadedSteps.Specs(),
	}
}

// The steps that all have.
var (
	marks = run.OnControl(contract.BeginAction, run.AdmissionPatience, begin).
		GivenBackBy(contract.FailAction).GivenBackWith(fail).BehindPlaces("server")
	begins   = marks.Chooses(where)
	finishes = run.OnControl(contract.FinishAction, run.ControlPatience, finish).
			TakesNothing("the last step")
)

// table is an action's own steps between those that all have. It is accepted once the server is marked.
func table(own ...run.Row[*action]) run.Table[*action] {
	return slices.Concat(run.Table[*action]{begins.Accepts()}, own, run.Table[*action]{finishes})
}

// awaited is the table of an action whose answer tells how it ended.
func awaited(own ...run.Row[*action]) run.Table[*action] {
	return slices.Concat(run.Table[*action]{begins}, own, run.Table[*action]{finishes.Accepts()})
}

func host[I, O any](name string, timeout time.Duration, io run.Describe[*action, I, O]) run.Row[*action] {
	return run.AtPlace(name, timeout, io)
}

// adjust changes what is around an action's table.
type adjust func(a *action, about server.Subject, frame *run.Frame)

// do runs an action's table under the server's lock. It answers its submission once the server is marked, or is not because
// of the state that it is in; that of an awaited one when it has ended.
func (w Actions) do(ctx workflow.Context, in contract.ActionInput, steps run.Table[*action], adjusts ...adjust) error {
	about := server.Subject{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Name: in.Name, Deadlines: in.Deadlines,
	}
	a := &action{in: in, held: w.Ends.Rows}
	frame := about.Frame(in.Action)
	frame.Ended = in.Action
	// Nothing of the server's own host is left to a clean-up: it would give back there what a later action has taken. The server stays
	// locked until its host has answered; a delete takes over. What a host holds to which it did not come is: nothing is placed there
	// as long as that one has its room.
	frame.Hands = func(chain string) bool { return chain == atDestination && a.moves() }
	frame.Finished = a.leave
	frame.Explain = a.explain
	for _, adjust := range adjusts {
		adjust(a, about, &frame)
	}
	row, _ := lifecycle.Find(in.Action)
	frame.RefusesLast = row.Awaited
	a.about, a.deletion = about, w.Ends.Follows(ctx, &frame, in.RequestID)
	a.run = run.New(ctx, frame)
	if err := about.Serve(ctx, a.run); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, a.run.Submitted); err != nil {
		return err
	}
	return run.Drive(ctx, a.run, steps.At(run.Version(ctx, in.Action, steps.Specs())), a)
}

// explain is the failure of the one host that an action can be done on.
func (a *action) explain(last *fault.Error) *fault.Error {
	if tried := a.run.Tried(); last == nil && len(tried) > 0 {
		return tried[0].Fault
	}
	return last
}

func begin(a *action, _ int) (contract.ActionInput, func(contract.BegunAction)) {
	return a.in, func(begun contract.BegunAction) { a.begun = begun }
}

func where(a *action) string { return a.begun.Hostname }

func finish(a *action, _ int) (contract.FinishActionInput, func(run.None)) {
	state, power := a.becomes()
	return contract.FinishActionInput{
		Action: a.in.Action, ServerID: a.in.ServerID, RequestID: a.in.RequestID, Steps: server.Steps(a.run), Mended: a.mends(),
		VMState: string(state), PowerState: power,
	}, nil
}

// putBack makes the guest what its server was.
func putBack(a *action) (any, bool) {
	return contract.PutBackGuestInput{ServerID: a.in.ServerID, VMState: a.begun.VMState, PowerState: a.begun.PowerState}, true
}

// fail gives the server its state back. One that is being deleted needs none.
func fail(a *action) (any, bool) {
	f := a.run.Failure()
	if f == nil || a.deletion.Came() {
		return nil, false
	}
	return contract.FailActionInput{
		Action: a.in.Action, ServerID: a.in.ServerID, RequestID: a.in.RequestID,
		Code: f.Kind.Status(), Message: f.Text, Details: f.Error(), Steps: server.Steps(a.run),
		VMState: a.begun.VMState, PowerState: a.begun.PowerState,
	}, true
}
