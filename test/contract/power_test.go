package contract

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestClientsStopRebootPauseAndSuspend has each client do to a server what it has a word for.
func TestClientsStopRebootPauseAndSuspend(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	s.Flavor(t, "small", 64)
	unchanged(t, s)
	openstack := newTool(t, s, installed(t, "openstack", "python3-openstackclient"), "demo", system.DemoPassword)
	nova := newTool(t, s, installed(t, "nova", "python3-novaclient"), "demo", system.DemoPassword)
	own := newTool(t, s, s.Program(t), "demo", system.DemoPassword)
	own.before = []string{"server"}
	compute, image := system.Compute(t, s.Demo()), system.Image(t, s.Demo())
	f, err := os.Open(noise(t, 1<<20))
	require.NoError(t, err)
	defer f.Close()
	imageID := system.Upload(t, image, images.CreateOpts{Name: "noise", DiskFormat: "raw", ContainerFormat: "bare"}, f)
	made, err := servers.Create(t.Context(), compute, servers.CreateOpts{Name: "web", ImageRef: imageID, FlavorRef: "small", Networks: "none"}, nil).Extract()
	require.NoError(t, err)
	id := made.ID
	rests := func(status string) {
		t.Helper()
		system.Eventually(t, commandPatience, func() (bool, string) {
			now, err := servers.Get(t.Context(), compute, id).Extract()
			require.NoError(t, err)
			return now.Status == status && now.TaskState == "", fmt.Sprintf("%s/%s", now.Status, now.TaskState)
		})
	}
	rests("ACTIVE")

	for _, do := range []struct {
		with    tool
		args    []string
		becomes string
	}{
		{openstack, []string{"server", "pause", "web"}, "PAUSED"},
		{openstack, []string{"server", "unpause", "web"}, "ACTIVE"},
		{openstack, []string{"server", "suspend", "web"}, "SUSPENDED"},
		{openstack, []string{"server", "resume", "web"}, "ACTIVE"},
		{openstack, []string{"server", "reboot", "--soft", "--wait", "web"}, "ACTIVE"},
		{openstack, []string{"server", "stop", "web"}, "SHUTOFF"},
		{openstack, []string{"server", "reboot", "--hard", "--wait", "web"}, "ACTIVE"},
		{nova, []string{"pause", "web"}, "PAUSED"},
		{nova, []string{"unpause", "web"}, "ACTIVE"},
		{nova, []string{"suspend", "web"}, "SUSPENDED"},
		{nova, []string{"resume", "web"}, "ACTIVE"},
		{nova, []string{"reboot", "--poll", "web"}, "ACTIVE"},
		{nova, []string{"pause", "web"}, "PAUSED"},
		{nova, []string{"reboot", "--hard", "--poll", "web"}, "ACTIVE"},
		{own, []string{"pause", "web", "--wait"}, "PAUSED"},
		{own, []string{"unpause", "web", "--wait"}, "ACTIVE"},
		{own, []string{"reboot", "web", "--wait"}, "ACTIVE"},
		{own, []string{"suspend", "web", "--wait"}, "SUSPENDED"},
		{own, []string{"resume", "web", "--wait"}, "ACTIVE"},
		{own, []string{"suspend", "web", "--wait"}, "SUSPENDED"},
		{own, []string{"reboot", "web", "--hard", "--wait"}, "ACTIVE"},
	} {
		do.with.run(t, do.args...)
		rests(do.becomes)
	}
	require.NoError(t, servers.Pause(t.Context(), compute, id).ExtractErr())
	rests("PAUSED")
	refused(t, servers.Suspend(t.Context(), compute, id).ExtractErr(), 409)
	for _, with := range []tool{openstack, nova, own} {
		args := []string{"suspend", "web"}
		if with.path == openstack.path {
			args = append([]string{"server"}, args...)
		}
		_, complaint, code := with.try(t, args...)
		require.NotZero(t, code)
		require.Contains(t, complaint, "Cannot 'suspend' instance "+id+" while it is in vm_state paused")
	}
	require.NoError(t, servers.Unpause(t.Context(), compute, id).ExtractErr())
	rests("ACTIVE")
	require.NoError(t, servers.Suspend(t.Context(), compute, id).ExtractErr())
	rests("SUSPENDED")
	require.NoError(t, servers.Resume(t.Context(), compute, id).ExtractErr())
	rests("ACTIVE")
	require.NoError(t, servers.Reboot(t.Context(), compute, id, servers.RebootOpts{Type: servers.SoftReboot}).ExtractErr())
	rests("ACTIVE")
	own.run(t, "delete", "web", "--wait")
	require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), image, imageID).ExtractErr())
}
