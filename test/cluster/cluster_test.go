package cluster

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestNobodyBetweenMachinesIsAnybodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	c := start(t)
	w := c.works()

	// hv2 and hv3 turn bad: their programs are gone, and whoever has their certificates and tokens speaks for them. hv1 does not.
	c.stop("hv2")
	c.stop("hv3")
	for _, name := range []string{"hv2", "hv3"} {
		require.NoError(t, servers.Delete(t.Context(), w.compute, w.servers[name]).ExtractErr())
	}
	p := c.parties()
	tasks := map[string]*workflowservice.PollActivityTaskQueueResponse{}
	for _, host := range []*somebody{p.hv2, p.hv3} {
		tasks[host.name] = host.polls(t)
		require.Equal(t, ids.ServerWorkflow(w.servers[host.name]), tasks[host.name].GetWorkflowExecution().GetWorkflowId(), "a step on its own server")
	}
	c.tries(t, c.atTheFrontend(p, w, tasks))
	c.tries(t, c.atTheListeners(p))
	c.tries(t, c.ofPayloads(p, tasks))
	c.tries(t, c.atTheAPI(p, w))
	t.Run("what each role may call of all that the frontend has", func(t *testing.T) { c.everyMethod(t, p) })
	t.Run("what listens beyond loopback", c.listening)
	c.tries(t, c.inTheControlPlanesName(p))
	c.tries(t, c.ofTheForgottenAndRevoked(p, tasks))
	t.Run("what the logs give away", c.secrets)

	require.Equal(t, "ACTIVE", w.status("hv1"), "nothing of all that has touched another host's server")
}

// secrets are in no log, also not those of who tried in vain.
func (c *cluster) secrets(t *testing.T) {
	for name := range c.processes {
		log := c.log(name)
		require.NotEmpty(t, log, "the log of %s", name)
		for _, secret := range append(slices.Collect(maps.Values(c.tokens)), adminPassword, demoPassword, uiPassword) {
			require.False(t, strings.Contains(log, secret), "a secret is in the log of %s", name)
		}
	}
}

// world is what was built before anybody turns bad.
type world struct {
	t       *testing.T
	compute *gophercloud.ServiceClient
	servers map[string]string // by host
	images  map[string]string
}

// works builds a server on each host, each of an image of its own, and deletes one more.
func (c *cluster) works() *world {
	t := c.t
	t.Helper()
	admin, demo := c.user(c.street, "admin", adminPassword), c.user(c.street, "demo", demoPassword)
	require.NoError(t, flavors.Create(t.Context(), system.Compute(t, admin), flavors.CreateOpts{
		ID: "small", Name: "small", VCPUs: 1, RAM: 64, Disk: gophercloud.IntToPointer(1),
	}).Err)
	w := &world{t: t, compute: system.Compute(t, demo), servers: map[string]string{}, images: map[string]string{}}
	build := func(name, host string) string {
		made, err := servers.Create(t.Context(), w.compute, servers.CreateOpts{
			Name: name, ImageRef: w.images[host], FlavorRef: "small", Networks: "auto", AvailabilityZone: "zone-" + host,
		}, nil).Extract()
		require.NoError(t, err)
		return made.ID
	}
	for host := range c.hosts {
		w.images[host] = system.Upload(t, system.Image(t, demo), images.CreateOpts{Name: "of-" + host}, strings.NewReader(strings.Repeat(host, 1024)))
		w.servers[host] = build("on-"+host, host)
	}
	w.servers["another"] = build("goes", "hv1")
	for name := range w.servers {
		system.Eventually(t, patience, func() (bool, string) { s := w.status(name); return s == "ACTIVE", name + " is " + s })
	}
	require.NoError(t, servers.Delete(t.Context(), w.compute, w.servers["another"]).ExtractErr())
	system.Eventually(t, patience, func() (bool, string) { s := w.status("another"); return s == "", "it is " + s })
	return w
}

// status of a server; empty where it is gone.
func (w *world) status(name string) string {
	w.t.Helper()
	s, err := servers.Get(w.t.Context(), w.compute, w.servers[name]).Extract()
	if gophercloud.ResponseCodeIs(err, 404) {
		return ""
	}
	require.NoError(w.t, err)
	return s.Status
}

// polls waits for a step on the host's own queue, as its worker does.
func (s *somebody) polls(t *testing.T) *workflowservice.PollActivityTaskQueueResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	task, err := workflowservice.NewWorkflowServiceClient(s.engine).PollActivityTaskQueue(ctx, pollOf("host:"+s.name))
	require.NoError(t, err)
	require.NotEmpty(t, task.GetTaskToken(), "%s has nothing to do", s.name)
	return task
}

const namespace = "slipway"

func queue(name string) *taskqueuepb.TaskQueue {
	return &taskqueuepb.TaskQueue{Name: name, Kind: enumspb.TASK_QUEUE_KIND_NORMAL}
}

func pollOf(name string) *workflowservice.PollActivityTaskQueueRequest {
	return &workflowservice.PollActivityTaskQueueRequest{Namespace: namespace, TaskQueue: queue(name), Identity: "a test"}
}

func workflowOf(server string) *commonpb.WorkflowExecution {
	return &commonpb.WorkflowExecution{WorkflowId: ids.ServerWorkflow(server)}
}
