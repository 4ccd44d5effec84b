package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

// pattern writes once what cannot be guessed, and says at each boot whether it is still what it was.
const pattern = `#!/bin/sh
cd /var/lib/slipway-guest || exit
if [ -f pattern ]; then
	sha256sum -c pattern.sum >/dev/null && echo "kept $(cat pattern.sum)"
else
	dd if=/dev/urandom of=pattern bs=64k count=64 2>/dev/null
	sha256sum pattern >pattern.sum
	sync
	echo "wrote $(cat pattern.sum)"
fi
grep MemTotal /proc/meminfo
`

var (
	patternSum  = regexp.MustCompile(`user-data> (wrote|kept) ([0-9a-f]{64}) `)
	totalMemory = regexp.MustCompile(`MemTotal: +([0-9]+) kB`)
)

// hypervisors are two libvirtd, that of the run and one of the test's own, on one machine.
func hypervisors(t *testing.T) (settings func(*system.System, int) map[string]any, second *stack.Libvirt) {
	t.Helper()
	second = system.OwnLibvirt(t)
	return func(_ *system.System, i int) map[string]any {
		if i == 1 {
			return map[string]any{"libvirt_socket": second.Socket}
		}
		return nil
	}, second
}

// mover is a server that moves between two hypervisors, and its guest.
type mover struct {
	*rig
	id      string
	sum     string
	sockets map[string]string // by hostname
}

// states are those of its domain on each host; "" is none.
func (m *mover) states(t *testing.T) map[string]golibvirt.DomainState {
	t.Helper()
	found := map[string]golibvirt.DomainState{}
	for host, socket := range m.sockets {
		l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(socket)))
		require.NoError(t, l.Connect())
		if d, err := l.DomainLookupByUUID(golibvirt.UUID(uuid.MustParse(m.id))); err == nil {
			state, _, err := l.DomainGetState(d, 0)
			require.NoError(t, err)
			found[host] = golibvirt.DomainState(state)
		}
		require.NoError(t, l.Disconnect())
	}
	return found
}

// is waits until the server is what it is to be, and its guest has booted there with all that it wrote.
func (m *mover) is(t *testing.T, status, host string, guests map[string]golibvirt.DomainState) (memoryKiB int) {
	t.Helper()
	var at string
	system.Eventually(t, guestPatience, func() (bool, string) {
		s, err := servers.Get(t.Context(), m.admin, m.id).Extract()
		if err != nil {
			return false, err.Error()
		}
		at = s.Host
		return s.TaskState == "" && s.Status == status, s.Status + ", " + s.TaskState + ": " + m.progress(m.id)
	})
	require.Equal(t, host, at)
	system.Eventually(t, gonePatience, func() (bool, string) { // what is left is removed by a clean-up
		is := m.states(t)
		return fmt.Sprint(is) == fmt.Sprint(guests), fmt.Sprint(is)
	})
	var log string
	system.Eventually(t, guestPatience, func() (bool, string) {
		var err error
		log, err = servers.ShowConsoleOutput(t.Context(), m.demo, m.id, servers.ShowConsoleOutputOpts{}).Extract()
		return err == nil && strings.Contains(log, "slipway-guest: ready in "), fmt.Sprintf("%v: %s", err, log)
	})
	said := patternSum.FindAllStringSubmatch(log, -1)
	require.NotEmpty(t, said, log)
	last := said[len(said)-1]
	if m.sum == "" {
		m.sum = last[2]
	} else {
		require.Equal(t, []string{"kept", m.sum}, last[1:], "nothing is lost that was flushed")
	}
	memory := totalMemory.FindAllStringSubmatch(log, -1)
	require.NotEmpty(t, memory, log)
	memoryKiB, err := strconv.Atoi(memory[len(memory)-1][1])
	require.NoError(t, err)
	return memoryKiB
}

func TestAGuestMovesToAnotherHypervisorWithAllThatItWroteAndComesBack(t *testing.T) {
	settings, second := hypervisors(t)
	r := newRig(t, system.Options{Hosts: 2, HostSettings: settings, Settings: map[string]any{"build": map[string]any{"allow_resize_to_same_host": false}}})
	large := r.makeFlavor(t, flavors.CreateOpts{Name: "m1.micro", RAM: 192, VCPUs: 1, Disk: ptr(2)})
	s := r.create(t, servers.CreateOpts{
		Name: "web", ImageRef: r.kernelRamdisk(t, r.demoImages), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: []byte(pattern),
	})
	before := r.active(t, s.ID)
	m := &mover{rig: r, id: s.ID, sockets: map[string]string{r.Hosts[0]: r.Libvirt.Socket, r.Hosts[1]: second.Socket}}
	shown, err := servers.Get(t.Context(), r.admin, s.ID).Extract()
	require.NoError(t, err)
	from, to := shown.Host, r.Hosts[0]
	if from == to {
		to = r.Hosts[1]
	}
	const runs, off = golibvirt.DomainRunning, golibvirt.DomainShutoff
	small := m.is(t, "ACTIVE", from, map[string]golibvirt.DomainState{from: runs})

	stdout, stderr, code := r.Slipway(t, "server", "migrate", s.ID, "--wait")
	require.Zero(t, code, "%s %s", stdout, stderr)
	require.Contains(t, stderr, "which is on "+to)
	require.Equal(t, small, m.is(t, "VERIFY_RESIZE", to, map[string]golibvirt.DomainState{from: off, to: runs}))
	require.NoError(t, servers.RevertResize(t.Context(), r.demo, s.ID).ExtractErr())
	m.is(t, "ACTIVE", from, map[string]golibvirt.DomainState{from: runs})

	require.NoError(t, servers.Migrate(t.Context(), r.admin, s.ID).ExtractErr())
	m.is(t, "VERIFY_RESIZE", to, map[string]golibvirt.DomainState{from: off, to: runs})
	require.NoError(t, servers.ConfirmResize(t.Context(), r.demo, s.ID).ExtractErr())
	m.is(t, "ACTIVE", to, map[string]golibvirt.DomainState{to: runs})
	r.idle(t, s.ID)
	require.NoDirExists(t, r.folder(from, s.ID))

	require.NoError(t, servers.Resize(t.Context(), r.demo, s.ID, servers.ResizeOpts{FlavorRef: large}).ExtractErr())
	require.Greater(t, m.is(t, "VERIFY_RESIZE", from, map[string]golibvirt.DomainState{to: off, from: runs}), small)
	stdout, stderr, code = r.Slipway(t, "audit")
	require.Zero(t, code, "it knows of both: %s %s", stdout, stderr)
	require.NoError(t, servers.RevertResize(t.Context(), r.demo, s.ID).ExtractErr())
	require.Equal(t, small, m.is(t, "ACTIVE", to, map[string]golibvirt.DomainState{to: runs}))
	now := r.server(t, s.ID)
	require.Equal(t, []any{before.Addresses, lifecycle.Running}, []any{now.Addresses, int(now.PowerState)})

	require.NoError(t, servers.Resize(t.Context(), r.demo, s.ID, servers.ResizeOpts{FlavorRef: large}).ExtractErr())
	m.is(t, "VERIFY_RESIZE", from, map[string]golibvirt.DomainState{to: off, from: runs})
	r.deleted(t, s.ID)
	require.Empty(t, m.states(t), "a delete takes both")
}
