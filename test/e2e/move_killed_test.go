package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/test/system"
)

var moves = flag.Int("moves", 0, "in how many more moves, drawn from the seed, a hypervisor dies")

// death is how one end of a move dies, while a step of it is held there.
type death struct {
	destination bool // or the source
	step        string
	mode        faultinject.Mode
	// whole takes the guests and libvirtd along, as a machine that loses its power does; else the host's process is gone alone, and stays
	// away for longer than the move waits for it: nobody can ask there whether a guest runs.
	whole bool
}

func (d death) String() string {
	end, what := "source", "the host's process"
	if d.destination {
		end = "destination"
	}
	if d.whole {
		what = "all"
	}
	return fmt.Sprintf("%s: %s dies, %s %s", end, what, d.mode, d.step)
}

// deaths are those that each run shows, and as many more as were asked for.
func deaths() []death {
	all := []death{
		{destination: true, step: contract.StartDomain, mode: faultinject.HoldAfter},
		{destination: false, step: contract.ReceiveDisks, mode: faultinject.HoldBefore, whole: true},
	}
	random := rand.New(rand.NewPCG(*seed, 1))
	steps := []string{
		contract.StopDomain, contract.OfferDisks, contract.ReceiveDisks, contract.BuildArrived, contract.DefineDomain, contract.StartDomain,
		contract.RecordResize, contract.EndOffer,
	}
	for range *moves {
		all = append(all, death{
			destination: random.IntN(2) == 0, step: steps[random.IntN(len(steps))], whole: random.IntN(2) == 0,
			mode: []faultinject.Mode{faultinject.HoldBefore, faultinject.HoldAfter}[random.IntN(2)],
		})
	}
	return all
}

// TestAHypervisorThatDiesInTheMiddleOfAMoveLeavesOneGuest kills one end of a move with SIGKILL, alone or with its libvirtd and guests: at no
// moment are there two guests, and in the end there is one, of before or the new one, with all that it had flushed.
func TestAHypervisorThatDiesInTheMiddleOfAMoveLeavesOneGuest(t *testing.T) {
	settings, second := hypervisors(t)
	r := newRig(t, system.Options{Hosts: 2, HostSettings: settings, Faults: true, Settings: map[string]any{
		"build": map[string]any{"host_lost": "6s", "host_unavailable": "8s", "undo_patience": "5s", "host_down_after": "6s"},
	}})
	s := r.create(t, servers.CreateOpts{
		Name: "web", ImageRef: r.kernelRamdisk(t, r.demoImages), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: []byte(pattern),
	})
	r.active(t, s.ID)
	m := &mover{rig: r, id: s.ID, sockets: map[string]string{r.Hosts[0]: r.Libvirt.Socket, r.Hosts[1]: second.Socket}}
	stays, dies := r.Hosts[0], r.Hosts[1]
	m.runsOn(t, m.host(t))
	for _, d := range deaths() {
		from := dies
		if d.destination {
			from = stays
		}
		t.Log(d)
		if m.host(t) != from {
			m.migrated(t)
		}
		held, err := r.Faults.Set(faultinject.Rule{Step: d.step, Server: s.ID, Mode: d.mode, Times: 1})
		require.NoError(t, err)
		watched := m.watch(t)
		require.NoError(t, servers.Migrate(t.Context(), r.admin, s.ID).ExtractErr())
		system.Eventually(t, buildPatience, func() (bool, string) {
			reached, err := r.Faults.Injected(held[0])
			return err == nil && len(reached) > 0, fmt.Sprintf("%v: %s", err, r.progress(s.ID))
		})
		if d.whole {
			m.loses(t, dies, second)
		} else {
			r.Lose(dies)
		}
		require.NoError(t, r.Faults.Clear())
		if !d.whole {
			m.goesOn(t)
			r.Restart(dies)
		}
		m.rests(t)
		watched()
		m.runsOn(t, m.host(t))
		out, errs, code := r.Slipway(t, "audit", "-o", "json")
		require.Zero(t, code, "%s: %s%s", d, out, errs)
	}
}

// host is where the server is.
func (m *mover) host(t *testing.T) string {
	t.Helper()
	s, err := servers.Get(t.Context(), m.admin, m.id).Extract()
	require.NoError(t, err)
	return s.Host
}

// rests waits until nothing is done to the server, and confirms a move that is done.
func (m *mover) rests(t *testing.T) {
	t.Helper()
	for _, confirmed := range []bool{false, true} {
		var now *servers.Server
		system.Eventually(t, 2*guestPatience, func() (bool, string) {
			var err error
			if now, err = servers.Get(t.Context(), m.admin, m.id).Extract(); err != nil {
				return false, err.Error()
			}
			return now.TaskState == "" && (now.Status == "ACTIVE" || now.Status == "VERIFY_RESIZE"), now.Status + ", " + now.TaskState + ": " + m.progress(m.id)
		})
		if now.Status == "ACTIVE" || confirmed {
			break
		}
		system.Eventually(t, guestPatience, func() (bool, string) {
			return len(m.guests()) == 1, fmt.Sprintf("the guests of a server that waits for its confirmation: %v", m.guests())
		})
		require.NoError(t, servers.ConfirmResize(t.Context(), m.demo, m.id).ExtractErr())
	}
	m.idle(t, m.id)
}

// goesOn waits until the move waits for its dead host no more: what it has to undo there is parked, or it has ended.
func (m *mover) goesOn(t *testing.T) {
	t.Helper()
	system.Eventually(t, guestPatience, func() (bool, string) {
		s, err := servers.Get(t.Context(), m.admin, m.id).Extract()
		if err != nil || s.TaskState == "" {
			return err == nil, fmt.Sprint(err)
		}
		steps, err := system.Progress(m.temporal, m.id)
		parked := slices.ContainsFunc(steps, func(p contract.StepProgress) bool { return p.State == contract.StepParked })
		return parked, fmt.Sprintf("%v: %s", err, m.progress(m.id))
	})
}

// migrated has the server go to the other host.
func (m *mover) migrated(t *testing.T) {
	t.Helper()
	was := m.host(t)
	require.NoError(t, servers.Migrate(t.Context(), m.admin, m.id).ExtractErr())
	m.rests(t)
	require.NotEqual(t, was, m.host(t))
}

// runsOn holds that the server's guest runs there and nowhere else, and has what it wrote.
func (m *mover) runsOn(t *testing.T, host string) {
	t.Helper()
	m.is(t, "ACTIVE", host, map[string]golibvirt.DomainState{host: golibvirt.DomainRunning})
	require.Equal(t, []string{host}, m.guests())
}

// guests are the hosts on which a process runs a guest of the server, whatever libvirt knows of it.
func (m *mover) guests() (hosts []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		for _, host := range m.Hosts {
			if runs(line, m.folder(host, m.id)) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// runs says whether a process is QEMU with a disk in a folder.
func runs(line, folder string) bool {
	text, _ := os.ReadFile(line)
	program, arguments, _ := strings.Cut(string(text), "\x00")
	return strings.HasPrefix(filepath.Base(program), "qemu-system-") && strings.Contains(arguments, folder+"/disk")
}

// watch looks for two guests until it is asked what it has seen.
func (m *mover) watch(t *testing.T) (seen func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	both := make(chan []string, 1)
	go func() {
		defer close(both)
		for ctx.Err() == nil {
			if found := m.guests(); len(found) > 1 {
				both <- found
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return func() {
		t.Helper()
		cancel()
		require.Empty(t, <-both, "two guests had the server's disks at once")
	}
}

// loses ends a hypervisor as one that loses its power: libvirtd, its guests of the server, and the host's process. All come back by
// themselves but the guests.
func (m *mover) loses(t *testing.T, host string, libvirt *stack.Libvirt) {
	t.Helper()
	pid := libvirt.Pid()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, line := range lines {
		if runs(line, m.folder(host, m.id)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
			require.NoError(t, err)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	m.Kill(host)
}
