package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

const (
	startPatience = 3 * time.Minute
	// callPatience bounds one request; the API bounds a submission by 30 s.
	callPatience = 40 * time.Second
	// hostLost is shorter than the default, because a build waits so long for a step that died with its host, and longer
	// than an outage of Temporal with the hosts' way back to it: it pauses up to 10 s between two tries.
	hostLost = 20 * time.Second
	// auditPatience is how long what is no longer answered for may still be seen.
	auditPatience = 15 * time.Second

	imageBytes = 8 << 20
	nano       = "nano"
	tooLarge   = "too-large"
)

// cloud is a Slipway with all that it stands on, of the run's own.
type cloud struct {
	*system.System
	targets  []target
	compute  *gophercloud.ServiceClient
	network  *gophercloud.ServiceClient
	netID    string
	images   []string
	temporal client.Client
	zones    map[string]string // of the hosts
	netns    func() string     // where guests' interfaces are
}

// start brings up Postgres, Temporal and libvirtd as `slipway dev` does, and Slipway's processes on them.
func start(t *testing.T, boots int) *cloud {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	dir, err := os.MkdirTemp("", "slc")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs of Postgres, Temporal and libvirtd are kept in %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	stopped := func(stop func(context.Context) error) {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), startPatience)
			defer cancel()
			require.NoError(t, stop(ctx))
		})
	}
	logFile, err := os.Create(filepath.Join(dir, "stack.log"))
	require.NoError(t, err)
	t.Cleanup(func() { logFile.Close() })
	log := slog.New(slog.NewTextHandler(logFile, nil))

	postgres, err := stack.StartPostgres(ctx, stack.PostgresOptions{Dir: filepath.Join(dir, "postgres"), Logger: log})
	require.NoError(t, err)
	stopped(postgres.Stop)
	require.NoError(t, postgres.EnsureDatabase(ctx, "slipway"))
	temporal, err := stack.StartTemporal(ctx, stack.TemporalOptions{
		Binary: filepath.Join(filepath.Dir(testenv.Guest(t)), "bin", "slipway-temporal"), Postgres: postgres,
		FrontendAddr: "127.0.0.1:0", TLS: stack.TemporalTLSIn(testenv.PKI(t)), LogFile: filepath.Join(dir, "temporal.log"), Logger: log,
	})
	require.NoError(t, err)
	stopped(func(context.Context) error { return temporal.Stop() })
	libvirt, err := stack.EnsureLibvirt(ctx, stack.LibvirtOptions{Dir: filepath.Join(dir, "libvirt"), Logger: log})
	require.NoError(t, err)
	require.True(t, libvirt.Started, "the libvirtd is somebody else's")
	stopped(libvirt.Stop)

	zones := []string{zoneFake, zoneFake, zoneLibvirt}
	c := &cloud{zones: map[string]string{}, netns: libvirt.Netns, System: system.Start(t, system.Options{
		Hosts: len(zones), Hypervisor: "fake", DSN: postgres.DSN("slipway"), Temporal: temporal.FrontendAddr,
		Libvirt: testenv.LibvirtEnv{Socket: libvirt.Socket},
		Zone:    func(i int) string { return zones[i] },
		HostSettings: func(_ *system.System, i int) map[string]any {
			return map[string]any{"hypervisor": zones[i], "fake_start_latency": "200ms", "disk_ratio": 1000.0}
		},
		Settings: map[string]any{
			"quota": map[string]any{"instances": -1, "cores": boots + 100, "ram_mib": -1},
			"build": map[string]any{"host_lost": hostLost.String()},
		},
	})}
	for i, hostname := range c.Hosts {
		c.zones[hostname] = zones[i]
	}

	for _, name := range []string{"api", "worker"} {
		c.targets = append(c.targets, target{kind: name, name: name, pid: func() int { return c.Pid(name) }})
	}
	for _, name := range c.Hosts {
		c.targets = append(c.targets, target{kind: "host", name: name, zone: c.zones[name], pid: func() int { return c.Pid(name) }})
	}
	c.targets = append(c.targets,
		target{kind: "temporal", name: "temporal", pid: temporal.Pid},
		target{kind: "postgres", name: "postgres", pid: postgres.Pid, more: childrenOf},
		target{kind: "libvirtd", name: "libvirtd", zone: zoneLibvirt, pid: libvirt.Pid},
	)
	c.furnish(ctx, t, boots)
	return c
}

// furnish makes flavors and images, and finds the network.
func (c *cloud) furnish(ctx context.Context, t *testing.T, boots int) {
	t.Helper()
	admin, demo := c.Admin(), c.Demo()
	demo.HTTPClient.Timeout = callPatience
	c.compute, c.network, c.temporal = system.Compute(t, demo), system.Network(t, demo), c.Temporal()
	for _, f := range []flavors.CreateOpts{
		{ID: nano, Name: nano, VCPUs: 1, RAM: 64, Disk: gophercloud.IntToPointer(1)},
		{ID: tooLarge, Name: tooLarge, VCPUs: boots + 101, RAM: 64, Disk: gophercloud.IntToPointer(1)},
	} {
		require.NoError(t, flavors.Create(ctx, system.Compute(t, admin), f).Err)
	}
	// Noise: no guest comes up from it, so that none takes processor time, and every host has to fetch all of it. The later
	// boots' images are fetched while faults happen.
	noise := rand.NewChaCha8([32]byte{})
	store := system.Image(t, demo)
	for i := range max(2, boots/10) {
		image, err := images.Create(ctx, store, images.CreateOpts{Name: fmt.Sprintf("noise-%d", i), DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
		require.NoError(t, err)
		data := make([]byte, imageBytes)
		_, err = noise.Read(data)
		require.NoError(t, err)
		require.NoError(t, imagedata.Upload(ctx, store, image.ID, bytes.NewReader(data)).ExtractErr())
		c.images = append(c.images, image.ID)
	}
	pages, err := networks.List(c.network, networks.ListOpts{}).AllPages(ctx)
	require.NoError(t, err)
	all, err := networks.ExtractNetworks(pages)
	require.NoError(t, err)
	require.Len(t, all, 1, "the network that api.default_network makes")
	c.netID = all[0].ID
}

// up waits until everything runs and every host takes servers.
func (c *cloud) up(t *testing.T) {
	t.Helper()
	for _, target := range c.targets {
		_, err := target.running(t.Context(), 0)
		require.NoError(t, err)
	}
	began := time.Now()
	system.Eventually(t, startPatience, func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), callPatience)
		defer cancel()
		hosts, err := c.Store.ListHosts(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, h := range hosts {
			if !h.Ready || h.SeenAt.Before(began) {
				return false, fmt.Sprintf("%s: ready %v, seen %s", h.Hostname, h.Ready, h.SeenAt)
			}
		}
		return true, ""
	})
}

// world is all that a server could leave behind, by kind.
type world map[string][]string

// look gives what there is now.
func (c *cloud) look(t *testing.T) world {
	t.Helper()
	w := world{"database": {}, "domains": {}, "folders": {}, "guests": {}, "links": {}, "workflows": {}}
	for table, rows := range c.World(t) {
		for _, row := range rows {
			w["database"] = append(w["database"], table+" "+row)
		}
	}
	for hostname := range c.zones {
		for id, state := range c.domains(t, hostname) {
			w["domains"] = append(w["domains"], strings.Join([]string{hostname, id, string(state)}, " "))
		}
		for _, folder := range []string{"instances", "fake"} {
			left, err := os.ReadDir(filepath.Join(c.HostState(hostname), folder))
			if folder != "fake" || !os.IsNotExist(err) {
				require.NoError(t, err)
			}
			for _, e := range left {
				w["folders"] = append(w["folders"], filepath.Join(hostname, folder, e.Name()))
			}
		}
	}
	running, err := processes()
	require.NoError(t, err)
	for pid, p := range running {
		if strings.HasPrefix(p.name, "qemu-") {
			w["guests"] = append(w["guests"], fmt.Sprintf("process %d %s", pid, p.name))
		}
	}
	links, err := exec.CommandContext(t.Context(), "nsenter", "--net="+c.netns(), "ip", "-o", "-br", "link").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(links)) {
		w["links"] = append(w["links"], strings.Fields(line)[0])
	}
	w["workflows"] = c.workflows(t)
	for _, items := range w {
		slices.Sort(items)
	}
	return w
}

// workflows are the ids of those that run.
func (c *cloud) workflows(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callPatience)
	defer cancel()
	ids := []string{}
	for next := []byte(nil); ; {
		page, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: "slipway", Query: "ExecutionStatus = 'Running'", NextPageToken: next,
		})
		require.NoError(t, err)
		for _, e := range page.GetExecutions() {
			ids = append(ids, e.GetExecution().GetWorkflowId())
		}
		if next = page.GetNextPageToken(); len(next) == 0 {
			return ids
		}
	}
}

// domains are those of a host, with how they are.
func (c *cloud) domains(t *testing.T, hostname string) map[string]hypervisor.State {
	t.Helper()
	found := map[string]hypervisor.State{}
	if c.zones[hostname] == zoneFake {
		files, err := filepath.Glob(filepath.Join(c.HostState(hostname), "fake", "*.json"))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				continue
			}
			require.NoError(t, err)
			var r fake.Record
			require.NoError(t, json.Unmarshal(text, &r))
			found[r.Domain.UUID] = r.State
		}
		return found
	}
	l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(c.Libvirt.Socket)))
	require.NoError(t, l.ConnectToURI(golibvirt.QEMUSystem))
	defer func() { require.NoError(t, l.Disconnect()) }()
	all, _, err := l.ConnectListAllDomains(1, 0)
	require.NoError(t, err)
	for _, d := range all {
		state, _, err := l.DomainGetState(d, 0)
		require.NoError(t, err)
		name := hypervisor.State(fmt.Sprintf("state %d", state))
		if golibvirt.DomainState(state) == golibvirt.DomainRunning {
			name = hypervisor.Running
		}
		found[uuid.UUID(d.UUID).String()] = name
	}
	return found
}

// without gives what w has and other has not.
func (w world) without(other world) []string {
	var left []string
	for _, kind := range slices.Sorted(maps.Keys(w)) {
		for _, item := range w[kind] {
			if !slices.Contains(other[kind], item) {
				left = append(left, kind+": "+item)
			}
		}
	}
	return left
}

// audit holds that what hosts have is what the database says: the servers that are ACTIVE run, each on its host, and
// nothing else is anywhere. `slipway audit` must say the same.
func (c *cloud) audit(t *testing.T, when string) {
	t.Helper()
	var findings []string
	// An answer comes a moment before the workflow behind it ends.
	for deadline := time.Now().Add(auditPatience); ; time.Sleep(lookEvery) {
		if findings = c.findings(t); len(findings) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, finding := range findings {
		t.Errorf("%s: %s", when, finding)
	}
	if out, errs, code := c.Slipway(t, "audit", "-o", "json"); code != 0 {
		t.Errorf("%s: slipway audit ends with status %d: %s%s", when, code, out, errs)
	}
}

func (c *cloud) findings(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callPatience)
	defer cancel()
	servers, err := c.Store.ListServers(ctx, models.ServerFilter{})
	require.NoError(t, err)
	want := world{}
	for _, s := range servers {
		if s.VMState != lifecycle.Active {
			continue
		}
		hostname := s.Host.Hostname
		want["domains"] = append(want["domains"], strings.Join([]string{hostname, s.ID, string(hypervisor.Running)}, " "))
		want["folders"] = append(want["folders"], filepath.Join(hostname, "instances", s.ID))
		if c.zones[hostname] == zoneFake {
			want["folders"] = append(want["folders"], filepath.Join(hostname, "fake", s.ID+".json"))
		}
	}
	all := c.look(t)
	have := world{"domains": all["domains"], "folders": all["folders"], "workflows": all["workflows"]}
	var findings []string
	for _, item := range have.without(want) {
		findings = append(findings, "the database does not know of "+item)
	}
	for _, item := range want.without(have) {
		findings = append(findings, "the database says, but there is no "+item)
	}
	return findings
}
