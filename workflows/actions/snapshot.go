package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The image that is made of a server, by steps of its own. Its row comes first, as whoever asked is answered with its id. Once it is
// active it is whole, and stays whatever becomes of the action.
func imageSteps(own ...run.Row[*action]) run.Table[*action] {
	return slices.Concat(
		run.Table[*action]{
			run.OnControl(contract.RecordSnapshot, run.AdmissionPatience, recordSnapshot).
				GivenBackBy(contract.ForgetSnapshot).GivenBackWith(forgetSnapshot).GivenBackApart("image"),
		},
		table(own...),
		run.Table[*action]{
			host(contract.DropSnapshot, time.Minute, dropSnapshot).UntilDone().
				TakesNothing("it only removes").
				Survives(survives),
		},
	)
}

var (
	takes = host(contract.TakeSnapshot, 4*time.Hour, takeSnapshot).
		GivenBackBy(contract.RemoveSnapshot)

	stores = host(contract.StoreSnapshot, 4*time.Hour, storeSnapshot).
		TakesNothing("bytes that did not all come leave the image queued, and go with it")
)

var createImageSteps = imageSteps(
	host(contract.StopDomain, 15*time.Minute, stopDomain).When(atRest).
		GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
	takes,
	host(contract.StartDomain, 2*time.Minute, startDomain).When(atRest).
		TakesNothing("the guest runs, as it did"),
	stores,
)

// A backup is such an image, of a guest that goes on, and takes the place of the oldest.
var createBackupSteps = slices.Concat(imageSteps(takes, stores), run.Table[*action]{
	run.OnControl(contract.RotateBackups, run.ControlPatience, rotateBackups).
		TakesNothing("it only removes").
		Survives(survives),
})

// CreateBackup makes a backup of a server.
func (w Actions) CreateBackup(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, createBackupSteps)
}

// CreateImage makes an image of a server.
func (w Actions) CreateImage(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, createImageSteps)
}

// atRest says whether the guest is shut down for its image, and started again.
func atRest(a *action) bool { return a.in.Snapshot.AtRest && runs(a) }

func recordSnapshot(a *action, _ int) (contract.RecordSnapshotInput, func(run.None)) {
	return contract.RecordSnapshotInput{ServerID: a.in.ServerID, UserID: a.in.UserID, RequestID: a.in.RequestID, Snapshot: *a.in.Snapshot}, nil
}

func forgetSnapshot(a *action) (any, bool) {
	image := a.in.Snapshot
	return contract.ForgetSnapshotInput{ImageID: image.ImageID, ProjectID: image.ProjectID, UserID: a.in.UserID, RequestID: a.in.RequestID}, true
}

func takeSnapshot(a *action, _ int) (contract.TakeSnapshotInput, func(run.None)) {
	return contract.TakeSnapshotInput{ServerID: a.in.ServerID, ImageID: a.in.Snapshot.ImageID}, nil
}

func storeSnapshot(a *action, _ int) (contract.StoreSnapshotInput, func(run.None)) {
	return contract.StoreSnapshotInput{ServerID: a.in.ServerID, ImageID: a.in.Snapshot.ImageID}, nil
}

func dropSnapshot(a *action, _ int) (contract.DropSnapshotInput, func(run.None)) {
	return contract.DropSnapshotInput{ServerID: a.in.ServerID}, nil
}

func rotateBackups(a *action, _ int) (contract.RotateBackupsInput, func(run.None)) {
	return contract.RotateBackupsInput{ServerID: a.in.ServerID, UserID: a.in.UserID, RequestID: a.in.RequestID, Snapshot: *a.in.Snapshot}, nil
}
