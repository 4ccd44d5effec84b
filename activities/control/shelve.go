package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// RemoveShelvedImage takes the image of a shelve away, whole or not: nobody has asked for it but the shelve. That of a server that is
// shelved stays: another run has made it so.
func (a *Activities) RemoveShelvedImage(ctx context.Context, in contract.RemoveShelvedImageInput) error {
	for _, step := range []string{contract.RecordSnapshot, contract.RecordShelve} {
		if err := a.giveBack(ctx, "", step, 0, ""); err != nil {
			return err
		}
	}
	v, err := a.store.Server(ctx, in.ServerID)
	switch {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return err
	case v.ShelvedImageID != nil && *v.ShelvedImageID == in.ImageID && v.TaskState == nil && isShelved(v):
		a.log.WarnContext(ctx, "the image of a shelved server stays: another run has shelved it", "server_id", v.ID, "image_id", in.ImageID)
		return nil
	}
	caller := images.Caller{Caller: imagepolicy.Caller{UserID: in.UserID, ProjectID: in.ProjectID}, RequestID: in.RequestID}
	return a.dropShelved(ctx, caller, in.ServerID, in.ImageID)
}

func isShelved(v models.Server) bool {
	return v.VMState == lifecycle.Shelved || v.VMState == lifecycle.ShelvedOffloaded
}

// DropShelvedImage deletes the image of a server that is shelved no more.
func (a *Activities) DropShelvedImage(ctx context.Context, in contract.DropShelvedImageInput) error {
	v, err := a.store.Server(ctx, in.ServerID)
	if fault.Is(err, fault.NotFound) {
		return nil // its delete has done so
	}
	if err != nil || v.ShelvedImageID == nil || isShelved(v) {
		return err
	}
	return a.dropShelved(ctx, shelver(v, in.UserID, in.RequestID), v.ID, *v.ShelvedImageID)
}

func shelver(v models.Server, userID, requestID string) images.Caller {
	return images.Caller{Caller: imagepolicy.Caller{UserID: userID, ProjectID: v.ProjectID}, RequestID: requestID}
}

func (a *Activities) dropShelved(ctx context.Context, caller images.Caller, serverID, imageID string) error {
	if err := a.images.RemoveSnapshot(ctx, caller, serverID, imageID); err != nil {
		return err
	}
	return a.store.ForgetShelved(ctx, serverID, imageID)
}

// ShowImagePending shows that the disk is about to be copied.
func (a *Activities) ShowImagePending(ctx context.Context, in contract.ShowPhaseInput) error {
	return a.showPhase(ctx, in, lifecycle.ShelvingImagePending)
}

// ShowImageUploading shows that the copy is about to be stored.
func (a *Activities) ShowImageUploading(ctx context.Context, in contract.ShowPhaseInput) error {
	return a.showPhase(ctx, in, lifecycle.ShelvingImageUploading)
}

// ShowOffloading shows that the server is shelved, and about to leave its host.
func (a *Activities) ShowOffloading(ctx context.Context, in contract.ShowPhaseInput) error {
	return a.showPhase(ctx, in, lifecycle.ShelvingOffloading)
}

func (a *Activities) showPhase(ctx context.Context, in contract.ShowPhaseInput, task string) error {
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	for n, phase := range action.Then {
		if phase.Task == task {
			return a.store.AdvanceAction(ctx, in.ServerID, in.RequestID, action, n)
		}
	}
	return fault.New(fault.Internal, "the action %s has no phase %s", in.Action, task)
}

// RecordShelve keeps of which image the server can be built anew.
func (a *Activities) RecordShelve(ctx context.Context, in contract.RecordShelveInput) error {
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	return a.taking(ctx, contract.RecordShelve, 0, "").RecordShelve(ctx, in.ServerID, in.RequestID, action, in.ImageID)
}

// CheckShelved refuses with Conflict, in Nova's words, what needs the image of a shelved server, where that was deleted.
func (a *Activities) CheckShelved(ctx context.Context, in contract.CheckShelvedInput) error {
	v, err := a.store.Server(ctx, in.ServerID)
	if err == nil {
		_, err = a.shelvedImage(ctx, v, "Error during offloading instance %s: the image %s cannot be found, and without it nothing would be left of the instance.")
	}
	return err
}

// shelvedImage is the image that a server can be built anew of; missing says that there is none, of a server and an image.
func (a *Activities) shelvedImage(ctx context.Context, v models.Server, missing string) (models.Image, error) {
	imageID := value(v.ShelvedImageID)
	image, err := a.store.Image(ctx, imageID)
	if fault.Is(err, fault.NotFound) || err == nil && image.Status != models.ImageActive {
		return image, fault.New(fault.Conflict, missing, v.ID, imageID)
	}
	return image, err
}

// LeaveHost has the server be on no host; Conflict where the image was deleted meanwhile. Behind it, by the undos of the build, its
// domain and its disks go, and then its room.
func (a *Activities) LeaveHost(ctx context.Context, in contract.LeaveHostInput) error {
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	if in.Hostname == "" {
		return fault.New(fault.Internal, "nothing says which host server %s is to leave", in.ServerID)
	}
	if err := a.CheckShelved(ctx, contract.CheckShelvedInput{ServerID: in.ServerID}); err != nil {
		return err
	}
	return a.taking(ctx, contract.LeaveHost, 0, "").LeaveHost(ctx, in.ServerID, in.RequestID, action, in.Hostname)
}

// StayOnHost has the server be on its host, while its guest is there.
func (a *Activities) StayOnHost(ctx context.Context, in contract.LeaveHostInput) error {
	if err := a.giveBack(ctx, "", contract.LeaveHost, 0, ""); err != nil {
		return err
	}
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	return a.store.StayOnHost(ctx, in.ServerID, in.RequestID, action, in.Hostname)
}

// PlanUnshelve says of what a server is built anew, and where not: on hosts that may still have something of it. Conflict, in Nova's words,
// where the image was deleted.
func (a *Activities) PlanUnshelve(ctx context.Context, in contract.PlanUnshelveInput) (contract.UnshelvePlan, error) {
	v, err := a.store.Server(ctx, in.ServerID)
	if err != nil {
		return contract.UnshelvePlan{}, err
	}
	plan := contract.UnshelvePlan{Zone: v.AvailabilityZone}
	if in.Unshelve.Zone != nil {
		v.AvailabilityZone = *in.Unshelve.Zone
	}
	if plan.Facts, err = a.factsOf(ctx, v); err != nil {
		return plan, err
	}
	plan.Facts.Resources = plan.Facts.Spec.Flavor.Takes(plan.Facts.Spec.Image.Root)
	image, err := a.shelvedImage(ctx, v, "Error during unshelve instance %s: Unshelve attempted but the image %s cannot be found.")
	if err != nil {
		return plan, err
	}
	if plan.Disk, err = a.pinned(ctx, image); err != nil {
		return plan, err
	}
	held, err := a.store.Placements(ctx, v.ID)
	if err != nil {
		return plan, err
	}
	for _, room := range held {
		if v.HostID != nil && *v.HostID == room.HostID { // chosen by this run: its worker was killed then
			continue
		}
		h, err := a.store.Host(ctx, room.HostID)
		if err != nil {
			return plan, err
		}
		plan.Left = append(plan.Left, h.Hostname)
	}
	return plan, nil
}

// BindPorts binds the server's ports to the host that was chosen.
func (a *Activities) BindPorts(ctx context.Context, in contract.BindPortsInput) error {
	return a.taking(ctx, contract.BindPorts, 0, in.Hostname).BindPorts(ctx, in.ServerID, in.Hostname)
}

// UnbindPorts has them bound to no host.
func (a *Activities) UnbindPorts(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.BindPorts, 0, in.Hostname); err != nil {
		return err
	}
	return a.store.UnbindPorts(ctx, in.ServerID, in.Hostname)
}

// RecordUnshelve keeps the availability zone that was asked for.
func (a *Activities) RecordUnshelve(ctx context.Context, in contract.RecordUnshelveInput) error {
	return a.askZone(ctx, a.taking(ctx, contract.RecordUnshelve, 0, ""), in)
}

// UnrecordUnshelve keeps the one of before.
func (a *Activities) UnrecordUnshelve(ctx context.Context, in contract.RecordUnshelveInput) error {
	if err := a.giveBack(ctx, "", contract.RecordUnshelve, 0, ""); err != nil {
		return err
	}
	err := a.askZone(ctx, a.store, in)
	if fault.Is(err, fault.Conflict) { // it is unshelved no more
		return nil
	}
	return err
}

func (a *Activities) askZone(ctx context.Context, store *models.Store, in contract.RecordUnshelveInput) error {
	action, err := rowOf("unshelve-offloaded")
	if err != nil {
		return err
	}
	return store.AskZone(ctx, in.ServerID, in.RequestID, action, in.Zone)
}

// OffloadShelved has shelved servers leave their hosts when their time there is over, locked ones too (Nova's _poll_shelved_instances).
// One to which something is begun meanwhile, or whose image is gone, is left to the next turn.
func (a *Activities) OffloadShelved(ctx context.Context, _ contract.Housekeeping) error {
	if a.offloadAfter < 0 {
		return nil
	}
	offload, err := rowOf("shelveOffload")
	if err != nil {
		return err
	}
	servers, err := a.store.Shelved(ctx, a.now().Add(-a.offloadAfter))
	if err != nil {
		return err
	}
	return a.actInTime(ctx, offload, servers)
}
