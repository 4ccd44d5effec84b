package stack

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

func TestOVNTranslatesForAChassisAndComesBack(t *testing.T) {
	ctx := context.Background()
	folder, dir := testenv.OVN(t), t.TempDir()
	central, err := StartOVN(ctx, OVNOptions{Dir: filepath.Join(dir, "central"), Programs: folder})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, central.Stop()) })
	netns := ownNetNS(t)
	chassis, err := StartChassis(ctx, ChassisOptions{
		Dir: filepath.Join(dir, "h1"), Programs: folder, Hostname: "h1", Southbound: central.Southbound, EncapIP: "127.0.0.1", NetNS: netns,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, chassis.Stop()) })

	ask := func(args ...string) string {
		out, err := exec.Command(filepath.Join(folder, "run"), args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	northbound := func(args ...string) string {
		return ask(append([]string{"ovn-nbctl", "--timeout=10", "--db=" + central.Northbound}, args...)...)
	}
	northbound("ls-add", "net1", "--", "lsp-add", "net1", "port1", "--", "lsp-set-addresses", "port1", "02:00:00:00:00:01 10.0.0.2")
	add := exec.Command("nsenter", "--net="+netns, "ip", "tuntap", "add", "tap1", "mode", "tap")
	require.NoError(t, add.Run())
	ask("ovs-vsctl", "--timeout=10", "--db="+chassis.OVSDB, "add-port", "br-int", "tap1", "--", "set", "Interface", "tap1", "external_ids:iface-id=port1")
	up := func() bool { return northbound("get", "Logical_Switch_Port", "port1", "up") == "true" }
	require.Eventually(t, up, time.Minute, 20*time.Millisecond)

	killed := chassis.programs.running[2] // ovn-controller
	pid := killed.Pid()
	require.NoError(t, syscall.Kill(-pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return killed.Restarts() == 1 }, time.Minute, 20*time.Millisecond)
	ask("ovs-vsctl", "--timeout=10", "--db="+chassis.OVSDB, "del-port", "br-int", "tap1")
	require.Eventually(t, func() bool { return !up() }, time.Minute, 20*time.Millisecond)
}

// ownNetNS is the path of a network namespace that goes with the test.
func ownNetNS(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("slipway-test-%d", time.Now().UnixNano())
	require.NoError(t, exec.Command("ip", "netns", "add", name).Run())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	require.NoError(t, exec.Command("ip", "-n", name, "link", "set", "lo", "up").Run())
	return filepath.Join("/run/netns", name)
}
