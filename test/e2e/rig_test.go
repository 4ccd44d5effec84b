package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// Waits. Guests are emulated where there is no hardware virtualisation, several at once on few cores: a wait is how long a
// failure may take to show, not how long the thing takes.
const (
	buildPatience = time.Minute
	guestPatience = 3 * time.Minute
	gonePatience  = time.Minute
)

// rig is a running Slipway with a member's clients, the demo guest's images and a small flavor.
type rig struct {
	*system.System
	admin, demo *gophercloud.ServiceClient // compute
	adminImages *gophercloud.ServiceClient
	demoImages  *gophercloud.ServiceClient
	temporal    client.Client
	network     networks.Network
	flavor      string // 1 vCPU, 128 MiB, 1 GiB
	before      map[string][]string
}

func newRig(t *testing.T, o system.Options) *rig {
	t.Helper()
	o.Hypervisor = "libvirt"
	r := &rig{System: system.Start(t, o)}
	admin, demo := r.Admin(), r.Demo()
	r.admin, r.demo = system.Compute(t, admin), system.Compute(t, demo)
	r.adminImages, r.demoImages = system.Image(t, admin), system.Image(t, demo)
	r.temporal = r.Temporal()
	r.flavor = r.makeFlavor(t, flavors.CreateOpts{Name: "m1.nano", RAM: 128, VCPUs: 1, Disk: ptr(1)})
	r.network = r.SharedNetwork(t)
	return r
}

func ptr[T any](v T) *T { return &v }

func (r *rig) makeFlavor(t *testing.T, o flavors.CreateOpts) string {
	t.Helper()
	f, err := flavors.Create(t.Context(), r.admin, o).Extract()
	require.NoError(t, err)
	return f.ID
}

// upload makes an image of the bytes of a file, or of data.
func (r *rig) upload(t *testing.T, as *gophercloud.ServiceClient, o images.CreateOpts, file string, data ...byte) string {
	t.Helper()
	if as == r.adminImages {
		o.Visibility = ptr(images.ImageVisibilityPublic)
	}
	if file != "" {
		var err error
		data, err = os.ReadFile(file)
		require.NoError(t, err)
	}
	return system.Upload(t, as, o, bytes.NewReader(data))
}

// wholeDisk uploads the guest that boots by BIOS from its own disk; the admin's are public.
func (r *rig) wholeDisk(t *testing.T, as *gophercloud.ServiceClient) string {
	t.Helper()
	return r.upload(t, as, images.CreateOpts{Name: "slipway-demo", DiskFormat: "qcow2", ContainerFormat: "bare"},
		filepath.Join(testenv.Guest(t), "slipway-demo.qcow2"))
}

// kernelRamdisk uploads the guest as kernel, ramdisk and root image.
func (r *rig) kernelRamdisk(t *testing.T, as *gophercloud.ServiceClient) string {
	t.Helper()
	guest := testenv.Guest(t)
	cmdline, err := os.ReadFile(filepath.Join(guest, "cmdline"))
	require.NoError(t, err)
	kernel := r.upload(t, as, images.CreateOpts{Name: "kernel", DiskFormat: "aki", ContainerFormat: "aki"}, filepath.Join(guest, "vmlinuz"))
	ramdisk := r.upload(t, as, images.CreateOpts{Name: "ramdisk", DiskFormat: "ari", ContainerFormat: "ari"}, filepath.Join(guest, "initramfs.cpio.gz"))
	return r.upload(t, as, images.CreateOpts{
		Name: "root", DiskFormat: "ami", ContainerFormat: "ami",
		Properties: map[string]string{"kernel_id": kernel, "ramdisk_id": ramdisk, "os_command_line": strings.TrimSpace(string(cmdline))},
	}, filepath.Join(guest, "root.img"))
}

// on is the networks of a request for one NIC on the shared network.
func (r *rig) on() []servers.Network { return []servers.Network{{UUID: r.network.ID}} }

// create submits a server and has it deleted, and gone everywhere, when the test ends.
func (r *rig) create(t *testing.T, o servers.CreateOptsBuilder) *servers.Server {
	t.Helper()
	return r.createAs(t, r.demo, o)
}

func (r *rig) createAs(t *testing.T, as *gophercloud.ServiceClient, o servers.CreateOptsBuilder) *servers.Server {
	t.Helper()
	s, err := servers.Create(t.Context(), as, o, nil).Extract()
	require.NoError(t, err)
	t.Logf("server %s is accepted", s.ID)
	t.Cleanup(func() { r.deleted(t, s.ID) })
	return s
}

// server is what the API shows its owner.
func (r *rig) server(t *testing.T, id string) *servers.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
	defer cancel()
	s, err := servers.Get(ctx, r.demo, id).Extract()
	require.NoError(t, err)
	return s
}

// settled waits until a build has ended, one way or the other.
func (r *rig) settled(t *testing.T, id string) *servers.Server {
	t.Helper()
	var s *servers.Server
	system.Eventually(t, buildPatience, func() (bool, string) {
		var err error
		ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
		defer cancel()
		if s, err = servers.Get(ctx, r.demo, id).Extract(); err != nil {
			return false, err.Error() // the API may be down for a moment: a test killed it
		}
		return s.Status != "BUILD", fmt.Sprintf("server %s is %s/%s: %s", id, s.Status, s.TaskState, r.progress(id))
	})
	return s
}

func (r *rig) active(t *testing.T, id string) *servers.Server {
	t.Helper()
	s := r.settled(t, id)
	require.Equal(t, "ACTIVE", s.Status, "%s\n%s", s.Fault.Message, r.progress(id))
	return s
}

// progress tells where a build stands, for a test's failure message.
func (r *rig) progress(id string) string { return system.Explain(r.temporal, id) }

// runs waits until a step of a build has begun and not ended.
func (r *rig) runs(t *testing.T, id, step string) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		steps, err := system.Progress(r.temporal, id)
		if err != nil {
			return false, err.Error()
		}
		for _, p := range steps {
			if p.Step == step && p.State == contract.StepRunning {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%s does not run: %v", step, r.progress(id))
	})
}

// console waits until the guest has printed all that it was given, and answers those lines without their prefix.
func (r *rig) console(t *testing.T, id string) []string {
	t.Helper()
	var text string
	system.Eventually(t, guestPatience, func() (bool, string) {
		var err error
		if text, err = servers.ShowConsoleOutput(t.Context(), r.demo, id, servers.ShowConsoleOutputOpts{}).Extract(); err != nil {
			return false, err.Error()
		}
		return strings.Contains(text, "slipway-guest: ready in "), text
	})
	var lines []string
	for line := range strings.Lines(text) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(line), "slipway-guest: "); ok {
			lines = append(lines, said)
			require.NotRegexp(t, "^error", said, "the guest complains")
		}
	}
	return lines
}

// address is a server's one address, with its MAC.
func address(t *testing.T, s *servers.Server) (ip, mac string) {
	t.Helper()
	var all map[string][]struct {
		Addr string `json:"addr"`
		MAC  string `json:"OS-EXT-IPS-MAC:mac_addr"`
	}
	text, err := json.Marshal(s.Addresses)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	require.Len(t, all, 1)
	for _, of := range all {
		require.Len(t, of, 1)
		ip, mac = of[0].Addr, of[0].MAC
	}
	return ip, mac
}

// deleted deletes a server and holds that nothing of it is left anywhere. A server that is gone already is only looked for.
func (r *rig) deleted(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gonePatience)
	defer cancel()
	if err := servers.Delete(ctx, r.demo, id).ExtractErr(); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("deleting server %s: %v", id, err)
		return
	}
	r.gone(t, id)
}

// gone waits until the server is gone for its owner, and holds that nothing of it is left.
func (r *rig) gone(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*gonePatience)
	defer cancel()
	system.Eventually(t, gonePatience, func() (bool, string) {
		_, err := servers.Get(ctx, r.demo, id).Extract()
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound), fmt.Sprintf("server %s is still there: %v %s", id, err, r.progress(id))
	})
	r.idle(t, id)
	require.NotContains(t, r.domains(t), id, "libvirt has a domain of a deleted server")
	for _, hostname := range r.Hosts {
		require.NoDirExists(t, r.folder(hostname, id))
	}
	world := r.World(t)
	for _, table := range []string{"claims", "placements", "ports"} {
		for _, row := range world[table] {
			require.NotContains(t, row, id, "table %s remembers a deleted server", table)
		}
	}
}

// idle waits until nothing works on a server.
func (r *rig) idle(t *testing.T, id string) {
	t.Helper()
	for _, workflowID := range []string{ids.ServerWorkflow(id), ids.CleanUpWorkflow(id)} {
		ctx, cancel := context.WithTimeout(context.Background(), gonePatience)
		err := r.temporal.GetWorkflow(ctx, workflowID, "").Get(ctx, nil) // its end is told, not asked for again and again
		late := ctx.Err()
		cancel()
		// Most servers need no clean-up, and a build that failed has ended too.
		if err != nil && !errors.As(err, new(*serviceerror.NotFound)) && !errors.As(err, new(*temporal.WorkflowExecutionError)) || late != nil {
			t.Fatalf("workflow %s runs (%v): %s", workflowID, err, r.progress(id))
		}
	}
}

// folder of a server on a host.
func (r *rig) folder(hostname, id string) string {
	return filepath.Join(r.HostState(hostname), "instances", id)
}

// domains are the uuids that libvirt has, with their XML.
func (r *rig) domains(t *testing.T) map[string]string {
	t.Helper()
	l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(r.Libvirt.Socket)))
	require.NoError(t, l.Connect())
	defer func() { require.NoError(t, l.Disconnect()) }()
	all, _, err := l.ConnectListAllDomains(1, 0)
	require.NoError(t, err)
	found := map[string]string{}
	for _, d := range all {
		xml, err := l.DomainGetXMLDesc(d, 0)
		if err != nil {
			continue // another test's, gone meanwhile
		}
		found[uuid.UUID(d.UUID).String()] = xml
	}
	return found
}

// bridges are the Linux bridges of Slipway's networks that are where libvirt is.
func (r *rig) bridges(t *testing.T) []string {
	t.Helper()
	runtime.LockOSThread() // a namespace is a thread's
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	if r.Libvirt.NetNS != "" {
		ns, err = netns.GetFromPath(r.Libvirt.NetNS)
	}
	require.NoError(t, err)
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	require.NoError(t, err)
	defer h.Close()
	links, err := h.LinkList()
	require.NoError(t, err)
	names := []string{}
	for _, l := range links {
		if l.Attrs().Name == ids.Bridge(r.network.ID) {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// remember notes the world; unchanged compares it. Both want a moment without builds.
func (r *rig) remember(t *testing.T) {
	t.Helper()
	r.before = r.World(t)
	t.Cleanup(func() { r.unchanged(t) })
}

// unchanged is the clean slate: the database is what it was, and no domain, folder, bridge or open workflow is left.
func (r *rig) unchanged(t *testing.T) {
	t.Helper()
	require.Equal(t, r.before, r.World(t), "the database is not what it was")
	ctx, cancel := context.WithTimeout(context.Background(), gonePatience)
	defer cancel()
	servers, err := r.Store.ListServers(ctx, models.ServerFilter{Deleted: true})
	require.NoError(t, err)
	domains := r.domains(t)
	for _, s := range servers {
		require.NotContains(t, domains, s.ID)
		system.Eventually(t, gonePatience, func() (bool, string) {
			open, err := r.temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
				Namespace: "slipway",
				Query:     fmt.Sprintf("%s = '%s' AND ExecutionStatus = 'Running'", contract.AttrServer, s.ID),
			})
			if err != nil {
				return false, err.Error()
			}
			return open.GetCount() == 0, fmt.Sprintf("%d workflows of server %s are open", open.GetCount(), s.ID)
		})
	}
	for _, hostname := range r.Hosts {
		left, err := os.ReadDir(filepath.Join(r.HostState(hostname), "instances"))
		require.NoError(t, err)
		require.Empty(t, left, "instance folders are left on %s", hostname)
	}
	require.Empty(t, r.bridges(t), "a bridge without a guest is left")
}
