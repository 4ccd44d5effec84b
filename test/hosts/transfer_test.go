package hosts

import (
	"crypto/sha512"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/test/system"
)

const moveID = "5f6cf4a2-5b7e-4dc3-9d3c-6a1c0e9b7f10"

// carry is what it takes to carry a server's disks from a host to another.
type carry struct {
	ServerID, From, To string
	Disk               contract.BuildDiskInput
}

// carryDisks gives back what it took on the old host. What has arrived it leaves.
func carryDisks(ctx workflow.Context, in carry) error {
	on := func(hostname string) workflow.Context {
		return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: contract.HostQueue(hostname), StartToCloseTimeout: contract.HostTurn + 5*time.Minute, HeartbeatTimeout: 10 * time.Second,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 1},
		})
	}
	var offer contract.DiskOffer
	asked := contract.OfferDisksInput{ServerID: in.ServerID, MoveID: moveID, To: in.To, Within: time.Hour}
	if err := workflow.ExecuteActivity(on(in.From), contract.OfferDisks, asked).Get(ctx, &offer); err != nil {
		return err
	}
	receive := contract.ReceiveDisksInput{ServerID: in.ServerID, MoveID: moveID, From: in.From, Offer: offer, Disk: in.Disk}
	if err := workflow.ExecuteActivity(on(in.To), contract.ReceiveDisks, receive).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.ExecuteActivity(on(in.From), contract.EndOffer, contract.EndOfferInput{ServerID: in.ServerID}).Get(ctx, nil)
}

func TestDisksArriveThoughBothHostsAreKilledOnTheWayAndNoHistorySaysTheCredential(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake", Hosts: 2})
	s.Flavor(t, "small", 64)
	compute := system.Compute(t, s.Admin())
	bytes := strings.Repeat("x", 4096)
	image := system.Upload(t, system.Image(t, s.Demo()), images.CreateOpts{Name: "raw"}, strings.NewReader(bytes))
	sum := sha512.Sum512([]byte(bytes))
	// One on each host: the second one has brought the image there.
	r := &rig{System: s, compute: system.Compute(t, s.Demo()), image: image}
	on := map[string]string{} // which server is on which host
	for range s.Hosts {
		server := r.builds(t)
		require.Equal(t, "ACTIVE", server.Status)
		seen, err := servers.Get(t.Context(), compute, server.ID).Extract()
		require.NoError(t, err)
		on[seen.Host] = server.ID
	}
	require.Len(t, on, 2, "the scheduler spreads them")
	from, to := s.Hosts[0], s.Hosts[1]
	id := on[from]
	require.NoError(t, servers.Stop(t.Context(), r.compute, id).ExtractErr())
	system.Eventually(t, patience, func() (bool, string) {
		server, err := servers.Get(t.Context(), r.compute, id).Extract()
		require.NoError(t, err)
		return server.Status == "SHUTOFF", server.Status
	})
	was, is := filepath.Join(s.HostState(from), "instances", id), filepath.Join(s.HostState(to), "instances", id, "next")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 900M", filepath.Join(was, "disk"))

	engine := s.Temporal()
	queue := "carry-" + id
	w := worker.New(engine, queue, worker.Options{DisableRegistrationAliasing: true})
	w.RegisterWorkflow(carryDisks)
	require.NoError(t, w.Start())
	defer w.Stop()
	runs, err := engine.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: queue, TaskQueue: queue}, carryDisks, carry{
		ServerID: id, From: from, To: to,
		Disk: contract.BuildDiskInput{ServerID: id, Image: contract.Image{ID: image, SHA512: hex.EncodeToString(sum[:]), DiskFormat: "raw"}, RootGiB: 1},
	})
	require.NoError(t, err)
	arriving := func() bool {
		found, err := filepath.Glob(filepath.Join(is, "*.part"))
		require.NoError(t, err)
		return len(found) > 1
	}
	for _, host := range []string{from, to, from} {
		system.Eventually(t, patience, func() (bool, string) { return arriving(), "nothing arrives" })
		s.Kill(host)
		time.Sleep(200 * time.Millisecond)
	}
	require.NoError(t, runs.Get(t.Context(), nil))
	run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", filepath.Join(was, "disk"), filepath.Join(is, "disk"))
	require.NoDirExists(t, filepath.Join(was, "leaving"))

	// The offer is sealed by the one and for the other.
	var keys []string
	history := engine.GetWorkflowHistory(t.Context(), queue, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(t, err)
		payloads := event.GetActivityTaskScheduledEventAttributes().GetInput().GetPayloads()
		payloads = append(payloads, event.GetActivityTaskCompletedEventAttributes().GetResult().GetPayloads()...)
		for _, p := range payloads {
			_, host, _ := strings.Cut(string(p.Metadata["encryption-key-id"]), "@")
			keys = append(keys, host)
		}
	}
	require.Equal(t, []string{from, from, to, from}, keys)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}
