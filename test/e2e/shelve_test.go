package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestAShelvedGuestIsBuiltAnewWithAllThatItWroteAndLeansOnNoImage(t *testing.T) {
	r := newRig(t, system.Options{})
	// It counts on its disk how often it has booted.
	s := r.create(t, servers.CreateOpts{
		Name: "web", ImageRef: r.kernelRamdisk(t, r.demoImages), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), AdminPass: "s3cret: of the build",
	})
	before := r.active(t, s.ID)
	r.prints(t, s.ID, "writable boots=1")
	told := r.told(t, s.ID)
	rests := func(status string) *servers.Server {
		t.Helper()
		var now *servers.Server
		system.Eventually(t, guestPatience, func() (bool, string) {
			now = r.server(t, s.ID)
			return now.TaskState == "" && now.Status == status, now.Status + ", " + now.TaskState + ": " + r.progress(s.ID)
		})
		return now
	}

	require.NoError(t, servers.Shelve(t.Context(), r.demo, s.ID).ExtractErr())
	rests("SHELVED_OFFLOADED")
	require.NoDirExists(t, r.folder(r.Hosts[0], s.ID))
	require.NotContains(t, r.domains(t), s.ID)
	held, err := r.Store.Placements(t.Context(), s.ID)
	require.NoError(t, err)
	require.Empty(t, held)
	shelved := r.named(t, "web-shelved")
	require.Len(t, shelved, 1)
	require.Equal(t, []any{images.ImageStatusActive, s.ID}, []any{shelved[0].Status, shelved[0].Properties["instance_uuid"]})

	require.NoError(t, servers.Unshelve(t.Context(), r.demo, s.ID, servers.UnshelveOpts{}).ExtractErr())
	now := rests("ACTIVE")
	require.Equal(t, lifecycle.Running, int(now.PowerState))
	require.Equal(t, []any{before.Addresses, before.Image["id"]}, []any{now.Addresses, now.Image["id"]})
	r.prints(t, s.ID, "writable boots=2")
	require.Equal(t, told, r.told(t, s.ID), "what a config drive says of it is the same")
	require.Empty(t, r.named(t, "web-shelved"))

	// Its domain is made anew of its disk alone.
	require.NoError(t, servers.Reboot(t.Context(), r.demo, s.ID, servers.RebootOpts{Type: servers.HardReboot}).ExtractErr())
	rests("ACTIVE")
	r.prints(t, s.ID, "writable boots=3")
}

// named are the images of a name.
func (r *rig) named(t *testing.T, name string) []images.Image {
	t.Helper()
	pages, err := images.List(r.demoImages, images.ListOpts{Name: name}).AllPages(t.Context())
	require.NoError(t, err)
	all, err := images.ExtractImages(pages)
	require.NoError(t, err)
	return all
}

// told are the lines of a guest's console that say what it was told of itself, without those that differ from boot to boot.
func (r *rig) told(t *testing.T, id string) []string {
	t.Helper()
	return slices.DeleteFunc(r.console(t, id), func(line string) bool {
		return strings.Contains(line, "boots=") || strings.Contains(line, "dhcp") || strings.HasPrefix(line, "ready") || strings.HasPrefix(line, "guest-agent")
	})
}
