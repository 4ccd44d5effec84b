package operators

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestTheVerbsTreatAParkedUndoOfARunningSystem builds a server whose start fails and whose disk cannot be removed, and
// treats that with the verbs of the command line, as docs/operations.md says.
func TestTheVerbsTreatAParkedUndoOfARunningSystem(t *testing.T) {
	s := system.Start(t, system.Options{Hosts: 1, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"build": map[string]any{"undo_patience": "500ms", "max_hosts": 1},
	}})
	s.Flavor(t, "f", 128)
	image := system.Upload(t, system.Image(t, s.Demo()), images.CreateOpts{Name: "i"}, strings.NewReader(strings.Repeat("image", 512)))

	verb := func(arguments ...string) string {
		t.Helper()
		out, errs, code := s.Slipway(t, arguments...)
		require.Zero(t, code, "%v: %s", arguments, errs)
		return out
	}
	rules, err := s.Faults.Set(
		faultinject.Rule{Step: contract.StartDomain, Mode: faultinject.FailAfter, Kind: fault.HostUnfit, Times: 1},
		faultinject.Rule{Step: contract.RemoveDisk, Mode: faultinject.FailBefore, Kind: fault.Unavailable})
	require.NoError(t, err)
	server, err := servers.Create(t.Context(), system.Compute(t, s.Demo()), servers.CreateOpts{
		Name: "web", ImageRef: image, FlavorRef: "f", Networks: "auto"}, nil).Extract()
	require.NoError(t, err)

	// The engine and its visibility are shared with other tests, so the list is narrowed to this server.
	var id string
	system.Eventually(t, time.Minute, func() (bool, string) {
		id = strings.TrimSpace(verb("build", "list", "--parked", "--host", s.Hosts[0], "--server", server.ID, "--quiet"))
		return id == "cleanup:"+server.ID, "parked: " + id
	})
	type build struct {
		Phase, Status string
		Undos         []struct {
			ID, Host, State, Error string
			Tries                  int
		}
		Acts []struct{ Act, Undo, Reason string }
	}
	show := func() (b build) {
		require.NoError(t, json.Unmarshal([]byte(verb("build", "show", id, "-o", "json")), &b))
		return b
	}
	var disk string
	system.Eventually(t, time.Minute, func() (bool, string) {
		b := show()
		for _, u := range b.Undos {
			if strings.Contains(u.ID, ":RemoveDisk/") && u.Tries > 1 && u.Error != "" {
				disk = u.ID
			}
		}
		return disk != "", "the undo's tries are not seen"
	})
	require.Contains(t, verb("build", "show", id), "undos, the last first")
	h, err := s.Store.HostByName(t.Context(), s.Hosts[0])
	require.NoError(t, err)
	leftovers := func() string { return strings.Fields(verb("host", "show", h.ID, "--columns", "leftovers"))[1] }
	require.Equal(t, "1", leftovers())

	verb("build", "retry", id, disk)
	verb("build", "skip", id, disk, "--reason", "removed by hand", "--yes")
	system.Eventually(t, time.Minute, func() (bool, string) { b := show(); return b.Status == "completed", b.Status })
	b := show()
	require.Len(t, b.Acts, 2)
	require.Equal(t, []string{"retry", disk}, []string{b.Acts[0].Act, b.Acts[0].Undo})
	require.Equal(t, []string{"skip", disk, "removed by hand"}, []string{b.Acts[1].Act, b.Acts[1].Undo, b.Acts[1].Reason})
	require.Equal(t, "0", leftovers(), "the undos that waited for the skipped one have run")
	require.Empty(t, strings.TrimSpace(verb("build", "list", "--server", server.ID, "--quiet")), "nothing runs")

	// What was skipped stays behind; by hand is how it goes.
	injected, err := s.Faults.Injected(rules[1])
	require.NoError(t, err)
	left := filepath.Join(s.HostState(injected[0].Host), "instances", server.ID)
	require.DirExists(t, left)
	require.NoError(t, os.RemoveAll(left))
}
