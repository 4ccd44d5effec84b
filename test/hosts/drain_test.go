package hosts

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

// guest is that of a server on a host.
func (r *rig) guest(t *testing.T, host, id string) hypervisor.State {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.HostState(host), "fake", id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return hypervisor.Absent
	}
	require.NoError(t, err)
	var domain fake.Record
	require.NoError(t, json.Unmarshal(text, &domain))
	return domain.State
}

// drained is what `slipway host drain` tells.
type drained struct {
	Phase     string
	Moved     int
	Moving    []drainedServer
	Failed    []drainedServer
	Busy      []drainedServer
	Stays     []drainedServer
	Leftovers int
}

type drainedServer struct {
	ServerID string `json:"server_id"`
	Why      string
}

func TestAHostIsEmptiedByMovesWhateverDiesMeanwhile(t *testing.T) {
	r := &rig{System: system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"build": map[string]any{"host_unavailable": "5s", "undo_patience": "2s"},
		"quota": map[string]any{"instances": -1, "cores": -1, "ram_mib": -1},
	}})}
	r.Flavor(t, "small", 64)
	r.compute = system.Compute(t, r.Demo())
	r.image = system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "raw"}, strings.NewReader(strings.Repeat("x", 4096)))
	empty, other := r.Hosts[0], r.Hosts[1]
	slipway := func(code int, arguments ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, got := r.Slipway(t, arguments...)
		require.Equal(t, code, got, "%v: %s%s", arguments, stdout, stderr)
		return stdout, stderr
	}
	drain := func(code int, arguments ...string) (is drained) {
		t.Helper()
		out, _ := slipway(code, append([]string{"host", "drain", empty, "-o", "json"}, arguments...)...)
		require.NoError(t, json.Unmarshal([]byte(out), &is), out)
		return is
	}
	create := func(hints map[string]any) string {
		t.Helper()
		made, err := servers.Create(t.Context(), r.compute, servers.CreateOpts{Name: "web", ImageRef: r.image, FlavorRef: "small", Networks: "auto"},
			servers.SchedulerHintOpts{AdditionalProperties: hints}).Extract()
		require.NoError(t, err)
		return made.ID
	}
	becomes := func(id string, state lifecycle.VMState) {
		t.Helper()
		system.Eventually(t, patience, func() (bool, string) {
			v, err := r.Store.ServerEvenDeleted(t.Context(), id)
			require.NoError(t, err)
			return v.VMState == state && v.TaskState == nil, string(v.VMState) + " " + v.Task()
		})
	}
	act := func(id, name string) {
		t.Helper()
		action, _ := lifecycle.Find(name)
		require.NoError(t, system.Ask(t, r.compute, id, action))
	}
	held := func(rule string, n int) (servers []string) {
		t.Helper()
		system.Eventually(t, patience, func() (bool, string) {
			calls, err := r.Faults.Held(rule)
			servers = nil
			for _, c := range calls {
				servers = append(servers, c.Server)
			}
			return err == nil && len(servers) == n, "not so many are held"
		})
		return servers
	}

	// All is built on the one that is to be emptied.
	slipway(0, "host", "disable", other)
	run := []string{create(nil), create(nil), create(nil)}
	stopped, paused, pinned := create(nil), create(nil), create(map[string]any{"query": `["=", "$host", "` + empty + `"]`})
	for _, id := range append([]string{stopped, paused, pinned}, run...) {
		becomes(id, lifecycle.Active)
	}
	act(stopped, "os-stop")
	becomes(stopped, lifecycle.Stopped)
	act(paused, "pause")
	becomes(paused, lifecycle.Paused)
	rules, err := r.Faults.Set(
		faultinject.Rule{Step: contract.BuildDisk, Mode: faultinject.HoldBefore, Times: 1},
		faultinject.Rule{Step: contract.ReceiveDisks, Mode: faultinject.HoldBefore, Times: 2},
		faultinject.Rule{Step: contract.ConfirmResize, Mode: faultinject.KillBefore, Times: 1}, // the worker
		faultinject.Rule{Step: contract.LookToDrain, Mode: faultinject.KillAfter, Times: 1},
	)
	require.NoError(t, err)
	builds := create(nil)
	require.Equal(t, []string{builds}, held(rules[0], 1))
	slipway(0, "host", "enable", other)

	require.Equal(t, "draining", drain(0).Phase)
	moving := held(rules[1], 2)
	_, refused := slipway(4, "host", "drain", empty)
	require.Contains(t, refused, "is being drained already")
	require.Equal(t, "paused", drain(0, "--pause").Phase)
	r.Kill("worker")
	require.NoError(t, r.Faults.Release(rules[1]))
	system.Eventually(t, patience, func() (bool, string) {
		is := drain(0, "--status")
		return is.Phase == "paused" && is.Moved == 2 && len(is.Moving) == 0, "what was under way has not ended"
	})
	for _, id := range append(run, stopped) {
		require.Equal(t, !slices.Contains(moving, id), r.guest(t, other, id) == hypervisor.Absent, "nothing more was begun")
	}
	require.NoError(t, r.Faults.Release(rules[0]))
	becomes(builds, lifecycle.Active)
	drain(0, "--resume")
	is := drain(1, "--status", "--wait")
	killed, err := r.Faults.Injected(rules[2:]...)
	require.NoError(t, err)
	require.Len(t, killed, 2, "the worker died before a confirmation, and behind a look")
	require.Equal(t, []any{"incomplete", 5, 0}, []any{is.Phase, is.Moved, is.Leftovers})
	require.Len(t, is.Failed, 1)
	require.Equal(t, pinned, is.Failed[0].ServerID)
	require.Contains(t, is.Failed[0].Why, "JsonFilter removed 1: "+other)
	require.Len(t, is.Stays, 1)
	require.Equal(t, []string{paused, "Cannot 'migrate' instance " + paused + " while it is in vm_state paused"}, []string{is.Stays[0].ServerID, is.Stays[0].Why})

	for id, want := range map[string]struct {
		state lifecycle.VMState
		on    string
		guest hypervisor.State
	}{
		run[0]: {lifecycle.Active, other, hypervisor.Running}, run[1]: {lifecycle.Active, other, hypervisor.Running}, run[2]: {lifecycle.Active, other, hypervisor.Running},
		builds: {lifecycle.Active, other, hypervisor.Running}, stopped: {lifecycle.Stopped, other, hypervisor.ShutOff},
		paused: {lifecycle.Paused, empty, hypervisor.Paused}, pinned: {lifecycle.Active, empty, hypervisor.Running},
	} {
		v, err := r.Store.Server(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []any{want.state, want.on, want.guest}, []any{v.VMState, v.Host.Hostname, r.guest(t, want.on, id)})
		if want.on == other {
			require.Equal(t, hypervisor.Absent, r.guest(t, empty, id))
		}
		if want.on == empty { // the guest that had nowhere to go was never touched
			acts, err := r.Store.Actions(t.Context(), id)
			require.NoError(t, err)
			for _, a := range acts {
				a, err = r.Store.Action(t.Context(), id, a.RequestID)
				require.NoError(t, err)
				for _, e := range a.Events {
					require.False(t, a.Action == "migrate" && e.Event == contract.StopDomain, "it was stopped")
				}
			}
		}
	}
	slipway(0, "audit")
	host, err := r.Store.HostByName(t.Context(), empty)
	require.NoError(t, err)
	require.False(t, host.Enabled)
	_, refused = slipway(4, "host", "drain", empty, "--resume")
	require.Contains(t, refused, "The host is not being drained.")

	act(paused, "unpause")
	becomes(paused, lifecycle.Active)
	require.NoError(t, servers.Delete(t.Context(), r.compute, pinned).ExtractErr())
	is = drain(0, "--wait")
	require.Equal(t, []any{"drained", 1}, []any{is.Phase, is.Moved})
	usage, err := r.Store.ListHosts(t.Context())
	require.NoError(t, err)
	for _, h := range usage {
		require.True(t, h.Hostname != empty || h.Servers == 0, "room is held there")
	}
	slipway(0, "audit")
	_, err = servers.Get(t.Context(), r.compute, pinned).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 404))
}
