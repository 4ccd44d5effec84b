package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/diagnostics"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/test/system"
)

// isLookedInto is what is asked of a guest that runs: its agent sets a password, its hypervisor counts, and an NMI reaches it.
func isLookedInto(t *testing.T, r *rig, _ string) {
	const password = "Chang3d: neverwritten"
	image := r.with(t, images.CreateOpts{Name: "with-agent", DiskFormat: "qcow2", ContainerFormat: "bare"}, "slipway-demo.qcow2",
		map[string]string{"hw_qemu_guest_agent": "yes", "os_admin_user": "root"})
	s := r.create(t, servers.CreateOpts{Name: "looked-into", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	r.active(t, s.ID)
	r.prints(t, s.ID, "slipway-guest: guest-agent ")
	require.NoError(t, servers.ChangeAdminPassword(t.Context(), r.demo, s.ID, password).ExtractErr())
	r.prints(t, s.ID, "slipway-guest: password-set root sha256="+sum(password))

	raw, input := r.history(t, s.ID)
	var in contract.ActionInput
	require.NoError(t, r.Converter(t).FromPayloads(input, &in))
	require.Equal(t, password, in.AdminPass, "the history holds the secret, encrypted")
	places := r.kept(t)
	places["the history of server "+s.ID] = raw
	requireNone(t, places, password)

	counted, err := diagnostics.Get(t.Context(), r.admin, s.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "running", counted["state"])
	require.Equal(t, "qemu", counted["hypervisor"])
	disks, _ := counted["disk_details"].([]any)
	require.Len(t, disks, 2)
	require.Positive(t, disks[0].(map[string]any)["read_bytes"], "it has booted from there")
	nics, _ := counted["nic_details"].([]any)
	require.Len(t, nics, 1)

	_, err = r.demo.Post(t.Context(), r.demo.ServiceURL("servers", s.ID, "action"), map[string]any{"trigger_crash_dump": nil}, nil, //nolint:bodyclose // gophercloud closes it
		&gophercloud.RequestOpts{OkCodes: []int{202}})
	require.NoError(t, err)
	r.prints(t, s.ID, "NMI received")
}

// hasNoAgent shows that a server whose image did not ask for an agent's channel takes no password, and has no other trouble by it.
func (r *rig) hasNoAgent(t *testing.T, id string) {
	t.Helper()
	err := servers.ChangeAdminPassword(t.Context(), r.demo, id, "x").ExtractErr()
	require.True(t, gophercloud.ResponseCodeIs(err, 409), "%v", err)
	require.ErrorContains(t, err, "QEMU guest agent is not enabled")
	after := r.server(t, id)
	require.Equal(t, []string{"ACTIVE", ""}, []string{after.Status, after.TaskState})
}

// prints waits until a guest has printed something.
func (r *rig) prints(t *testing.T, id, text string) {
	t.Helper()
	system.Eventually(t, guestPatience, func() (bool, string) {
		printed, err := servers.ShowConsoleOutput(t.Context(), r.demo, id, servers.ShowConsoleOutputOpts{}).Extract()
		return strings.Contains(printed, text), fmt.Sprintf("%v\n%s", err, printed)
	})
}
