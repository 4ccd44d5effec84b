package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestServersOfNetworksThatOVNSwitches builds guests whose ports their host plugs, and believes the guests, OVN and the switch.
func TestServersOfNetworksThatOVNSwitches(t *testing.T) {
	programs, dir := testenv.OVN(t), t.TempDir()
	central, err := stack.StartOVN(t.Context(), stack.OVNOptions{Dir: filepath.Join(dir, "central"), Programs: programs})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, central.Stop()) })
	chassisDir := filepath.Join(dir, "chassis")
	ovsdb := "unix:" + filepath.Join(chassisDir, "conf.sock")
	r := newRig(t, system.Options{
		Settings:     map[string]any{"network": map[string]any{"engine": "ovn", "ovn_nb": central.Northbound}},
		HostSettings: func(*system.System, int) map[string]any { return map[string]any{"ovsdb": ovsdb} },
	})
	image := r.wholeDisk(t, r.adminImages)

	chassis, err := stack.StartChassis(t.Context(), stack.ChassisOptions{
		Dir: chassisDir, Programs: programs, Hostname: r.Hosts[0], Southbound: central.Southbound, EncapIP: "127.0.0.1", NetNS: testenv.Libvirt(t).NetNS,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, chassis.Stop()) })
	require.Equal(t, ovsdb, chassis.OVSDB)
	ask := func(args ...string) string {
		out, err := exec.Command(filepath.Join(programs, "run"), args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return strings.TrimSpace(string(out))
	}
	plugged := func() []string {
		return strings.Fields(ask("ovs-vsctl", "--timeout=10", "--db="+ovsdb, "--bare", "--columns=name", "find", "Interface", `external_ids:iface-status="active"`))
	}
	first := r.create(t, servers.CreateOpts{Name: "first", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	firstIP, _ := address(t, r.active(t, first.ID))
	second := r.create(t, servers.CreateOpts{
		Name: "second", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true),
		UserData: []byte("#!/bin/sh\nwhile ! ping -c 1 -W 1 " + firstIP + " >/dev/null; do sleep 1; done\necho reached\n" +
			"ip route add 169.254.169.254 dev eth0\nuntil name=$(wget -q -O - http://169.254.169.254/latest/meta-data/hostname); do sleep 1; done\necho served $name\n"),
	})
	r.active(t, second.ID)
	port, err := ids.Port(first.ID, 0)
	require.NoError(t, err)
	require.Contains(t, r.domains(t)[first.ID], "<target dev='"+ids.Tap(port)+"' managed='no'/>")
	require.Len(t, plugged(), 2)
	require.Contains(t, plugged(), ids.Tap(port))
	require.Equal(t, "true", ask("ovn-nbctl", "--timeout=10", "--db="+central.Northbound, "get", "Logical_Switch_Port", port, "up"))
	require.Contains(t, r.console(t, second.ID), "user-data> reached")
	require.Contains(t, r.console(t, second.ID), "user-data> served second")

	// Off, its port is nowhere; on again, it is there again.
	becomes := func(id, status string) {
		t.Helper()
		system.Eventually(t, buildPatience, func() (bool, string) {
			now := r.server(t, id)
			return now.Status == status && now.TaskState == "", now.Status + " " + r.progress(id)
		})
	}
	require.NoError(t, servers.Stop(t.Context(), r.demo, first.ID).ExtractErr())
	becomes(first.ID, "SHUTOFF")
	require.Len(t, plugged(), 1)
	require.NoError(t, servers.Start(t.Context(), r.demo, first.ID).ExtractErr())
	becomes(first.ID, "ACTIVE")
	require.Contains(t, plugged(), ids.Tap(port))

	r.deleted(t, first.ID)
	r.deleted(t, second.ID)
	require.Empty(t, plugged())
	system.Eventually(t, buildPatience, func() (bool, string) {
		left := ask("ovs-vsctl", "--timeout=10", "--db="+ovsdb, "--bare", "--columns=name", "find", "Interface", `external_ids:slipway-metadata!=""`)
		return left == "", "metadata services of networks without guests: " + left
	})
	out, err := exec.Command("nsenter", "--net="+testenv.Libvirt(t).NetNS, "ip", "-br", "link").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), ids.Tap(port))
}
