package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestAFullDiskFailsABuildAndNothingElse fills the filesystem that a host builds on.
func TestAFullDiskFailsABuildAndNothingElse(t *testing.T) {
	require.Zero(t, os.Geteuid(), "this test mounts a small filesystem and so needs root")
	const size, image = 3 << 30, 16 << 20
	base, err := os.MkdirTemp("", "slf")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
	state, file := filepath.Join(base, "state"), filepath.Join(base, "filesystem")
	require.NoError(t, os.Mkdir(state, 0o755))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, size))
	run(t, "mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", file)
	run(t, "mount", "-o", "loop", file, state)
	t.Cleanup(func() { run(t, "umount", state) })

	// No guest gets as far as to start. A libvirtd in a mount namespace of its own may not see this filesystem, so that no
	// trial would pass here.
	r := newRig(t, system.Options{HostState: state, HostSettings: func(*system.System, int) map[string]any {
		return map[string]any{"hypervisor": "fake"}
	}})
	large := r.upload(t, r.adminImages, images.CreateOpts{Name: "large", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(image)...)
	r.remember(t)
	// All is taken but a quarter of the large image. The blocks are only reserved, not written.
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(state, &fs))
	ballast, err := os.Create(filepath.Join(state, "ballast"))
	require.NoError(t, err)
	require.NoError(t, unix.Fallocate(int(ballast.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-image/4))
	require.NoError(t, ballast.Close())

	s := r.create(t, servers.CreateOpts{Name: "too much", ImageRef: large, FlavorRef: r.flavor, Networks: r.on()})
	failed := r.failed(t, s.ID)
	require.Regexp(t, `(?i)no space|disk .*full|full disk`, failed.Fault.Message, "the user is told the cause")
	require.Contains(t, failed.Fault.Message, r.Hosts[0], "and where")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// TestLibvirtGoesAway takes libvirtd from hosts in the middle of builds. Hosts report so rarely here that the scheduler
// does not know: what is tested is the build's own way out.
func TestLibvirtGoesAway(t *testing.T) {
	libvirt := newSocketGate(t, testenv.Libvirt(t).Socket)
	r := newRig(t, system.Options{
		Hosts: 2,
		Settings: map[string]any{
			"host":  map[string]any{"heartbeat_every": "1h"},
			"build": map[string]any{"host_down_after": "2h", "host_lost": "10s", "host_unavailable": "8s", "undo_patience": "2s", "max_hosts": 2},
		},
		// One libvirtd cannot be two hypervisors: a domain would be on both. The second host is the fake.
		HostSettings: func(s *system.System, i int) map[string]any {
			if i == 1 {
				return map[string]any{"hypervisor": "fake"}
			}
			// Whose namespace it is the gate cannot tell.
			return map[string]any{"libvirt_socket": libvirt.path, "libvirt_netns": s.Libvirt.NetNS}
		},
	})
	image := r.upload(t, r.adminImages, images.CreateOpts{Name: "nothing", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(1<<20)...)
	ask := servers.CreateOpts{Name: "waiting", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)}
	first, second := r.Hosts[0], r.Hosts[1]
	r.enable(t, second, false)

	t.Run("and comes back in time: the build goes on", func(t *testing.T) {
		r.remember(t)
		libvirt.close(t)
		s := r.create(t, ask)
		r.tries(t, s.ID, contract.DefineDomain, 2)
		libvirt.open(t)
		r.active(t, s.ID)
		require.Contains(t, r.domains(t), s.ID)
	})

	t.Run("and stays away: the server is in error, the undo waits for libvirtd and is done when it is back", func(t *testing.T) {
		r.remember(t)
		libvirt.close(t)
		s := r.create(t, ask)
		failed := r.settled(t, s.ID)
		require.Equal(t, "ERROR", failed.Status)
		require.Contains(t, failed.Fault.Message, "No valid host was found. Tried "+first+": "+contract.DefineDomain+": ")
		require.Regexp(t, "(?i)libvirt|hypervisor", failed.Fault.Message, "the user is told what did not answer")
		require.Contains(t, r.World(t)["placements"][0], s.ID, "what may still be on the host is still counted there")
		r.found(t, fmt.Sprintf("%s = '%s' AND %s = 'parked'", contract.AttrServer, s.ID, contract.AttrPhase))
		libvirt.open(t)
		r.givenBack(t, s.ID)
	})

	t.Run("and another host takes over; what the first holds is given back when it can", func(t *testing.T) {
		r.remember(t)
		libvirt.close(t)
		s := r.create(t, ask)
		r.tries(t, s.ID, contract.DefineDomain, 2)
		r.enable(t, second, true)
		defer r.enable(t, second, false)
		r.active(t, s.ID)
		placed, err := r.Store.Server(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, second, placed.Host.Hostname)
		require.Len(t, r.World(t)["placements"], 2, "what may still be on the first host is still counted there")
		libvirt.open(t)
		system.Eventually(t, gonePatience, func() (bool, string) {
			held := r.World(t)["placements"]
			return len(held) == 1, fmt.Sprintf("placements of an active server: %v", held)
		})
		require.NoDirExists(t, r.folder(first, s.ID))
		require.DirExists(t, r.folder(second, s.ID))
		require.NotContains(t, r.domains(t), s.ID)
		require.Equal(t, "ACTIVE", r.server(t, s.ID).Status)
	})

	t.Run("and a server that an undo waits for is deleted", func(t *testing.T) {
		r.remember(t)
		libvirt.close(t)
		s := r.create(t, ask)
		require.Equal(t, "ERROR", r.settled(t, s.ID).Status)
		require.NoError(t, servers.Delete(t.Context(), r.demo, s.ID).ExtractErr())
		libvirt.open(t)
		r.gone(t, s.ID)
	})
}

// enable lets a host take servers, or not, as an operator would.
func (r *rig) enable(t *testing.T, hostname string, enabled bool) {
	t.Helper()
	host, err := r.Store.HostByName(context.WithoutCancel(t.Context()), hostname)
	require.NoError(t, err)
	_, err = r.Admin().Request(context.WithoutCancel(t.Context()), http.MethodPatch, r.APIURL+"/hosts/"+host.ID, &gophercloud.RequestOpts{
		JSONBody: map[string]any{"host": map[string]any{"enabled": enabled}}, OkCodes: []int{http.StatusOK},
	})
	require.NoError(t, err)
}

// tries waits until the engine tries a step for the n-th time.
func (r *rig) tries(t *testing.T, id, step string, n int32) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		d, err := r.temporal.DescribeWorkflow(t.Context(), ids.ServerWorkflow(id), "")
		require.NoError(t, err)
		for _, p := range d.RawResponse.GetPendingActivities() {
			if p.GetActivityType().GetName() == step && p.GetAttempt() >= n {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%s is not tried for the %d. time: %v", step, n, r.progress(id))
	})
}

// found waits until the engine's search finds a workflow.
func (r *rig) found(t *testing.T, query string) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		found, err := r.temporal.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Namespace: "slipway", Query: query})
		return err == nil && found.GetCount() > 0, fmt.Sprintf("%s finds nothing: %v", query, err)
	})
}
