package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// PlanResize says what the server is and what the flavor makes of it. Faults, in Nova's words: Invalid where the flavor does not fit
// the image or would make a disk smaller, OverQuota where its project may not have it.
func (a *Activities) PlanResize(ctx context.Context, in contract.PlanResizeInput) (contract.ResizePlan, error) {
	plan, err := a.planResize(ctx, in.ServerID, in.Resize)
	if err != nil || in.Resize.Migrates {
		return plan, err
	}
	image, flavor := plan.Old.Spec.Image.Root, in.Resize.Flavor
	if err := images.Fits(image, flavor); err != nil {
		return plan, err
	}
	if err := imageprops.CheckFlavor(flavor.ExtraSpecs); err != nil {
		return plan, err
	}
	if _, err := imageprops.Parse(image.Properties, flavor.ExtraSpecs); err != nil {
		return plan, err
	}
	if err := onlyGrows(plan.Old, flavor); err != nil {
		return plan, err
	}
	return plan, a.store.CheckLarger(ctx, claimOf(in.ServerID, in.ProjectID, flavor), limitsOf(in.Resize.Limits))
}

func (a *Activities) planResize(ctx context.Context, serverID string, to contract.Resize) (contract.ResizePlan, error) {
	v, err := a.store.Server(ctx, serverID)
	if err != nil {
		return contract.ResizePlan{}, err
	}
	old, err := a.factsOf(ctx, v)
	if err != nil {
		return contract.ResizePlan{}, err
	}
	plan := contract.ResizePlan{Old: old, New: old, VMState: string(v.VMState)}
	if v.Host != nil {
		plan.Zone = v.Host.AvailabilityZone
	}
	image, err := a.store.Image(ctx, old.Spec.Image.Root.ID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return plan, err
	}
	plan.Lost = err != nil || image.Status != models.ImageActive
	if to.Migrates {
		return plan, nil
	}
	plan.New.Server.Flavor, plan.New.Spec.Flavor, plan.New.Resources = to.Flavor, to.Flavor, to.Flavor.Takes(old.Spec.Image.Root)
	if to.AutoDiskConfig != nil {
		plan.New.Server.AutoDiskConfig = to.AutoDiskConfig
	}
	return plan, nil
}

func claimOf(serverID, projectID string, f contract.Flavor) models.Claim {
	return models.Claim{ServerID: serverID, ProjectID: projectID, Cores: f.VCPUs, RAMMiB: f.RAMMiB}
}

// onlyGrows holds that no disk with something on it becomes smaller (nova/compute/api.py, CannotResizeDisk; its libvirt driver refuses
// the others on the host). Swap is made anew.
func onlyGrows(old contract.ServerFacts, flavor contract.Flavor) error {
	cannot := func(why string) error {
		return fault.New(fault.Invalid, "Server disk was unable to be resized because: %s", why)
	}
	was := old.Spec.Flavor
	var ephemeral, swap int // that were asked for, instead of the flavor's
	for _, d := range old.Spec.Image.BlockDevices {
		switch d.Role {
		case contract.EphemeralDisk:
			ephemeral += d.MiB
		case contract.SwapDisk:
			swap += d.MiB
		}
	}
	switch {
	case flavor.DiskGiB == 0 && was.DiskGiB != 0:
		return cannot("Resize to zero disk flavor is not allowed.")
	case flavor.DiskGiB < was.DiskGiB:
		return cannot("Unable to resize disk down.")
	case len(old.Spec.Image.BlockDevices) == 0 && flavor.EphemeralGiB < was.EphemeralGiB:
		return cannot("Unable to resize disk down. The flavor has less of ephemeral disks.")
	case ephemeral > flavor.EphemeralGiB*1024 || swap > flavor.SwapMiB:
		return cannot("Unable to resize disk down. The server has larger ephemeral or swap disks than the flavor allows.")
	}
	return nil
}

// RecordMigration records what a server begins to become, and claims quota for the larger of both flavors. OverQuota, in Nova's words.
func (a *Activities) RecordMigration(ctx context.Context, in contract.RecordMigrationInput) error {
	kind := models.MigrationResize
	if in.Migrates {
		kind = models.MigrationCold
	}
	return a.recordMigration(ctx, a.taking(ctx, contract.HoldResize, 0, ""), kind, "", in) // which ForgetResize gives back
}

func (a *Activities) recordMigration(ctx context.Context, store *models.Store, kind, to string, in contract.RecordMigrationInput) error {
	err := store.BeginMigration(ctx, models.Migration{
		ServerID: in.ServerID, RequestID: in.RequestID, Kind: kind, SourceHost: in.Hostname, DestHost: to,
		OldFlavor: models.FlavorSnapshot(in.Old.Spec.Flavor), NewFlavor: models.FlavorSnapshot(in.New.Spec.Flavor),
		OldDiskGiB: in.Old.Resources.DiskGiB, NewDiskGiB: in.New.Resources.DiskGiB, OldVMState: lifecycle.VMState(in.VMState),
	})
	if err != nil {
		return err
	}
	return store.ClaimLarger(ctx, claimOf(in.ServerID, in.ProjectID, in.New.Spec.Flavor), limitsOf(in.Limits))
}

// HoldResize does both of RecordMigration and SelectDestination, for resizes that began when there was no other host to go to.
func (a *Activities) HoldResize(ctx context.Context, in contract.HoldResizeInput) error {
	err := a.recordMigration(ctx, a.taking(ctx, contract.HoldResize, 0, ""), models.MigrationResize, in.Hostname, contract.RecordMigrationInput{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Hostname: in.Hostname, Limits: in.Limits, Old: in.Old, New: in.New,
		VMState: in.VMState,
	})
	if err != nil {
		return err
	}
	_, err = a.SelectDestination(ctx, contract.SelectDestinationInput{
		ServerID: in.ServerID, RequestID: in.RequestID, Hostname: in.Hostname, Host: in.Hostname, New: in.New,
	})
	return err
}

// advance shows the n-th of the phases of a resize that follow its first.
func (a *Activities) advance(ctx context.Context, serverID, requestID string, n int) error {
	action, err := rowOf("resize")
	if err != nil {
		return err
	}
	return a.store.AdvanceAction(ctx, serverID, requestID, action, n)
}

// ForgetResize gives the room and the quota back that only the new guest needed.
func (a *Activities) ForgetResize(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.HoldResize, 0, ""); err != nil {
		return err
	}
	_, err := a.store.MoveMigration(ctx, in.ServerID, in.RequestID, false,
		[]string{models.MigrationBegun, models.MigrationMigrating, models.MigrationMoved, models.MigrationFinished}, models.MigrationError)
	return err
}

// FinishResize shows that the disks are there, and the guest is next.
func (a *Activities) FinishResize(ctx context.Context, in contract.FinishResizeInput) error {
	if _, err := a.store.MoveMigration(ctx, in.ServerID, in.RequestID, false, []string{models.MigrationMigrating}, models.MigrationMoved); err != nil {
		return err
	}
	return a.advance(ctx, in.ServerID, in.RequestID, 1)
}

// RecordResize makes the server's row and spec those of the guest that runs by now, and its host the one that this runs on. Its resize waits
// to be confirmed.
func (a *Activities) RecordResize(ctx context.Context, in contract.RecordResizeInput) error {
	store := a.taking(ctx, contract.RecordResize, 0, "")
	if err := a.recordResize(ctx, store, in); err != nil {
		return err
	}
	_, err := store.MoveMigration(ctx, in.ServerID, in.RequestID, false, []string{models.MigrationMoved}, models.MigrationFinished)
	return err
}

// UnrecordResize makes them those of the guest that runs again.
func (a *Activities) UnrecordResize(ctx context.Context, in contract.RecordResizeInput) error {
	if err := a.giveBack(ctx, "", contract.RecordResize, 0, ""); err != nil {
		return err
	}
	if err := a.recordResize(ctx, a.store, in); err != nil {
		return err
	}
	_, err := a.store.MoveMigration(ctx, in.ServerID, in.RequestID, false, []string{models.MigrationFinished}, models.MigrationMoved)
	return err
}

func (a *Activities) recordResize(ctx context.Context, store *models.Store, in contract.RecordResizeInput) error {
	return a.record(ctx, store, contract.RecordRebuildInput(in), lifecycle.ResizeFinish, lifecycle.ResizeMigrating, lifecycle.ResizeReverting)
}

// ConfirmResize makes the new guest's room the server's, and gives back that of the old one, on another host to whoever cleans that.
// Conflict where nothing waits to be confirmed.
func (a *Activities) ConfirmResize(ctx context.Context, in contract.ConfirmResizeInput) error {
	return a.endResize(ctx, a.taking(ctx, contract.ConfirmResize, 0, ""), in.ServerID, in.RequestID, models.MigrationConfirmed)
}

// UnconfirmResize has the server hold both.
func (a *Activities) UnconfirmResize(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.ConfirmResize, 0, ""); err != nil {
		return err
	}
	return a.resumeResize(ctx, in.ServerID, in.RequestID, models.MigrationConfirmed)
}

// endResize ends what waited.
func (a *Activities) endResize(ctx context.Context, store *models.Store, serverID, requestID, status string) error {
	ended, err := store.MoveMigration(ctx, serverID, requestID, true, []string{models.MigrationFinished}, status)
	if err == nil && !ended {
		err = notResized()
	}
	return err
}

// resumeResize has it wait again, where the request has ended it.
func (a *Activities) resumeResize(ctx context.Context, serverID, requestID, status string) error {
	_, err := a.store.MoveMigration(ctx, serverID, requestID, true, []string{status}, models.MigrationFinished)
	return err
}

func notResized() error { return fault.New(fault.Conflict, "Instance has not been resized.") }

// PlanRevert says what the server is and what it was before its resize. Conflict where nothing waits to be reverted, or the host that
// the server came from was given up.
func (a *Activities) PlanRevert(ctx context.Context, in contract.PlanRevertInput) (contract.ResizePlan, error) {
	m, err := a.store.LastMigration(ctx, in.ServerID)
	if err == nil && m.Status != models.MigrationFinished || fault.Is(err, fault.NotFound) {
		return contract.ResizePlan{}, notResized()
	}
	if err != nil {
		return contract.ResizePlan{}, err
	}
	if m.SourceHost != m.DestHost {
		kept, err := a.store.KeptOn(ctx, in.ServerID)
		if err == nil && kept == "" {
			err = fault.New(fault.Conflict, "Host %s, which instance %s came from, was given up, and its guest of before with it.", m.SourceHost, in.ServerID)
		}
		if err != nil {
			return contract.ResizePlan{}, err
		}
	}
	plan, err := a.planResize(ctx, in.ServerID, contract.Resize{Flavor: contract.Flavor(m.OldFlavor)})
	plan.VMState = string(m.OldVMState)
	return plan, err
}

// RecordRevert makes the server's row, spec and host those of the old guest, which runs by now, and gives the new one's room back, on
// another host to whoever cleans that.
func (a *Activities) RecordRevert(ctx context.Context, in contract.RecordResizeInput) error {
	store := a.taking(ctx, contract.RecordRevert, 0, "")
	if err := a.recordResize(ctx, store, in); err != nil {
		return err
	}
	return a.endResize(ctx, store, in.ServerID, in.RequestID, models.MigrationReverted)
}

// UnrecordRevert makes them those of the new guest again, with its room.
func (a *Activities) UnrecordRevert(ctx context.Context, in contract.RecordResizeInput) error {
	if err := a.giveBack(ctx, "", contract.RecordRevert, 0, ""); err != nil {
		return err
	}
	if err := a.recordResize(ctx, a.store, in); err != nil {
		return err
	}
	return a.resumeResize(ctx, in.ServerID, in.RequestID, models.MigrationReverted)
}
