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
)

// The shelve of a server. Its image is made as createImage makes one, of a guest that is off, and is the server's own: where the
// shelve fails it goes, whole or not.
var (
	recordsShelved = run.Table[*action]{
		run.OnControl(contract.RecordSnapshot, run.AdmissionPatience, recordSnapshot).
			GivenBackBy(contract.RemoveShelvedImage).GivenBackWith(removeShelvedImage).GivenBackApart("image"),
	}
	shelves = []run.Row[*action]{
		host(contract.StopDomain, 15*time.Minute, stopDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),

		run.OnControl(contract.ShowImagePending, run.ControlPatience, showPhase).
			TakesNothing("it only shows how far the server is"),

		host(contract.TakeSnapshot, 4*time.Hour, takeSnapshot).
			GivenBackBy(contract.RemoveSnapshot),

		run.OnControl(contract.ShowImageUploading, run.ControlPatience, showPhase).
			TakesNothing("it only shows how far the server is"),

		host(contract.StoreSnapshot, 4*time.Hour, storeSnapshot).
			TakesNothing("its bytes go with the image"),

		run.OnControl(contract.RecordShelve, run.ControlPatience, recordShelve).
			TakesNothing("the image is forgotten with its row"),
	}

	shelveSteps = slices.Concat(recordsShelved, table(shelves...), run.Table[*action]{
		host(contract.DropSnapshot, time.Minute, dropSnapshot).UntilDone().
			TakesNothing("it only removes").
			Survives(survives),
	})
	shelveAtOnceSteps = slices.Concat(recordsShelved, leaving(append(slices.Clone(shelves),
		run.OnControl(contract.ShowOffloading, run.ControlPatience, showPhase).
			TakesNothing("it only shows how far the server is"))...))
)

// A shelved server leaves its host: first in its row, then with all that it has there. The row is the last that can be undone. What a host
// that does not answer has is left to a clean-up: the server can be unshelved meanwhile, on any other.
var shelveOffloadSteps = slices.Concat(
	run.Table[*action]{
		run.OnControl(contract.CheckShelved, run.AdmissionPatience, checkShelved).
			TakesNothing("nothing was taken"),
	},
	leaving(),
)

func leaving(own ...run.Row[*action]) run.Table[*action] {
	return slices.Concat(run.Table[*action]{begins.Accepts()}, own, run.Table[*action]{
		run.OnControl(contract.LeaveHost, run.ControlPatience, leaveHost).Leaves(heldOnHost).
			GivenBackBy(contract.StayOnHost).GivenBackWith(stayOnHost),
		finishes.Detached(), // it has left, whatever else is asked for meanwhile
	})
}

// The image goes when the guest runs, or is its user's to restore.
var (
	dropsShelved = run.Table[*action]{
		run.OnControl(contract.DropShelvedImage, run.ControlPatience, dropShelvedImage).
			TakesNothing("it only removes").
			Survives(survives),
	}
	unshelveSteps          = slices.Concat(startSteps, dropsShelved)
	softDeleteShelvedSteps = slices.Concat(softDeleteSteps, dropsShelved)
)

// The way back of a server that has left its host: a build of its guest, of what the first one kept and of the image that was made of its
// disk, on one host after another. Its root disk leans on no image, since that one goes.
var unshelveOffloadedSteps = slices.Concat(run.Table[*action]{
	run.OnControl(contract.PlanUnshelve, run.AdmissionPatience, planUnshelve).
		TakesNothing("it only reads"),

	marks.Accepts(),

	run.OnControl(contract.SelectHost, run.ControlPatience, choosesHost).Chooses(chosenHost).
		GivenBackBy(contract.ReleaseAllocation).ByPlace(),

	run.OnControl(contract.BindPorts, run.ControlPatience, bindPorts).
		GivenBackBy(contract.UnbindPorts).ByPlace(),

	host(contract.BuildConfigDrive, time.Minute, remakesDrive).When(hadDrive).
		GivenBackBy(contract.RemoveConfigDrive).BesideUntil(contract.DefineDomain),

	host(contract.FetchImage, 2*time.Hour, fetchShelved).
		TakesNothing("the host's image cache evicts what no server uses"),

	host(contract.BuildDisk, 35*time.Minute, buildShelvedDisk).
		GivenBackBy(contract.RemoveDisk),

	host(contract.DefineDomain, time.Minute, definesAnew).
		GivenBackBy(contract.UndefineDomain),

	host(contract.StartDomain, 2*time.Minute, startDomain).
		GivenBackBy(contract.DestroyDomain),

	run.OnControl(contract.RecordUnshelve, run.ControlPatience, recordUnshelve).When(asksZone).
		GivenBackBy(contract.UnrecordUnshelve).GivenBackWith(unrecordUnshelve),

	finishes,
}, dropsShelved)

// ShelveServer shuts a server down and keeps an image of it; its guest stays on its host.
func (w Actions) ShelveServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, shelveSteps)
}

// ShelveServerAtOnce has it leave its host then.
func (w Actions) ShelveServerAtOnce(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, shelveAtOnceSteps, leaves)
}

// ShelveOffloadServer has a server leave its host that was shelved before.
func (w Actions) ShelveOffloadServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, shelveOffloadSteps, leaves)
}

// UnshelveServer starts a shelved server where it is.
func (w Actions) UnshelveServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, unshelveSteps)
}

// UnshelveOffloadedServer builds one anew that has left its host.
func (w Actions) UnshelveOffloadedServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, unshelveOffloadedSteps, onAnyHost)
}

// SoftDeleteShelvedServer leaves a shelved server to be restored or reclaimed.
func (w Actions) SoftDeleteShelvedServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, softDeleteShelvedSteps)
}

// unshelving is what the steps of an unshelve found out.
type unshelving struct {
	plan contract.UnshelvePlan
	host contract.HostSelection
}

// leaves has a server that another run has unshelved on the same host keep what it has there.
func leaves(a *action, _ server.Subject, f *run.Frame) {
	f.InUse = func(ctx workflow.Context, u run.Undo) (string, error) {
		if _, ofHost := u.Input.(contract.Undo); !a.left || !ofHost {
			return "", nil
		}
		return server.InUse(ctx, u)
	}
}

// onAnyHost is what surrounds a build: its hosts, and that what one of them does not give back is left to a clean-up, since the server is
// on none of them afterwards.
func onAnyHost(a *action, _ server.Subject, f *run.Frame) {
	f.Hands = nil
	f.Limits.Tries = a.in.Unshelve.MaxHosts
	f.Left = func(ctx workflow.Context, left run.Attempt) {
		if !left.Fault.Blameless {
			server.Blame(ctx, a.in.ServerID, left)
		}
	}
	f.Explain = func(last *fault.Error) *fault.Error { return server.Explain(a.run.Tried(), last) }
	f.Stands = func(ctx workflow.Context) bool { return a.hasGuest(ctx) }
}

// hasGuest asks whether another run has unshelved the server, as when the engine was restored from before the end of this one: then it
// is its user's. What this run itself may have made active it gives back.
func (a *action) hasGuest(ctx workflow.Context) bool {
	begun := slices.ContainsFunc(a.run.Lines(), func(l *run.Line) bool { return l.Row == contract.FinishAction })
	if begun || a.deletion.Came() {
		return false
	}
	var has bool
	// It is asked until it is answered, as an undo is done until it is.
	ctx = workflow.WithActivityOptions(ctx, run.UndoOptions(a.in.ServerID, "", ""))
	err := workflow.ExecuteActivity(ctx, contract.ServerStands, contract.ServerStandsInput{ServerID: a.in.ServerID, Guest: true}).Get(ctx, &has)
	return err != nil || has
}

func removeShelvedImage(a *action) (any, bool) {
	image := a.in.Snapshot
	return contract.RemoveShelvedImageInput{
		ServerID: a.in.ServerID, ImageID: image.ImageID, ProjectID: image.ProjectID, UserID: a.in.UserID, RequestID: a.in.RequestID,
	}, true
}

func showPhase(a *action, _ int) (contract.ShowPhaseInput, func(run.None)) {
	return contract.ShowPhaseInput{Action: a.in.Action, ServerID: a.in.ServerID, RequestID: a.in.RequestID}, nil
}

func recordShelve(a *action, _ int) (contract.RecordShelveInput, func(run.None)) {
	return contract.RecordShelveInput{
		Action: a.in.Action, ServerID: a.in.ServerID, RequestID: a.in.RequestID, ImageID: a.in.Snapshot.ImageID,
	}, nil
}

func checkShelved(a *action, _ int) (contract.CheckShelvedInput, func(run.None)) {
	return contract.CheckShelvedInput{ServerID: a.in.ServerID}, nil
}

func leaveHost(a *action, _ int) (contract.LeaveHostInput, func(run.None)) {
	return a.leaveInput(), func(run.None) {
		a.left = true
		a.begun.VMState, a.begun.PowerState = string(lifecycle.ShelvedOffloaded), lifecycle.Shutdown // whatever fails now
	}
}

func stayOnHost(a *action) (any, bool) { return a.leaveInput(), true }

func (a *action) leaveInput() contract.LeaveHostInput {
	return contract.LeaveHostInput{Action: a.in.Action, ServerID: a.in.ServerID, RequestID: a.in.RequestID, Hostname: a.begun.Hostname}
}

func heldOnHost(a *action) []run.Spec { return a.held }

func dropShelvedImage(a *action, _ int) (contract.DropShelvedImageInput, func(run.None)) {
	return contract.DropShelvedImageInput{ServerID: a.in.ServerID, UserID: a.in.UserID, RequestID: a.in.RequestID}, nil
}

func planUnshelve(a *action, _ int) (contract.PlanUnshelveInput, func(contract.UnshelvePlan)) {
	return contract.PlanUnshelveInput{ServerID: a.in.ServerID, Unshelve: *a.in.Unshelve},
		func(plan contract.UnshelvePlan) { a.unshelve.plan = plan }
}

func choosesHost(a *action, _ int) (contract.SelectHostInput, func(contract.HostSelection)) {
	facts := a.unshelve.plan.Facts
	excluded := slices.Clone(a.unshelve.plan.Left)
	for _, tried := range a.run.Tried() {
		excluded = append(excluded, tried.Place)
	}
	return contract.SelectHostInput{
		ServerID: a.in.ServerID, Resources: facts.Resources, AvailabilityZone: facts.Server.AvailabilityZone,
		Architecture: facts.Spec.Image.Architecture, UEFI: facts.Spec.Image.UEFI, Excluded: excluded, Host: a.in.Unshelve.Host,
		NextPhase: contract.Phase(lifecycle.Spawning),
		Hints:     facts.Spec.Hints, ProjectID: a.in.ProjectID, ExtraSpecs: facts.Spec.Flavor.ExtraSpecs,
	}, func(selection contract.HostSelection) { a.unshelve.host = selection }
}

func chosenHost(a *action) string { return a.unshelve.host.Hostname }

func bindPorts(a *action, _ int) (contract.BindPortsInput, func(run.None)) {
	return contract.BindPortsInput{ServerID: a.in.ServerID, Hostname: a.unshelve.host.Hostname}, nil
}

func hadDrive(a *action) bool { return a.unshelve.plan.Facts.Server.ConfigDrive }

func remakesDrive(a *action, _ int) (contract.BuildConfigDriveInput, func(run.None)) {
	return a.unshelve.plan.Facts.BuildConfigDrive(a.unshelve.host.AvailabilityZone), nil
}

// fetchShelved leaves out the image that the first build was made of: nothing needs it any more, and it may be gone.
func fetchShelved(a *action, _ int) (contract.FetchImageInput, func(contract.FetchImageOutput)) {
	image := a.unshelve.plan.Facts.Spec.Image
	image.Root = a.unshelve.plan.Disk
	return contract.FetchImageInput{ServerID: a.in.ServerID, Images: image.All()}, nil
}

// buildShelvedDisk grows no filesystem: it is the guest's by now.
func buildShelvedDisk(a *action, _ int) (contract.BuildDiskInput, func(contract.InjectedData)) {
	in := a.unshelve.plan.Facts.BuildDisk()
	in.Image, in.Whole, in.Grow = a.unshelve.plan.Disk, true, false
	return in, nil
}

func definesAnew(a *action, _ int) (contract.DefineDomainInput, func(run.None)) {
	facts := a.unshelve.plan.Facts
	in := facts.Domain()
	in.Facts = &facts
	return in, nil
}

func asksZone(a *action) bool { return a.in.Unshelve.Zone != nil }

func recordUnshelve(a *action, _ int) (contract.RecordUnshelveInput, func(run.None)) {
	return contract.RecordUnshelveInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Zone: *a.in.Unshelve.Zone}, nil
}

func unrecordUnshelve(a *action) (any, bool) {
	return contract.RecordUnshelveInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Zone: a.unshelve.plan.Zone}, true
}
