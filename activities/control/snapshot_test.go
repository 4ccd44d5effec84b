package control

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func TestAnImageOfAServerIsDescribedAsNovaDescribesIt(t *testing.T) {
	ctx, store := newStore(t)
	a := withImages(t, Options{Store: store, Keys: testenv.PayloadKeys(t)})
	_, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	base, server := uuid.NewString(), uuid.NewString()
	activeImage(t, store, models.Image{ID: base, Properties: map[string]string{"hw_disk_bus": "floppy"}})
	require.NoError(t, asStep(t, func(ctx context.Context) error {
		return a.RecordServer(ctx, contract.RecordServerInput{
			Server: contract.Server{
				ServerID: server, ProjectID: "p1", UserID: "u1", RequestID: "req-1", Name: "web", Hostname: "web", ImageID: base,
				Flavor: contract.Flavor{ID: "1", DiskGiB: 20},
			},
			Phase: contract.PhaseScheduling, StartedAt: time.Now(), Spec: &contract.ServerSpec{Image: contract.ResolvedImage{Root: contract.Image{
				ID: base, MinDiskGiB: 2, MinRAMMiB: 64, Properties: map[string]string{
					"hw_disk_bus": "scsi", "os_type": "linux", "img_signature": "s", "cache_in_nova": "yes", "os_glance_import_task": "x", "image_type": "base",
				},
			}}},
		})
	}))
	in := contract.RecordSnapshotInput{ServerID: server, UserID: "u2", RequestID: "req-2", Snapshot: contract.Snapshot{
		ImageID: uuid.NewString(), Name: "golden", ProjectID: "p1", Roles: []string{"member"}, Metadata: map[string]string{"stage": "tested", "hw_disk_bus": "virtio"},
	}}
	record := func(ctx context.Context) error { return a.RecordSnapshot(ctx, in) }
	for range 2 {
		require.NoError(t, asStep(t, record))
	}
	made, err := store.Image(ctx, in.Snapshot.ImageID)
	require.NoError(t, err)
	require.Equal(t, []any{"golden", "p1", models.ImageQueued, "private", "qcow2", "bare", 20, 64, server}, []any{
		*made.Name, made.OwnerID, made.Status, made.Visibility, *made.DiskFormat, *made.ContainerFormat, made.MinDiskGiB, made.MinRAMMiB, *made.SnapshotOf,
	})
	require.Equal(t, map[string]string{
		"hw_disk_bus": "virtio", "os_type": "linux", "stage": "tested", "base_image_ref": base, "image_type": "snapshot", "image_location": "snapshot",
		"image_state": "available", "instance_uuid": server, "user_id": "u2", "owner_id": "p1",
	}, made.Properties)

	first := in.Snapshot.ImageID

	_, err = store.EnsureProject(ctx, models.Project{ID: "ops", Name: "ops", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	in.Snapshot.ImageID, in.Snapshot.ProjectID = uuid.NewString(), "ops"
	for range 2 {
		require.NoError(t, asStep(t, record))
	}
	made, err = store.Image(ctx, in.Snapshot.ImageID)
	require.NoError(t, err)
	require.Equal(t, []string{"ops", "shared"}, []string{made.OwnerID, made.Visibility})
	members, err := store.ImageMembers(ctx, made.ID, "")
	require.NoError(t, err)
	require.Len(t, members, 1)
	require.Equal(t, "p1", members[0].MemberID, "whose server it is sees it")
	_, err = store.MoveImage(ctx, made.ID, models.ImageMove{To: models.ImageSaving})
	require.NoError(t, err)
	_, err = store.MoveImage(ctx, made.ID, models.ImageMove{To: models.ImageActive, Bytes: &models.ImageBytes{Size: 1, Virtual: 1, SHA512: "00"}})
	require.NoError(t, err)

	for _, image := range []string{first, first, made.ID} {
		require.NoError(t, asStep(t, func(ctx context.Context) error {
			return a.ForgetSnapshot(ctx, contract.ForgetSnapshotInput{ImageID: image, ProjectID: "p1", UserID: "u2", RequestID: "req-2"})
		}))
	}
	_, err = store.Image(ctx, first)
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = store.Image(ctx, made.ID)
	require.NoError(t, err, "it is whole")
	in.Snapshot.ImageID = uuid.NewString()
	require.True(t, fault.Is(asStep(t, record), fault.Conflict), "what was given back is not taken any more")
}

func TestBackupsOfOneServerAndTypeAreRotatedByTheirAge(t *testing.T) {
	ctx, store := newStore(t)
	a := withImages(t, Options{Store: store})
	server, at := uuid.NewString(), time.Now().Add(-time.Hour)
	backup := func(of, kind string, more models.Image) string {
		more.ID, at = uuid.NewString(), at.Add(time.Minute)
		more.CreatedAt, more.Properties = at, map[string]string{"image_type": "backup", "backup_type": kind, "instance_uuid": of}
		activeImage(t, store, more)
		return more.ID
	}
	old, protected := backup(server, "daily", models.Image{}), backup(server, "daily", models.Image{Protected: true})
	middle, weekly, others := backup(server, "daily", models.Image{}), backup(server, "weekly", models.Image{}), backup(uuid.NewString(), "daily", models.Image{})
	newest := backup(server, "daily", models.Image{})
	rotate := func(rotation int) {
		t.Helper()
		require.NoError(t, a.RotateBackups(ctx, contract.RotateBackupsInput{ServerID: server, UserID: "u1", RequestID: "req-1", Snapshot: contract.Snapshot{
			ImageID: newest, ProjectID: "p1", Roles: []string{"member"}, Backup: &contract.Backup{Type: "daily", Rotation: rotation},
		}}))
	}
	are := func(there bool, ids ...string) {
		t.Helper()
		for _, id := range ids {
			_, err := store.Image(ctx, id)
			require.Equal(t, !there, fault.Is(err, fault.NotFound), "%v", err)
		}
	}
	rotate(4)
	are(true, old, protected, middle, newest)
	for range 2 {
		rotate(2)
		are(false, old)
		are(true, protected, middle, newest, weekly, others)
	}
	rotate(0)
	are(false, middle, newest)
	are(true, protected, weekly, others)
}
