package control

import (
	"cmp"
	"context"
	"maps"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// RecordSnapshot makes the row of the image that a server's host will fill. Forbidden and OverQuota are the image service's.
func (a *Activities) RecordSnapshot(ctx context.Context, in contract.RecordSnapshotInput) error {
	v, err := a.store.Server(ctx, in.ServerID)
	if err != nil {
		return err
	}
	of, err := a.builtOf(ctx, v)
	if err != nil {
		return err
	}
	err = a.images.RecordSnapshot(ctx, a.taking(ctx, contract.RecordSnapshot, 0, ""), creator(in.Snapshot, in.UserID, in.RequestID), snapshotOf(v, of, in), v.ProjectID)
	if fault.Is(err, fault.TooLarge) {
		return fault.Wrap(fault.OverQuota, err, "%s", fault.Public(err))
	}
	return err
}

// ForgetSnapshot takes it away again, unless the image is active.
func (a *Activities) ForgetSnapshot(ctx context.Context, in contract.ForgetSnapshotInput) error {
	if err := a.giveBack(ctx, "", contract.RecordSnapshot, 0, ""); err != nil {
		return err
	}
	caller := images.Caller{Caller: imagepolicy.Caller{UserID: in.UserID, ProjectID: in.ProjectID}, RequestID: in.RequestID}
	return a.images.ForgetSnapshot(ctx, caller, in.ImageID)
}

// creator is who asked for an image.
func creator(image contract.Snapshot, userID, requestID string) images.Caller {
	return images.Caller{Caller: imagepolicy.Caller{UserID: userID, ProjectID: image.ProjectID, Roles: image.Roles}, RequestID: requestID}
}

// RotateBackups deletes a server's oldest backups of a type, as Nova finds them (nova/compute/manager.py, _rotate_backups), of those
// that are active and belong to whoever made the newest. One that cannot be deleted stays: its image is protected.
func (a *Activities) RotateBackups(ctx context.Context, in contract.RotateBackupsInput) error {
	repo := a.images.For(creator(in.Snapshot, in.UserID, in.RequestID))
	backups, err := repo.List(ctx, models.ImageFilter{
		OwnerID: in.Snapshot.ProjectID, AnyHidden: true, Statuses: []models.ImageStatus{models.ImageActive},
		Properties: map[string]string{"image_type": "backup", "backup_type": in.Snapshot.Backup.Type, "instance_uuid": in.ServerID},
	})
	if err != nil {
		return err
	}
	for _, image := range backups[min(in.Snapshot.Backup.Rotation, len(backups)):] {
		err := repo.Remove(ctx, image)
		switch {
		case fault.Is(err, fault.Unavailable):
			return err
		case err != nil && !fault.Is(err, fault.NotFound):
			a.log.WarnContext(ctx, "a backup of a server that is too many stays", "server_id", in.ServerID, "image_id", image.ID, "error", err)
		}
	}
	return nil
}

// builtOf is the image of a server's build, as it was then; as it is now, or nothing, where nobody has kept that.
func (a *Activities) builtOf(ctx context.Context, v models.Server) (contract.Image, error) {
	kept, err := a.store.ServerSpecs(ctx, v.ID)
	if err != nil {
		return contract.Image{}, err
	}
	if sealed, is := kept[v.ID]; is {
		spec, err := a.openSpec(sealed)
		return spec.Image.Root, err
	}
	image, err := a.store.Image(ctx, v.ImageID)
	if fault.Is(err, fault.NotFound) {
		err = nil
	}
	return contract.Image{ID: v.ImageID, MinDiskGiB: image.MinDiskGiB, MinRAMMiB: image.MinRAMMiB, Properties: image.Properties}, err
}

// notInherited are the properties that an image of a server does not take from its own (nova/compute/utils.py,
// NON_INHERITABLE_IMAGE_PROPERTIES and the default of non_inheritable_image_properties; nova/utils.py, SM_SKIP_KEYS).
var notInherited = append([]string{
	"cache_in_nova", "bittorrent", "cinder_encryption_key_id", "cinder_encryption_key_deletion_policy",
	"mappings", "block_device_mapping", "img_mappings", "img_block_device_mapping",
}, imagesignature.Properties()...)

// snapshotOf is the image as Nova describes it (nova/compute/utils.py, create_image; nova/virt/libvirt/driver.py,
// _create_snapshot_metadata): what the server's own says of the machine, and whose it is. What is asked for counts most.
func snapshotOf(v models.Server, of contract.Image, in contract.RecordSnapshotInput) models.Image {
	properties := map[string]string{}
	for name, value := range of.Properties {
		if !imagepolicy.IsSystem(name) {
			properties[name] = value
		}
	}
	for _, name := range notInherited {
		delete(properties, name)
	}
	properties["base_image_ref"] = cmp.Or(properties["base_image_ref"], of.ID)
	maps.Copy(properties, map[string]string{
		"image_type": "snapshot", "image_location": "snapshot", "image_state": "available", "instance_uuid": v.ID,
		"user_id": in.UserID, "owner_id": v.ProjectID,
	})
	visibility := imagepolicy.Private
	if in.Snapshot.ProjectID != v.ProjectID {
		visibility = imagepolicy.Shared
	}
	maps.Copy(properties, in.Snapshot.Metadata)
	if backup := in.Snapshot.Backup; backup != nil {
		properties["image_type"], properties["backup_type"] = "backup", backup.Type
	}
	return models.Image{
		ID: in.Snapshot.ImageID, Name: new(strings.TrimSpace(in.Snapshot.Name)), OwnerID: in.Snapshot.ProjectID, Visibility: visibility,
		DiskFormat: new("qcow2"), ContainerFormat: new("bare"),
		MinDiskGiB: max(of.MinDiskGiB, v.Flavor.DiskGiB), MinRAMMiB: of.MinRAMMiB, Properties: properties, SnapshotOf: &v.ID,
	}
}
