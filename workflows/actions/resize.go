package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The resize of a server, and its migration. What the flavor does not allow is refused before the server is marked. On its own host the
// guest that follows is made of copies of the disks, once the old one is off, and takes its place as in a rebuild. On another the disks
// travel there, and it is made of them as in a build. The old one stays where it is, off, with its room, until that is confirmed or
// reverted. It is started again only when the new one is certainly off: both are in one chain. What else the destination holds is given
// back apart, so that the old guest does not wait for a host that has died.
var resizeSteps = slices.Concat(
	run.Table[*action]{
		run.OnControl(contract.PlanResize, run.AdmissionPatience, planResize).
			TakesNothing("nothing was taken"),
	},
	table(
		run.OnControl(contract.HoldResize, run.ControlPatience, holdResize).Gone(1).
			GivenBackBy(contract.ForgetResize),

		run.OnControl(contract.RecordMigration, run.ControlPatience, recordMigration).From(1).
			GivenBackBy(contract.ForgetResize),

		run.OnControl(contract.SelectDestination, run.ControlPatience, selectDestination).From(1).
			GivenBackBy(contract.ReleaseAllocation).GivenBackWith(leaveDestination).GivenBackApart(atDestination),

		host(contract.FetchImage, 2*time.Hour, fetchImages).Depending(itMoves, fetches).On(toDestination, destination).
			TakesNothing("the host's image cache evicts what no server uses"),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the guest of before runs again

		host(contract.BuildResized, 2*time.Hour, buildResized).Depending(itStays, stays).
			GivenBackBy(contract.RemoveReplacement),

		host(contract.OfferDisks, 2*time.Hour, offerDisks).Depending(itMoves, moves).
			GivenBackBy(contract.WithdrawDisks),

		arrives(contract.ReceiveDisks, 24*time.Hour, receiveDisks).
			GivenBackBy(contract.DiscardReceived).GivenBackApart(atDestination),

		arrives(contract.BuildArrived, 30*time.Minute, buildArrived).
			GivenBackBy(contract.RemoveDisk).GivenBackApart(atDestination),

		host(contract.BuildConfigDrive, time.Minute, buildConfigDrive).Depending(itMoves, drives).On(toDestination, destination).
			GivenBackBy(contract.RemoveConfigDrive).GivenBackApart(atDestination),

		run.OnControl(contract.FinishResize, run.ControlPatience, finishResize).
			TakesNothing("it only shows how far the server is"),

		host(contract.ReplaceGuest, 5*time.Minute, replaceByResized).Depending(itStays, stays).
			GivenBackBy(contract.RestoreGuest),

		host(contract.StartDomain, 2*time.Minute, startDomain).Depending(itStays, startsHere).
			GivenBackBy(contract.PowerOffDomain),

		arrives(contract.DefineDomain, time.Minute, defineArrived).
			GivenBackBy(contract.UndefineDomain).GivenBackApart(atDestination),

		host(contract.StartDomain, 2*time.Minute, startDomain).Depending(itMoves, startsThere).On(toDestination, destination).
			GivenBackBy(contract.PowerOffDomain),

		run.OnControl(contract.RecordResize, run.ControlPatience, recordResize).
			GivenBackBy(contract.UnrecordResize).GivenBackWith(unrecordResize),
	),
	run.Table[*action]{
		host(contract.EndOffer, time.Minute, endOffer).Depending(itMoves, moves).
			TakesNothing("an offer that is not ended ends by itself").
			Survives(survives),
	},
)

// atDestination is the chain of what the destination holds, but for its guest's running.
const atDestination = "destination"

// What rows depend on, and where they are done, in the words of the documents and of the tests that go each way.
const (
	itStays       = "the server stays on its host"
	itMoves       = "the server moves to another host"
	toDestination = "destination"
	toSource      = "source"
)

// arrives is a row at the destination of a server that moves.
func arrives[I, O any](name string, timeout time.Duration, io run.Describe[*action, I, O]) run.Row[*action] {
	return host(name, timeout, io).Depending(itMoves, moves).On(toDestination, destination)
}

// moves says whether a server goes to another host.
func (a *action) moves() bool { return a.to.Hostname != "" && a.to.Hostname != a.begun.Hostname }

func moves(a *action) bool         { return a.moves() }
func stays(a *action) bool         { return !a.moves() }
func startsHere(a *action) bool    { return stays(a) && wasNotStopped(a) }
func startsThere(a *action) bool   { return moves(a) && wasNotStopped(a) }
func fetches(a *action) bool       { return moves(a) && len(a.images()) > 0 }
func drives(a *action) bool        { return moves(a) && a.resize.New.Server.ConfigDrive }
func destination(a *action) string { return a.to.Hostname }

// The ends of a resize depend on where the guest of before is: beside the new one, or on the host that the server came from.
func source(a *action) string  { return a.begun.Source }
func hasMoved(a *action) bool  { return a.begun.Source != "" }
func hasStayed(a *action) bool { return a.begun.Source == "" }

// The confirmation of a resize, and the deferred delete of a server that waits for it. A guest of before that is on another host is left
// to a clean-up: that host may be away.
var (
	confirms = run.OnControl(contract.ConfirmResize, run.ControlPatience, confirmResize).
			GivenBackBy(contract.UnconfirmResize)
	removesBeside = removes.Depending(itStays, hasStayed)

	confirmResizeSteps     = slices.Concat(table(confirms), run.Table[*action]{removesBeside})
	softDeleteResizedSteps = slices.Concat(
		table(
			host(contract.StopDomain, 15*time.Minute, stopDomain).
				GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
			confirms,
		),
		run.Table[*action]{removesBeside},
	)
)

// The way back. The new guest stays beside the old one until that runs, or on its host until the server is the old one's again. Where that
// is on another host its domain is made anew first: a host that is away, or has not got it any more, costs no downtime.
var revertResizeSteps = slices.Concat(
	table(
		run.OnControl(contract.PlanRevert, run.ControlPatience, planRevert).
			TakesNothing("it only reads"),

		host(contract.RemakeDomain, 5*time.Minute, remakeDomain).Depending(itMoves, hasMoved).On(toSource, source).
			TakesNothing("the guest there is off, and stays so"),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the new guest runs again

		host(contract.RevertGuest, 5*time.Minute, revertGuest).Depending(itStays, hasStayed).
			GivenBackBy(contract.UnrevertGuest),

		host(contract.StartDomain, 2*time.Minute, startDomain).Depending(itStays, startsAgainHere).
			GivenBackBy(contract.PowerOffDomain),

		host(contract.StartDomain, 2*time.Minute, startDomain).Depending(itMoves, startsAgainThere).On(toSource, source).
			GivenBackBy(contract.PowerOffDomain),

		run.OnControl(contract.RecordRevert, run.ControlPatience, recordResize).
			GivenBackBy(contract.UnrecordRevert).GivenBackWith(unrecordResize),
	),
	run.Table[*action]{removesBeside},
)

// ResizeServer makes a server's guest anew by another flavor.
func (w Actions) ResizeServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, resizeSteps)
}

// MigrateServer makes a server's guest anew on another host.
func (w Actions) MigrateServer(ctx workflow.Context, in contract.ActionInput) error {
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

func becomesActive(a *action) bool    { return a.resize.VMState == string(lifecycle.Active) }
func startsAgainHere(a *action) bool  { return hasStayed(a) && becomesActive(a) }
func startsAgainThere(a *action) bool { return hasMoved(a) && becomesActive(a) }

// leave gives a clean-up what a host holds of a guest that has ended with what was done: the old one's when it is confirmed, the new
// one's when that is reverted.
func (a *action) leave(ctx workflow.Context) {
	if !hasMoved(a) {
		return
	}
	switch a.in.Action {
	case "confirmResize", "soft-delete-resized":
		a.deletion.Leave(ctx, a.about, a.begun.Source)
	case "revertResize":
		a.deletion.Leave(ctx, a.about, a.begun.Hostname)
	}
}

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

func recordMigration(a *action, _ int) (contract.RecordMigrationInput, func(run.None)) {
	return contract.RecordMigrationInput{
		ServerID: a.in.ServerID, ProjectID: a.in.ProjectID, RequestID: a.in.RequestID, Migrates: a.in.Resize.Migrates, Hostname: a.begun.Hostname,
		Limits: a.in.Resize.Limits, Old: a.resize.Old, New: a.resize.New, VMState: a.begun.VMState,
	}, nil
}

func selectDestination(a *action, _ int) (contract.SelectDestinationInput, func(contract.Destination)) {
	return contract.SelectDestinationInput{
		ServerID: a.in.ServerID, RequestID: a.in.RequestID, Hostname: a.begun.Hostname, Migrates: a.in.Resize.Migrates, Host: a.in.Resize.Host,
		Zone: a.in.Resize.Zone, New: a.resize.New,
	}, func(to contract.Destination) { a.to = to }
}

// leaveDestination gives back the room on the destination, and on whatever other host it was taken where the answer was lost; never that
// on the server's own, which the status of the migration settles.
func leaveDestination(a *action) (any, bool) {
	undo := contract.Undo{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Hostname: a.to.Hostname, Except: []string{a.begun.Hostname}}
	return undo, a.to.Hostname == "" || a.moves()
}

// images are those that the destination needs in its cache. What is lost the disks bring with them.
func (a *action) images() []contract.Image {
	all := a.resize.New.Spec.Image.All()
	if a.resize.Lost {
		all = all[1:]
	}
	return all
}

func fetchImages(a *action, _ int) (contract.FetchImageInput, func(contract.FetchImageOutput)) {
	return contract.FetchImageInput{ServerID: a.in.ServerID, Images: a.images()}, nil
}

func offerDisks(a *action, _ int) (contract.OfferDisksInput, func(contract.DiskOffer)) {
	return contract.OfferDisksInput{ServerID: a.in.ServerID, MoveID: a.in.RequestID, To: a.to.Hostname, Whole: a.resize.Lost},
		func(offer contract.DiskOffer) { a.offer = offer }
}

func receiveDisks(a *action, _ int) (contract.ReceiveDisksInput, func(run.None)) {
	return contract.ReceiveDisksInput{
		ServerID: a.in.ServerID, MoveID: a.in.RequestID, From: a.begun.Hostname, Offer: a.offer, Disk: a.resize.Old.BuildDisk(),
	}, nil
}

func buildArrived(a *action, _ int) (contract.BuildArrivedInput, func(run.None)) {
	return contract.BuildArrivedInput{ServerID: a.in.ServerID, Disk: a.resize.New.BuildDisk()}, nil
}

func buildConfigDrive(a *action, _ int) (contract.BuildConfigDriveInput, func(run.None)) {
	return a.resize.New.BuildConfigDrive(a.to.AvailabilityZone), nil
}

func defineArrived(a *action, _ int) (contract.DefineDomainInput, func(run.None)) {
	in := a.resize.New.Domain()
	in.Facts = &a.resize.New
	return in, nil
}

func endOffer(a *action, _ int) (contract.EndOfferInput, func(run.None)) {
	return contract.EndOfferInput{ServerID: a.in.ServerID}, nil
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
