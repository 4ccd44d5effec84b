package models

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAHostNeedsTheImagesOfWhatIsPlacedThere(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	here, there := w.host(t, "n1", 8, 8192, 100), w.host(t, "n2", 8, 8192, 100)
	kernel, ramdisk, root := uuid.NewString(), uuid.NewString(), uuid.NewString()
	for id, properties := range map[string]map[string]string{
		kernel: nil, ramdisk: nil, root: {"kernel_id": kernel, "ramdisk_id": ramdisk, "hw_disk_bus": w.image.ID},
	} {
		_, err := w.CreateImage(ctx, Image{ID: id, OwnerID: "p1", Visibility: "private", Properties: properties}, nil)
		require.NoError(t, err)
	}
	needs := func(want bool, images ...string) {
		t.Helper()
		for _, id := range images {
			got, err := w.HostNeedsImage(ctx, here.ID, id)
			require.NoError(t, err)
			require.Equal(t, want, got, id)
			got, err = w.HostNeedsImage(ctx, there.ID, id)
			require.NoError(t, err)
			require.False(t, got, id)
		}
	}
	v, a := w.server("one")
	v.ImageID = root
	require.NoError(t, w.RecordServer(ctx, v, a))
	needs(false, root, kernel, ramdisk)
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: here.ID, VCPUs: 1}, "networking"))
	needs(true, root, kernel, ramdisk)
	needs(false, w.image.ID, uuid.NewString())

	// What was built of is known: what the image is made to name since does not count.
	known, b := w.server("two")
	known.ImageID = root
	require.NoError(t, w.RecordServer(ctx, known, b, ServerSpec{KeyID: "k1", Sealed: []byte("sealed"), Parts: []string{kernel}}))
	require.NoError(t, w.Place(ctx, Placement{ServerID: known.ID, HostID: there.ID, VCPUs: 1}, "networking"))
	specs, err := w.ServerSpecs(ctx, known.ID)
	require.NoError(t, err)
	require.Equal(t, []string{kernel}, specs[known.ID].Parts)
	for id, want := range map[string]bool{root: true, kernel: true, ramdisk: false, w.image.ID: false} {
		got, err := w.HostNeedsImage(ctx, there.ID, id)
		require.NoError(t, err)
		require.Equal(t, want, got, id)
	}
	require.NoError(t, w.ReleasePlacement(ctx, known.ID, "n2"))

	_, err = w.DeleteImage(ctx, root, nil)
	require.NoError(t, err)
	needs(true, root, kernel, ramdisk)
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n1"))
	needs(false, root, kernel, ramdisk)

	require.NoError(t, w.exec(ctx, `INSERT INTO placements (server_id, host_id, role, vcpus, memory_mib, disk_gib, created_at) VALUES ($1, $2, 'incoming', 1, 1, 1, now())`, v.ID, here.ID))
	needs(true, root, kernel, ramdisk)
	require.NoError(t, w.RemoveServer(ctx, v.ID, "req-x", nil, time.Now()))
	needs(false, root, kernel, ramdisk)
}
