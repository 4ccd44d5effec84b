package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

// beating prints which boot of the guest this is, and a number that grows for as long as its memory lasts.
const beating = `#!/bin/sh
read -r boot </proc/sys/kernel/random/boot_id
(n=0; while sleep 1; do n=$((n + 1)); echo "slipway-guest: beat $boot $n"; done) >/dev/console 2>&1 </dev/null &
`

var beats = regexp.MustCompile(`slipway-guest: beat ([0-9a-f-]{36}) ([0-9]+)\r?\n`)

// TestAServersGuestGoesOnOrBeginsAnewAsItsActionsSay is pause, suspend and both reboots of one real guest.
func TestAServersGuestGoesOnOrBeginsAnewAsItsActionsSay(t *testing.T) {
	r := newRig(t, system.Options{HostSettings: func(*system.System, int) map[string]any { return map[string]any{"resume_guests": true} }})
	// A soft reboot of a guest that does not listen would take an hour.
	image := r.with(t, images.CreateOpts{Name: "listens", DiskFormat: "qcow2", ContainerFormat: "bare"}, "slipway-demo.qcow2",
		map[string]string{"os_shutdown_timeout": "3600"})
	id := r.create(t, servers.CreateOpts{Name: "beats", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: []byte(beating)}).ID
	r.active(t, id)
	becomes := func(status string, power int) {
		t.Helper()
		system.Eventually(t, guestPatience, func() (bool, string) {
			s := r.server(t, id)
			return s.Status == status && s.TaskState == "" && int(s.PowerState) == power, fmt.Sprintf("%s/%s, power %d: %s", s.Status, s.TaskState, s.PowerState, r.progress(id))
		})
	}
	// beat waits for one behind another, of the same boot or of a new one.
	beat := func(boot string, n int, same bool) (string, int) {
		t.Helper()
		system.Eventually(t, guestPatience, func() (bool, string) {
			text, err := servers.ShowConsoleOutput(t.Context(), r.demo, id, servers.ShowConsoleOutputOpts{}).Extract()
			if err != nil {
				return false, err.Error()
			}
			all := beats.FindAllStringSubmatch(text, -1)
			if len(all) == 0 {
				return false, text
			}
			last := all[len(all)-1]
			count, err := strconv.Atoi(last[2])
			require.NoError(t, err)
			if boot != "" && same {
				require.Equal(t, boot, last[1], "another guest came")
			}
			if last[1] == boot && (!same || count <= n) {
				return false, text
			}
			boot, n = last[1], count
			return true, ""
		})
		return boot, n
	}
	boot, n := beat("", 0, true)

	require.NoError(t, servers.Pause(t.Context(), r.demo, id).ExtractErr())
	becomes("PAUSED", lifecycle.PausedGuest)
	require.Equal(t, golibvirt.DomainPaused, r.domainState(t, id))
	require.NoError(t, servers.Unpause(t.Context(), r.demo, id).ExtractErr())
	becomes("ACTIVE", lifecycle.Running)
	_, n = beat(boot, n, true)

	require.NoError(t, servers.Suspend(t.Context(), r.demo, id).ExtractErr())
	becomes("SUSPENDED", lifecycle.Shutdown)
	require.Equal(t, golibvirt.DomainShutoff, r.domainState(t, id))
	r.Lose(r.Hosts[0])
	r.Restart(r.Hosts[0])
	r.hostIsReady(t)
	require.Equal(t, golibvirt.DomainShutoff, r.domainState(t, id), "a host that comes back leaves it as it is")
	require.NoError(t, servers.Resume(t.Context(), r.demo, id).ExtractErr())
	becomes("ACTIVE", lifecycle.Running)
	_, n = beat(boot, n, true)

	require.NoError(t, servers.Reboot(t.Context(), r.demo, id, servers.RebootOpts{Type: servers.SoftReboot}).ExtractErr())
	becomes("ACTIVE", lifecycle.Running)
	boot, n = beat(boot, n, false)

	// It runs on, and is defined no more.
	r.onLibvirt(t, func(l *golibvirt.Libvirt, domain golibvirt.Domain) { require.NoError(t, l.DomainUndefine(domain)) }, id)
	require.NoError(t, servers.Reboot(t.Context(), r.demo, id, servers.RebootOpts{Type: servers.HardReboot}).ExtractErr())
	becomes("ACTIVE", lifecycle.Running)
	boot, n = beat(boot, n, false)
	r.onLibvirt(t, func(l *golibvirt.Libvirt, domain golibvirt.Domain) {
		kept, err := l.DomainIsPersistent(domain)
		require.NoError(t, err)
		require.EqualValues(t, 1, kept)
	}, id)

	require.NoError(t, servers.Suspend(t.Context(), r.demo, id).ExtractErr())
	becomes("SUSPENDED", lifecycle.Shutdown)
	require.NoError(t, servers.Reboot(t.Context(), r.demo, id, servers.RebootOpts{Type: servers.HardReboot}).ExtractErr())
	becomes("ACTIVE", lifecycle.Running)
	beat(boot, n, false)

	require.NoError(t, servers.Suspend(t.Context(), r.demo, id).ExtractErr())
	becomes("SUSPENDED", lifecycle.Shutdown)
	r.deleted(t, id)
}

func (r *rig) onLibvirt(t *testing.T, do func(*golibvirt.Libvirt, golibvirt.Domain), id string) {
	t.Helper()
	l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(r.Libvirt.Socket)))
	require.NoError(t, l.Connect())
	defer func() { require.NoError(t, l.Disconnect()) }()
	domain, err := l.DomainLookupByUUID(golibvirt.UUID(uuid.MustParse(id)))
	require.NoError(t, err)
	do(l, domain)
}

func (r *rig) domainState(t *testing.T, id string) (is golibvirt.DomainState) {
	t.Helper()
	r.onLibvirt(t, func(l *golibvirt.Libvirt, domain golibvirt.Domain) {
		state, _, err := l.DomainGetState(domain, 0)
		require.NoError(t, err)
		is = golibvirt.DomainState(state)
	}, id)
	return is
}
