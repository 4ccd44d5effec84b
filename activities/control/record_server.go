package control

import (
	"cmp"
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/models"
)

// RecordServer makes the server's row, its sealed spec and the instance action "create": from here the user sees the server.
func (a *Activities) RecordServer(ctx context.Context, in contract.RecordServerInput) error {
	var specs []models.ServerSpec
	if in.Spec != nil {
		sealed, err := serverspec.Spec.Seal(a.keys, in.ServerID, *in.Spec)
		if err != nil {
			return err
		}
		specs = append(specs, models.ServerSpec{ServerID: in.ServerID, KeyID: sealed.KeyID, Sealed: sealed.Bytes, Parts: partsOf(in.Spec.Image)})
	}
	return a.taking(ctx, contract.RecordServer, 0, "").RecordServer(ctx, serverOf(in), createOf(in), specs...)
}

// partsOf are the images beside its own that a server is built of: a host gets them with it.
func partsOf(image contract.ResolvedImage) []string {
	parts := []string{}
	for _, part := range []*contract.Image{image.Kernel, image.Ramdisk} {
		if part != nil {
			parts = append(parts, part.ID)
		}
	}
	return parts
}

// ForgetSpec removes the spec of a server that is gone.
func (a *Activities) ForgetSpec(ctx context.Context, in contract.Undo) error {
	return a.store.ForgetServerSpec(ctx, in.ServerID)
}

// serverOf is the row of a server that is about to be built.
func serverOf(in contract.RecordServerInput) models.Server {
	v := models.Server{
		ID:                  in.ServerID,
		ProjectID:           in.ProjectID,
		UserID:              in.UserID,
		Name:                in.Name,
		Hostname:            in.Hostname,
		Description:         optional(in.Description),
		TaskState:           optional(string(in.Phase)),
		ImageID:             in.ImageID,
		FlavorID:            in.Flavor.ID,
		Flavor:              models.FlavorSnapshot(in.Flavor),
		KeyName:             optional(in.KeyName),
		AvailabilityZone:    in.AvailabilityZone,
		ConfigDrive:         in.ConfigDrive,
		AccessIPv4:          in.AccessIPv4,
		AccessIPv6:          in.AccessIPv6,
		AutoDiskConfig:      in.AutoDiskConfig != nil && *in.AutoDiskConfig,
		RootDeviceName:      in.RootDevice,
		KernelID:            in.KernelID,
		RamdiskID:           in.RamdiskID,
		TrustedCertificates: in.TrustedCertificates,
		Fingerprint:         optional(in.Fingerprint),
		ReservationID:       cmp.Or(in.ReservationID, ids.Reservation(in.ServerID)),
		LaunchIndex:         in.LaunchIndex,
		Protected:           in.Protected,
		EndsAtShutdown:      in.EndsAtShutdown,
		Metadata:            in.Metadata,
		Tags:                in.Tags,
		CreatedAt:           in.StartedAt,
		UpdatedAt:           in.StartedAt,
	}
	if in.Group != nil {
		v.GroupID, v.GroupLimit = &in.Group.ID, in.Group.Limit
	}
	return v
}

func createOf(in contract.RecordServerInput) models.InstanceAction {
	return models.InstanceAction{
		ServerID:  in.ServerID,
		RequestID: in.RequestID,
		Action:    "create",
		UserID:    in.UserID,
		ProjectID: in.ProjectID,
		StartedAt: in.StartedAt,
		UpdatedAt: in.StartedAt,
		AnswerBy:  in.AnswerBy,
	}
}

// FailServer is its undo: the row stays, in ERROR, with the build's first failure.
func (a *Activities) FailServer(ctx context.Context, in contract.FailServerInput) error {
	if err := a.giveBack(ctx, "", contract.RecordServer, 0, ""); err != nil {
		return err
	}
	now := a.now()
	return a.store.FailServer(ctx, in.ServerID, in.RequestID, models.ServerFault{
		ServerID: in.ServerID, Code: in.Code, Message: in.Message, Details: in.Details, CreatedAt: now,
	}, models.ActionEvents(in.Steps, contract.FailServer, now))
}
