package hosts

import (
	"encoding/json"
	"net/http"
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
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestAHostThatIsLostForGoodIsGivenUpWithEverythingThatWaitsForIt(t *testing.T) {
	r := &rig{System: system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"build": map[string]any{"host_lost": "6s", "host_unavailable": "1s", "undo_patience": "1s"},
		"host":  map[string]any{"heartbeat_every": "1s"},
	}})}
	r.Flavor(t, "small", 64)
	r.compute = system.Compute(t, r.Demo())
	r.image = system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "raw"}, strings.NewReader(strings.Repeat("x", 4096)))
	lost, other := r.Hosts[0], r.Hosts[1]
	slipway := func(code int, arguments ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, got := r.Slipway(t, arguments...)
		require.Equal(t, code, got, "%v: %s%s", arguments, stdout, stderr)
		return stdout, stderr
	}
	create := func() string {
		made, err := servers.Create(t.Context(), r.compute, servers.CreateOpts{Name: "web", ImageRef: r.image, FlavorRef: "small", Networks: "auto"}, nil).Extract()
		require.NoError(t, err)
		return made.ID
	}
	ends := func(id string, state lifecycle.VMState) {
		t.Helper()
		system.Eventually(t, patience, func() (bool, string) {
			v, err := r.Store.ServerEvenDeleted(t.Context(), id)
			require.NoError(t, err)
			return v.VMState == state && v.TaskState == nil, string(v.VMState)
		})
	}
	parked := func(waits bool) {
		t.Helper()
		system.Eventually(t, patience, func() (bool, string) {
			listed, _ := slipway(0, "build", "list", "--host", lost, "-o", "json")
			return (strings.TrimSpace(listed) != "[]") == waits, listed
		})
	}

	// All is built on the one that will be lost.
	slipway(0, "host", "disable", other)
	runs, goes := r.builds(t).ID, r.builds(t).ID
	held, err := r.Faults.Set(faultinject.Rule{Step: contract.BuildDisk, Mode: faultinject.HoldBefore, Times: 1})
	require.NoError(t, err)
	moves := create()
	system.Eventually(t, patience, func() (bool, string) {
		calls, err := r.Faults.Held(held[0])
		return err == nil && len(calls) > 0, "nothing is being built"
	})
	slipway(0, "host", "enable", other)
	r.Lose(lost)
	require.NoError(t, r.Faults.Clear())
	require.NoError(t, servers.Delete(t.Context(), r.compute, goes).ExtractErr())
	ends(goes, lifecycle.Deleted)
	parked(true)
	host, err := r.Store.HostByName(t.Context(), lost)
	require.NoError(t, err)

	_, asked := slipway(1, "host", "forget", lost, "--reason", "it burnt")
	require.Contains(t, asked, "There is no way back.\nGive it up for good? [y/N] ")
	out, _ := slipway(0, "host", "forget", lost, "--reason", "it burnt", "--yes", "--wait", "-o", "json")
	var given struct {
		HostID         string `json:"host_id"`
		Reason         string
		DoneAt         string `json:"done_at"`
		Servers, Undos int
	}
	require.NoError(t, json.Unmarshal([]byte(out), &given), out)
	require.Equal(t, []any{host.ID, "it burnt", 1}, []any{given.HostID, given.Reason, given.Servers})
	require.NotEmpty(t, given.DoneAt)
	require.Positive(t, given.Undos)

	ends(moves, lifecycle.Active)
	v, err := r.Store.Server(t.Context(), moves)
	require.NoError(t, err)
	require.Equal(t, other, v.Host.Hostname, "its build went on elsewhere")
	v, err = r.Store.Server(t.Context(), runs)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Error, v.VMState)
	require.Contains(t, v.Fault.Message, "The host of this server was lost for good")
	require.NotEmpty(t, v.Ports, "its addresses are its user's until it is deleted")
	acts, err := r.Store.OperatorActs(t.Context(), goes)
	require.NoError(t, err)
	require.NotEmpty(t, acts)
	for _, act := range acts {
		require.Equal(t, []string{"skip", "host " + lost + " was given up: it burnt"}, []string{act.Act, act.Reason})
	}
	parked(false)
	slipway(0, "audit")

	// It is a host no more, for itself neither.
	r.Restart(lost)
	system.Eventually(t, patience, func() (bool, string) {
		return strings.Contains(r.Log(lost), "401"), "it was not refused"
	})
	hosts, err := r.Store.ListHosts(t.Context())
	require.NoError(t, err)
	require.Len(t, hosts, 1)
	slipway(0, "audit")
	_, again := slipway(3, "host", "forget", lost, "--reason", "it burnt", "--yes")
	require.Contains(t, again, lost)
	var told struct {
		Forget struct {
			HostID string `json:"host_id"`
		}
	}
	_, err = r.Admin().Request(t.Context(), http.MethodGet, r.APIURL+"/hosts/"+lost+"/forget", &gophercloud.RequestOpts{JSONResponse: &told})
	require.NoError(t, err)
	require.Equal(t, host.ID, told.Forget.HostID, "the record stays")
	r.Stop(lost)

	require.NoError(t, servers.Delete(t.Context(), r.compute, runs).ExtractErr())
	ends(runs, lifecycle.Deleted)
	require.NoError(t, servers.Delete(t.Context(), r.compute, moves).ExtractErr())
	ends(moves, lifecycle.Deleted)
	slipway(0, "audit")

	// The lost host has keys of its name. They open nothing that is sealed for another host of that name.
	_, refused := slipway(4, "host", "create", lost)
	require.Contains(t, refused, "slipway keys add")
	settings := filepath.Join(r.Dir, "slipway.yaml")
	rotate := func() {
		for _, role := range []string{"api", "worker"} {
			r.Stop(role)
			r.Restart(role)
		}
	}
	slipway(0, "keys", "add", "--config", settings)
	rotate()
	slipway(0, "keys", "use", "k2", "--config", settings)
	rotate()
	// The other host gets its own of the new key when the first task comes that is sealed with it.
	built := r.builds(t).ID
	require.Contains(t, r.Log(other), `"first":"k2@`+other+`"`)
	slipway(0, "keys", "reseal", "--config", settings)
	listed, _ := slipway(0, "keys", "list", "--config", settings, "-o", "json")
	require.JSONEq(t, `[{"id": "k2", "encrypts": true, "servers": 1, "credentials": 0}, {"id": "k1", "encrypts": false, "servers": 0, "credentials": 0}]`, listed)
	require.NoError(t, servers.Delete(t.Context(), r.compute, built).ExtractErr())
	ends(built, lifecycle.Deleted)
	slipway(0, "audit")
	out, _ = slipway(0, "host", "create", lost, "-o", "json")
	require.False(t, slices.Contains(strings.Split(out, "\""), host.ID), "a machine of that name is a new host")
}
