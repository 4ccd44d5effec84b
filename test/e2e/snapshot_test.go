package e2e

import (
	"context"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

func TestAnImageOfARunningServerHasWhatItsGuestHadWrittenAndTheGuestGoesOn(t *testing.T) {
	const password = "Chang3d: afterwards"
	r := newRig(t, system.Options{})
	guest := r.kernelRamdisk(t, r.demoImages) // it counts on its disk how often it has booted
	var quiet images.UpdateOpts
	for _, name := range []string{"hw_qemu_guest_agent", "os_require_quiesce"} {
		quiet = append(quiet, images.UpdateImageProperty{Op: images.AddOp, Name: name, Value: "yes"})
	}
	_, err := images.Update(t.Context(), r.demoImages, guest, quiet).Extract()
	require.NoError(t, err)
	s := r.create(t, servers.CreateOpts{Name: "web", ImageRef: guest, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	r.active(t, s.ID)
	r.prints(t, s.ID, "writable boots=1")
	r.prints(t, s.ID, "slipway-guest: guest-agent ")

	running := r.imageOf(t, s.ID, "golden")
	require.Contains(t, r.Log(r.Hosts[0]), "a guest was asked to be quiet and to go on")
	require.Equal(t, "qcow2", running.DiskFormat)
	require.Equal(t, 1, running.MinDiskGigabytes)
	require.NotEmpty(t, running.Checksum)
	require.Equal(t, []any{"snapshot", guest, s.ID, "yes"}, []any{
		running.Properties["image_type"], running.Properties["base_image_ref"], running.Properties["instance_uuid"], running.Properties["hw_qemu_guest_agent"],
	})
	require.NoError(t, servers.ChangeAdminPassword(t.Context(), r.demo, s.ID, password).ExtractErr())
	r.prints(t, s.ID, "slipway-guest: password-set root sha256="+sum(password))

	again := r.create(t, servers.CreateOpts{Name: "again", ImageRef: running.ID, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	r.active(t, again.ID)
	r.prints(t, again.ID, "writable boots=2")

	require.NoError(t, servers.Stop(t.Context(), r.demo, s.ID).ExtractErr())
	system.Eventually(t, guestPatience, func() (bool, string) {
		now := r.server(t, s.ID)
		return now.Status == "SHUTOFF" && now.TaskState == "", now.Status
	})
	require.Positive(t, r.imageOf(t, s.ID, "of-one-that-is-off").SizeBytes)
}

// imageOf makes an image of a server, and waits until it is active and the server free.
func (r *rig) imageOf(t *testing.T, id, name string) *images.Image {
	t.Helper()
	imageID, err := servers.CreateImage(t.Context(), r.demo, id, servers.CreateImageOpts{Name: name}).ExtractImageID()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), r.demoImages, imageID).ExtractErr())
	})
	var image *images.Image
	system.Eventually(t, guestPatience, func() (bool, string) {
		if image, err = images.Get(t.Context(), r.demoImages, imageID).Extract(); err != nil {
			return false, err.Error() + r.progress(id)
		}
		return image.Status == images.ImageStatusActive && r.server(t, id).TaskState == "", string(image.Status) + ": " + r.progress(id)
	})
	return image
}
