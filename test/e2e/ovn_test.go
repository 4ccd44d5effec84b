package e2e

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// neighbour gives two megabytes to whoever asks, and says on its console when it has all of its neighbour's; both have the same.
const neighbour = `#!/bin/sh
nc -ll -p 7000 -e cat /bin/busybox &
(
	while :; do
		nc -w 2 %[1]s 7000 </dev/null >/tmp/got
		[ "$(sha256sum </tmp/got)" != "$(sha256sum </bin/busybox)" ] || break
		sleep 1
	done
	echo "got all $(stat -c %%s /tmp/got) bytes of %[1]s in boot $(cat /proc/sys/kernel/random/boot_id)."
) >/dev/console 2>/dev/null &
`

// stranger says what the metadata service of its network takes it for, and again and again whether it reaches a server of another network.
const stranger = `#!/bin/sh
(
	ip route add 169.254.169.254 dev eth0
	until name=$(wget -q -O - http://169.254.169.254/latest/meta-data/hostname); do sleep 1; done
	echo "it is served as $name."
	while :; do
		if ping -c 1 -W 1 %[1]s >/dev/null || nc -w 1 %[1]s 7000 </dev/null | grep -q .; then reached=yes; fi
		if [ "$reached" ]; then echo "it strays"; else echo "it is alone"; fi
		sleep 1
	done
) >/dev/console 2>/dev/null &
`

// fabric is OVN with a chassis for each of two hosts that are on one machine.
type fabric struct {
	programs, dir string
	central       *stack.OVN
}

func (f fabric) chassis(i int) string { return filepath.Join(f.dir, fmt.Sprintf("hv%d", i+1)) }
func (f fabric) ovsdb(i int) string   { return "unix:" + filepath.Join(f.chassis(i), "conf.sock") }

func (f fabric) ask(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(f.programs, "run"), args...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (f fabric) northbound(t *testing.T, args ...string) string {
	t.Helper()
	return f.ask(t, append([]string{"ovn-nbctl", "--timeout=10", "--db=" + f.central.Northbound}, args...)...)
}

// plugged are the taps in a host's switch.
func (f fabric) plugged(t *testing.T, i int) []string {
	t.Helper()
	return strings.Fields(f.ask(t, "ovs-vsctl", "--timeout=10", "--db="+f.ovsdb(i), "--bare", "--columns=name", "find", "Interface", `external_ids:iface-status="active"`))
}

func (f fabric) start(t *testing.T, i int, hostname, netns string) {
	t.Helper()
	chassis, err := stack.StartChassis(t.Context(), stack.ChassisOptions{
		Dir: f.chassis(i), Programs: f.programs, Hostname: hostname, Southbound: f.central.Southbound, NetNS: netns, EncapIP: fmt.Sprintf("192.0.2.%d", i+1),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, chassis.Stop()) })
	require.Equal(t, f.ovsdb(i), chassis.OVSDB)
}

// TestGuestsOfOneNetworkReachEachOtherFromHostToHost has guests on two hosts whose ports OVN switches, and believes the guests, OVN, and
// the hosts' switches.
func TestGuestsOfOneNetworkReachEachOtherFromHostToHost(t *testing.T) {
	f := fabric{programs: testenv.OVN(t), dir: t.TempDir()}
	var err error
	f.central, err = stack.StartOVN(t.Context(), stack.OVNOptions{Dir: filepath.Join(f.dir, "central"), Programs: f.programs})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.central.Stop()) })
	sockets, second := hypervisors(t)
	r := newRig(t, system.Options{
		Hosts: 2, Settings: map[string]any{"network": map[string]any{"engine": "ovn", "ovn_nb": f.central.Northbound}},
		HostSettings: func(s *system.System, i int) map[string]any {
			settings := map[string]any{"ovsdb": f.ovsdb(i)}
			for setting, value := range sockets(s, i) {
				settings[setting] = value
			}
			return settings
		},
	})
	image := r.kernelRamdisk(t, r.demoImages)
	f.start(t, 0, r.Hosts[0], testenv.Libvirt(t).NetNS)
	f.start(t, 1, r.Hosts[1], second.Netns())
	require.NoError(t, stack.LayWire(t.Context(), f.programs,
		stack.WireEnd{Dir: f.chassis(1), Interface: "wire"}, stack.WireEnd{Dir: f.chassis(0), Interface: "w-hv2"}))

	neutron := system.Network(t, r.Demo())
	subnet, err := subnets.Get(t.Context(), neutron, r.network.Subnets[0]).Extract()
	require.NoError(t, err)
	cidr, err := netip.ParsePrefix(subnet.CIDR)
	require.NoError(t, err)
	address := func(n byte) string {
		of := cidr.Masked().Addr().As4()
		of[3] += n
		return netip.AddrFrom4(of).String()
	}
	firstIP, secondIP, thirdIP := address(51), address(52), address(53)
	elsewhere, err := networks.Create(t.Context(), neutron, networks.CreateOpts{Name: "elsewhere"}).Extract()
	require.NoError(t, err)
	_, err = subnets.Create(t.Context(), neutron, subnets.CreateOpts{NetworkID: elsewhere.ID, CIDR: subnet.CIDR, IPVersion: 4}).Extract()
	require.NoError(t, err)

	boot := func(name, network, ip, userData string, hints servers.SchedulerHintOptsBuilder) (id, port string) {
		t.Helper()
		s, err := servers.Create(t.Context(), r.demo, servers.CreateOpts{
			Name: name, ImageRef: image, FlavorRef: r.flavor, ConfigDrive: ptr(true), UserData: []byte(userData),
			Networks: []servers.Network{{UUID: network, FixedIP: ip}},
		}, hints).Extract()
		require.NoError(t, err)
		t.Cleanup(func() { r.deleted(t, s.ID) })
		r.active(t, s.ID)
		port, err = ids.Port(s.ID, 0)
		require.NoError(t, err)
		return s.ID, port
	}
	host := func(id string) int {
		t.Helper()
		s, err := servers.Get(t.Context(), r.admin, id).Extract()
		require.NoError(t, err)
		if s.Host == r.Hosts[1] {
			return 1
		}
		return 0
	}
	// says waits until a console has a line like that, but for one, and answers what it has in brackets.
	says := func(id, like, not string) (said string) {
		t.Helper()
		line := regexp.MustCompile(like)
		system.Eventually(t, guestPatience, func() (bool, string) {
			console, err := servers.ShowConsoleOutput(t.Context(), r.demo, id, servers.ShowConsoleOutputOpts{}).Extract()
			for _, found := range line.FindAllStringSubmatch(console, -1) {
				said = found[1]
			}
			return said != not, fmt.Sprintf("%v %s", err, console)
		})
		return said
	}
	firstID, firstPort := boot("first", r.network.ID, firstIP, fmt.Sprintf(neighbour, secondIP), nil)
	secondID, secondPort := boot("second", r.network.ID, secondIP, fmt.Sprintf(neighbour, firstIP), servers.SchedulerHintOpts{DifferentHost: []string{firstID}})
	thirdID, thirdPort := boot("third", elsewhere.ID, thirdIP, fmt.Sprintf(stranger, secondIP), nil)
	firstTap, secondTap := ids.Tap(firstPort), ids.Tap(secondPort)
	of := host(firstID)
	require.NotEqual(t, of, host(secondID))
	require.Contains(t, f.plugged(t, of), firstTap)
	require.NotContains(t, f.plugged(t, 1-of), firstTap)
	require.Contains(t, f.plugged(t, 1-of), secondTap)
	require.Equal(t, "true", f.northbound(t, "get", "Logical_Switch_Port", firstPort, "up"))
	got := "got all [0-9]{6,} bytes of %s in boot ([-0-9a-f]+)\\."
	before := says(firstID, fmt.Sprintf(got, secondIP), "")
	says(secondID, fmt.Sprintf(got, firstIP), "")

	// It moves, with its address and to its neighbour.
	require.NoError(t, servers.Migrate(t.Context(), r.admin, firstID).ExtractErr())
	system.Eventually(t, buildPatience, func() (bool, string) {
		now := r.server(t, firstID)
		return now.Status == "VERIFY_RESIZE" && now.TaskState == "", now.Status + " " + r.progress(firstID)
	})
	require.Contains(t, f.plugged(t, 1-of), firstTap)
	require.NotContains(t, f.plugged(t, of), firstTap)
	says(firstID, fmt.Sprintf(got, secondIP), before)
	require.Equal(t, "is alone", says(thirdID, "it (is alone|strays)", ""))
	require.Equal(t, "third", says(thirdID, "it is served as (.*)\\.", ""))

	for _, id := range []string{firstID, secondID, thirdID} {
		r.deleted(t, id)
	}
	for i, netns := range []string{testenv.Libvirt(t).NetNS, second.Netns()} {
		// The metadata services of networks go behind the last guest of each.
		system.Eventually(t, gonePatience, func() (bool, string) {
			left := f.plugged(t, i)
			return len(left) == 0, fmt.Sprintf("the switch has %v", left)
		})
		out, err := exec.Command("nsenter", "--net="+netns, "ip", "-br", "link").CombinedOutput()
		require.NoError(t, err, string(out))
		require.NotContains(t, string(out), firstTap)
		require.NotContains(t, string(out), secondTap)
	}
	system.Eventually(t, gonePatience, func() (bool, string) {
		left := f.northbound(t, "--bare", "--columns=name", "list", "Logical_Switch_Port")
		there := func(port string) bool { return strings.Contains(left, port) }
		return !slices.ContainsFunc([]string{firstPort, secondPort, thirdPort}, there), "OVN has " + left
	})
}
