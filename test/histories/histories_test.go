// Package histories runs a scenario of each kind on the real engine and replays what it recorded. With -record the
// histories become workflows/testdata/histories, which every later version has to replay.
package histories

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workers"
)

var record = flag.Bool("record", false, "write the histories to workflows/testdata/histories")

const (
	testdata = "../../workflows/testdata"
	patience = 30 * time.Second
)

type scenario struct {
	s       *system.System
	compute *gophercloud.ServiceClient
	images  map[string]string // by name
	keys    *payload.Keys

	temporal client.Client
}

func TestEveryScenarioReplays(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "payload.keys"))
	require.NoError(t, err)
	private := filepath.Join(t.TempDir(), "payload.keys")
	require.NoError(t, os.WriteFile(private, text, 0o600))
	keys, err := payload.LoadKeys(private)
	require.NoError(t, err)

	s := system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Settings: map[string]any{
		"temporal": map[string]any{"payload_keys": private},
		"quota":    map[string]any{"instances": 2, "cores": -1, "ram_mib": -1},
		"build":    map[string]any{"host_lost": "3s", "host_unavailable": "1s", "undo_patience": "1s"},
		"host":     map[string]any{"fake_start_latency": "300ms"},
	}})
	admin := system.Compute(t, s.Admin())
	for id, ram := range map[string]int{"fits": 128, "too-big": 1 << 24} {
		require.NoError(t, flavors.Create(t.Context(), admin, flavors.CreateOpts{ID: id, Name: id, VCPUs: 1, RAM: ram, Disk: gophercloud.IntToPointer(1)}).Err)
	}
	sc := &scenario{s: s, compute: system.Compute(t, s.Demo()), images: map[string]string{}, keys: keys, temporal: s.Temporal()}
	sc.upload(t, "good")
	sc.upload(t, "gone")
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "images", "images", sc.images["gone"])))

	var alive string // the server that "boot" leaves for "delete"
	for _, tc := range []struct {
		name string
		run  func(t *testing.T) (serverID string)
	}{
		{"boot", func(t *testing.T) string {
			alive = sc.boot(t, "good", "fits")
			sc.wait(t, alive, "ACTIVE")
			return alive
		}},
		{"delete", func(t *testing.T) string {
			sc.delete(t, alive)
			return alive
		}},
		{"refused-image", func(t *testing.T) string { return sc.refused(t, "11111111-2222-3333-4444-555555555555", "fits", 400) }},
		{"refused-quota", func(t *testing.T) string {
			a, b := sc.boot(t, "good", "fits"), sc.boot(t, "good", "fits")
			id := sc.refused(t, sc.images["good"], "fits", 403)
			sc.wait(t, a, "ACTIVE")
			sc.wait(t, b, "ACTIVE")
			sc.delete(t, a)
			sc.delete(t, b)
			return id
		}},
		{"no-valid-host", func(t *testing.T) string {
			id := sc.boot(t, "good", "too-big")
			sc.wait(t, id, "ERROR")
			return id
		}},
		{"image-bytes-gone", func(t *testing.T) string {
			id := sc.boot(t, "gone", "fits")
			sc.wait(t, id, "ERROR")
			return id
		}},
		{"host-lost", func(t *testing.T) string {
			lost := slices.Min(s.Hosts) // the scheduler's choice among equals
			s.Stop(lost)
			id := sc.boot(t, "good", "fits")
			sc.shows(t, id, "ACTIVE")
			require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, sc.status(t, id), "the lost host's undo is waited for")
			s.Restart(lost)
			sc.closed(t, id) // its undo has run on the host that came back
			return id
		}},
		{"delete-during-build", func(t *testing.T) string {
			id := sc.boot(t, "good", "fits")
			sc.delete(t, id)
			return id
		}},
		// The signal comes about when the build's last task runs: again and again, since which of the two is first is luck.
		// It holds that such a delete ends, not that every order of the two was met.
		{"delete-at-the-last-moment", func(t *testing.T) string {
			var id string
			for range 8 {
				id = sc.boot(t, "good", "fits")
				sc.shows(t, id, "ACTIVE")
				sc.delete(t, id)
			}
			return id
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := tc.run(t)
			history := sc.history(t, id)
			replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: payload.Converter(sc.keys)})
			require.NoError(t, err)
			workers.RegisterWorkflows(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))
			if *record {
				json, err := protojson.MarshalOptions{Indent: " "}.Marshal(history)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(testdata, "histories", tc.name+".json"), json, 0o644))
			}
			if tc.name != "boot" {
				sc.delete(t, id) // leaves room in the quota for the next
			}
		})
	}
}

func (sc *scenario) upload(t *testing.T, name string) {
	c := system.Image(t, sc.s.Demo())
	image, err := images.Create(t.Context(), c, images.CreateOpts{Name: name, DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	require.NoError(t, imagedata.Upload(t.Context(), c, image.ID, strings.NewReader(strings.Repeat(name, 512))).ExtractErr())
	sc.images[name] = image.ID
}

func (sc *scenario) options(image, flavor string) servers.CreateOpts {
	on := true
	return servers.CreateOpts{
		Name: strings.Repeat("船", 255), ImageRef: image, FlavorRef: flavor, ConfigDrive: &on, Networks: "auto", UserData: []byte("#!/bin/sh\n"),
		Metadata: map[string]string{"a": "b"},
	}
}

func (sc *scenario) boot(t *testing.T, image, flavor string) string {
	server, err := servers.Create(t.Context(), sc.compute, sc.options(sc.images[image], flavor), nil).Extract()
	require.NoError(t, err)
	return server.ID
}

// refused submits what is refused. The server's id is the workflow's, found by what runs last.
func (sc *scenario) refused(t *testing.T, image, flavor string, status int) string {
	_, err := servers.Create(t.Context(), sc.compute, sc.options(image, flavor), nil).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, status), "want %d, got %v", status, err)
	var id string
	system.Eventually(t, patience, func() (bool, string) {
		found, err := sc.temporal.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: contract.AttrImage + " = '" + image + "' AND ExecutionStatus = 'Failed'",
		})
		if err != nil {
			return false, err.Error()
		}
		for _, w := range found.Executions {
			if serverID, ok := contract.ServerIDOf(w.Execution.WorkflowId); ok {
				id = serverID
				return true, ""
			}
		}
		return false, "no refused build is listed"
	})
	return id
}

// wait returns when the server shows the status and its workflow has ended.
func (sc *scenario) wait(t *testing.T, id, status string) {
	sc.shows(t, id, status)
	sc.closed(t, id)
}

func (sc *scenario) shows(t *testing.T, id, status string) {
	system.Eventually(t, patience, func() (bool, string) {
		server, err := servers.Get(t.Context(), sc.compute, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		return server.Status == status, server.Status + ": " + server.Fault.Message
	})
}

func (sc *scenario) delete(t *testing.T, id string) {
	err := servers.Delete(t.Context(), sc.compute, id).ExtractErr()
	if gophercloud.ResponseCodeIs(err, 404) {
		return
	}
	require.NoError(t, err)
	system.Eventually(t, patience, func() (bool, string) {
		_, err := servers.Get(t.Context(), sc.compute, id).Extract()
		return gophercloud.ResponseCodeIs(err, 404), "still there"
	})
	sc.closed(t, id)
}

// closed waits for the end of the server's workflow: the answer to the user comes a little before it.
func (sc *scenario) closed(t *testing.T, id string) {
	system.Eventually(t, patience, func() (bool, string) {
		status := sc.status(t, id)
		return status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, status.String()
	})
}

func (sc *scenario) status(t *testing.T, id string) enumspb.WorkflowExecutionStatus {
	d, err := sc.temporal.DescribeWorkflowExecution(t.Context(), contract.ServerWorkflowID(id), "")
	require.NoError(t, err)
	return d.WorkflowExecutionInfo.Status
}

func (sc *scenario) history(t *testing.T, id string) *historypb.History {
	events := sc.temporal.GetWorkflowHistory(context.Background(), contract.ServerWorkflowID(id), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var history historypb.History
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, e)
	}
	require.NotEmpty(t, history.Events)
	return &history
}
