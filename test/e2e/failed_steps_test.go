package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

// ordeals are what is done to each step that runs on a host, or to its undo. test/matrix does more, on a hypervisor that is
// not real.
var ordeals = []ordeal{
	{name: "has its host killed before it", hit: faultinject.Rule{Mode: faultinject.KillBefore}, end: activeHere},
	{name: "has its host killed after it", hit: faultinject.Rule{Mode: faultinject.KillAfter}, end: activeHere},
	{name: "is deleted after it", hit: faultinject.Rule{Mode: faultinject.HoldAfter}, end: deleted},
	{name: "fails after it for good", hit: faultinject.Rule{Mode: faultinject.FailAfter, Kind: fault.Internal}, end: inError},
	{name: "fails after it on this host", hit: faultinject.Rule{Mode: faultinject.FailAfter, Kind: fault.HostUnfit}, end: activeElsewhere},
	{name: "fails three times, then works", undo: true, hit: faultinject.Rule{Mode: faultinject.FailBefore, Times: 3}, end: inError},
}

type ordeal struct {
	name string
	undo bool // it is the step's undo that is hit: the last step on a host fails for good
	hit  faultinject.Rule
	end  ending
}

// ending is how a build ends.
type ending string

const (
	activeHere      ending = "ACTIVE on the host that it began on"
	activeElsewhere ending = "ACTIVE on another host"
	inError         ending = "ERROR"
	deleted         ending = "deleted"
)

// trial is an ordeal of one step.
type trial struct {
	ordeal
	step  string // what is hit
	drive bool   // whether the request asks for a config drive, or for injection
	rules []faultinject.Rule
	fails string // the step that the user is told of

	lane int
	id   string // of the server
}

// trials are all ordeals of all steps. Those that kill come first: they wait for a heartbeat that does not come, and so
// wait together.
func trials() []trial {
	var hostSteps []boot.Step
	for _, row := range boot.Table() {
		if row.Scope == boot.OnHost && row.Name != contract.PlugPort { // these networks stand on bridges: test/matrix has that
			hostSteps = append(hostSteps, row)
		}
	}
	last := hostSteps[len(hostSteps)-1].Name
	var all []trial
	for _, o := range ordeals {
		for _, row := range hostSteps {
			tr := trial{ordeal: o, step: row.Name, drive: row.Name != contract.InjectData, fails: row.Name}
			if o.undo {
				if tr.step, tr.fails = row.Undo, last; row.Undo == "" {
					continue
				}
				tr.rules = []faultinject.Rule{{Step: last, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1}}
			}
			rule := o.hit
			rule.Step, rule.Times = tr.step, max(1, rule.Times)
			tr.rules = append([]faultinject.Rule{rule}, tr.rules...)
			all = append(all, tr)
		}
	}
	return all
}

// TestStepsKilledAndFailedOnLibvirt kills the host's process before and after each step of builds on a real libvirtd, and
// fails, undoes and deletes in between. However a build ends, libvirt, the instance folders, the tables and the audit say
// the same of it; and when its server is deleted nothing is left.
func TestStepsKilledAndFailedOnLibvirt(t *testing.T) {
	const lanes = 4 // trials at once, each with a host of its own and another that may take over
	r := newRig(t, system.Options{
		Faults: true, Hosts: 2 * lanes,
		Zone:     func(i int) string { return lane(i % lanes) },
		Settings: map[string]any{"build": map[string]any{"host_lost": "12s", "undo_patience": "10s", "max_hosts": 2}},
		// Hosts share the run's libvirtd: a server is never on two of them. The one that takes over is the fake, and has so
		// little memory that the scheduler prefers the other.
		HostSettings: func(_ *system.System, i int) map[string]any {
			if i < lanes {
				return map[string]any{"ram_ratio": 4.0}
			}
			return map[string]any{"hypervisor": "fake", "ram_ratio": 0.01}
		},
	})
	r.flavor = r.makeFlavor(t, flavors.CreateOpts{Name: "tiny", RAM: 64, VCPUs: 1, Disk: ptr(1)})
	image := r.upload(t, r.adminImages, images.CreateOpts{Name: "filesystem", DiskFormat: "raw", ContainerFormat: "bare"}, filesystem(t))
	all, n := trials(), 0
	for round := range slices.Chunk(all, lanes) {
		for i := range round {
			round[i].lane = i
		}
		n++
		if !t.Run(fmt.Sprintf("round %d", n), func(t *testing.T) { r.round(t, image, lanes, round) }) {
			return // what is left would be found again and again
		}
	}
	r.clean(t)
}

func lane(i int) string { return fmt.Sprintf("lane-%d", i) }

// filesystem is a disk that guests can be injected into, and cannot boot from.
func filesystem(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filesystem.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	require.NoError(t, os.Truncate(path, 4<<20))
	run(t, "mke2fs", "-q", "-t", "ext4", "-m", "0", path)
	return path
}

// round runs trials at once, each in its own lane.
func (r *rig) round(t *testing.T, image string, lanes int, round []trial) {
	r.remember(t)
	var rules []faultinject.Rule
	for i := range round {
		for j := range round[i].rules {
			rule := &round[i].rules[j]
			rule.ID, rule.Host = uuid.NewString(), r.Hosts[round[i].lane]
			rules = append(rules, *rule)
		}
	}
	_, err := r.Faults.Set(rules...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Faults.Clear()) })
	for i := range round {
		tr := &round[i]
		tr.id = r.create(t, servers.CreateOpts{
			Name: "trial", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: &tr.drive, AvailabilityZone: lane(tr.lane),
		}).ID
	}
	for _, tr := range round {
		switch tr.hit.Mode {
		case faultinject.KillBefore, faultinject.KillAfter:
			killed := r.hits(t, tr, 1)[0]
			system.Eventually(t, buildPatience, func() (bool, string) {
				return syscall.Kill(killed.PID, 0) != nil, killed.Host + " did not kill itself"
			})
			// At once, rather than with the supervisor's growing pauses.
			r.Stop(killed.Host)
			r.Restart(killed.Host)
		case faultinject.HoldAfter:
			r.hits(t, tr, 1)
			system.Eventually(t, buildPatience, func() (bool, string) {
				held, err := r.Faults.Held(tr.rules[0].ID)
				return err == nil && len(held) == 1, fmt.Sprintf("%s is not held (%v)", tr.step, err)
			})
			require.NoError(t, servers.Delete(t.Context(), r.demo, tr.id).ExtractErr())
		}
	}
	for _, tr := range round {
		t.Run(tr.step+" "+tr.name, func(t *testing.T) { r.ends(t, tr, lanes) })
	}
	r.clean(t)
	require.NoError(t, r.Faults.Clear())
	for _, tr := range round { // all at once: the clean-up of each then finds it gone
		if tr.end != deleted {
			require.NoError(t, servers.Delete(t.Context(), r.demo, tr.id).ExtractErr())
		}
	}
}

// hits waits until the trial's rule has taken that many calls.
func (r *rig) hits(t *testing.T, tr trial, times int) (taken []faultinject.Injection) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		var err error
		taken, err = r.Faults.Injected(tr.rules[0].ID)
		return err == nil && len(taken) >= times, fmt.Sprintf("%s was hit %d times, not %d (%v): %s", tr.step, len(taken), times, err, r.progress(tr.id))
	})
	for _, i := range taken {
		require.Equal(t, tr.step, i.Step)
		require.Equal(t, tr.id, i.Server)
	}
	return taken
}

// ends holds that a trial ends as it should, and that everything agrees on it.
func (r *rig) ends(t *testing.T, tr trial, lanes int) {
	require.Len(t, r.hits(t, tr, tr.rules[0].Times), tr.rules[0].Times, "injections")
	r.idle(t, tr.id)
	host, spare := r.Hosts[tr.lane], r.Hosts[lanes+tr.lane]
	on := ""
	switch tr.end {
	case activeHere:
		on = host
	case activeElsewhere:
		on = spare
	case deleted:
		r.gone(t, tr.id)
		r.agree(t, tr.id, "", spare)
		return
	}
	s := r.settled(t, tr.id)
	if on == "" {
		require.Equal(t, "ERROR", s.Status, r.progress(tr.id))
		require.Equal(t, tr.fails+" was made to fail by a test", s.Fault.Message, "the first failure is the one that the user sees")
	} else {
		require.Equal(t, "ACTIVE", s.Status, "%s\n%s", s.Fault.Message, r.progress(tr.id))
		placed, err := r.Store.Server(t.Context(), tr.id)
		require.NoError(t, err)
		require.Equal(t, on, placed.Host.Hostname, r.progress(tr.id))
		rooms, err := r.Store.Placements(t.Context(), tr.id)
		require.NoError(t, err)
		require.Len(t, rooms, 1)
		require.Equal(t, placed.Host.ID, rooms[0].HostID, "room is held on another host than the server is on")
	}
	r.agree(t, tr.id, on, spare)
}

// agree holds that all that can be seen of a server is what it has on a host ("": nowhere), once.
func (r *rig) agree(t *testing.T, id, on, fake string) {
	t.Helper()
	seen := map[string]int{}
	world := r.World(t)
	for _, table := range []string{"claims", "placements", "ports"} {
		for _, row := range world[table] {
			if strings.Contains(row, id) {
				seen[table]++
			}
		}
	}
	for _, hostname := range r.Hosts {
		for what, path := range map[string]string{
			"folder on ":      r.folder(hostname, id),
			"fake domain on ": filepath.Join(r.HostState(hostname), "fake", id+".json"),
		} {
			if _, err := os.Stat(path); err == nil {
				seen[what+hostname]++
			}
		}
	}
	out, err := exec.Command("virsh", "-q", "-c", "qemu+unix:///system?socket="+r.Libvirt.Socket, "list", "--all").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.Contains(line, id) {
			require.Equal(t, "slipway-"+id, fields[1])
			seen["virsh list: "+strings.Join(fields[2:], " ")]++
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range processes {
		command, err := os.ReadFile(path)
		if program, _, _ := bytes.Cut(command, []byte{0}); err == nil && strings.Contains(string(program), "qemu-system") && bytes.Contains(command, []byte(id)) {
			seen["QEMU"]++
		}
	}
	has := map[string]int{}
	if on != "" {
		has = map[string]int{"claims": 1, "placements": 1, "ports": 1, "folder on " + on: 1}
		if on == fake {
			has["fake domain on "+on] = 1
		} else {
			has["virsh list: running"], has["QEMU"] = 1, 1
		}
	}
	require.Equal(t, has, seen, "what is there of server %s: %s", id, r.progress(id))
}

// clean runs an audit as an operator does, and holds that it looked at everything and found nothing.
func (r *rig) clean(t *testing.T) {
	t.Helper()
	out, complaint, code := r.Slipway(t, "audit", "-o", "json")
	require.Zero(t, code, "slipway audit: %s%s", out, complaint)
	var told struct {
		Audit struct {
			State string
			Hosts int
			Seen  int `json:"hosts_looked_at"`
		}
		Findings []any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &told), "%s", out)
	require.Empty(t, told.Findings)
	require.Equal(t, "done", told.Audit.State)
	require.Equal(t, len(r.Hosts), told.Audit.Hosts)
	require.Equal(t, len(r.Hosts), told.Audit.Seen)
}
