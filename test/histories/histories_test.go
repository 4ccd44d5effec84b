// Package histories runs a scenario of each kind on the real engine and replays what it recorded. With -record the
// histories become workflows/testdata/histories, which every later version has to replay.
package histories

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workers"
	"github.com/slipway-cloud/slipway/workflows/actions"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

var record = flag.Bool("record", false, "write the histories to workflows/testdata/histories")

const (
	testdata = "../../workflows/testdata"
	patience = 30 * time.Second
)

type scenario struct {
	s       *system.System
	compute *gophercloud.ServiceClient
	admin   *gophercloud.ServiceClient
	images  map[string]string // by name
	keys    *payload.Keys

	temporal client.Client
}

// always run, also without -record: a few that between them take every way through the workflows.
var always = []string{"boot", "delete", "refused-quota", "host-lost", "cancel", "delete-during-BuildDisk", "operator-skips", "fails-StartDomain", "host-fault", "clean-up-keeps", "import", "import-deleted", "os-stop", "fails-os-start-StartDomain", "forget-host"}

func TestEveryScenarioReplays(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "payload.keys"))
	require.NoError(t, err)
	private := filepath.Join(t.TempDir(), "payload.keys")
	require.NoError(t, os.WriteFile(private, text, 0o600))
	keys, err := payload.LoadKeys(private)
	require.NoError(t, err)

	scenarios(t, private, keys, "-1s", (*scenario).all)
	if *record {
		atOnce := slices.IndexFunc(actions.Ways(), func(w actions.Way) bool { return w.Action.Name == shelveAtOnce })
		scenarios(t, private, keys, "0s", func(sc *scenario) []scene { return sc.acting(actions.Ways()[atOnce]) })
	}
}

// scenarios are done in a system where shelved servers leave their hosts after a time.
func scenarios(t *testing.T, private string, keys *payload.Keys, offload string, all func(*scenario) []scene) {
	stores := t.TempDir()
	s := system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"images":   map[string]any{"stores": "hot=file:" + filepath.Join(stores, "hot") + ",cold=file:" + filepath.Join(stores, "cold")},
		"temporal": map[string]any{"payload_keys": private},
		"network":  map[string]any{"engine": "fake"}, // hosts plug ports
		"quota":    map[string]any{"instances": 2, "cores": -1, "ram_mib": -1},
		"build": map[string]any{
			"host_lost": "3s", "host_unavailable": "1s", "undo_patience": "1s", "capacity_wait": "3s", "spawning_deadline": "2s",
			"host_down_after": "20s", "reclaim_interval": "24h", "shelved_offload_time": offload, "vendordata_dynamic_targets": system.NoVendorData,
		},
	}})
	s.Flavor(t, "fits", 128)
	s.Flavor(t, "larger", 256)
	s.Flavor(t, "too-big", 1<<24)
	sc := &scenario{s: s, compute: system.Compute(t, s.Demo()), admin: system.Compute(t, s.Admin()), images: map[string]string{}, keys: keys, temporal: s.Temporal()}
	sc.upload(t, "good")
	sc.upload(t, "gone")
	require.NoError(t, os.Remove(filepath.Join(stores, "hot", "images", sc.images["gone"])))

	for _, tc := range all(sc) {
		if !*record && !slices.Contains(always, tc.name) {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, s.Faults.Clear()) })
			for i, id := range tc.run(t) {
				sc.closed(t, id)
				name := tc.name
				if i > 0 {
					kind, _, _ := strings.Cut(id, "/")
					name += "-" + kind
				}
				sc.replay(t, name, id)
			}
			sc.deleteAll(t) // leaves room in the quota for the next
		})
	}
}

// scene is one of them. It answers the ids of the workflows whose histories count.
type scene struct {
	name string
	run  func(t *testing.T) []string
}

// all scenarios: those of the table's rows are derived from it.
func (sc *scenario) all() []scene {
	cases := []scene{
		{"boot", func(t *testing.T) []string { return server(sc.active(t)) }},
		{"delete", func(t *testing.T) []string {
			id := sc.active(t)
			sc.closed(t, server(id)[0])
			sc.delete(t, id)
			return server(id)
		}},
		{"refused-image", func(t *testing.T) []string {
			return server(sc.refused(t, "11111111-2222-3333-4444-555555555555", 400))
		}},
		{"refused-quota", func(t *testing.T) []string {
			sc.active(t)
			sc.active(t)
			return server(sc.refused(t, sc.images["good"], 403))
		}},
		{"no-valid-host", func(t *testing.T) []string {
			return server(sc.ends(t, sc.create(t, sc.options("good", "too-big")), "ERROR"))
		}},
		{"image-bytes-gone", func(t *testing.T) []string {
			return server(sc.ends(t, sc.create(t, sc.options("gone", "fits")), "ERROR"))
		}},
		{"host-lost", func(t *testing.T) []string {
			lost, id := sc.lose(t, contract.BuildDisk)
			sc.ends(t, id, "ACTIVE")
			sc.closed(t, ids.ServerWorkflow(id))
			require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, sc.status(t, ids.CleanUpWorkflow(id)), "the lost host's undo is waited for")
			sc.s.Restart(lost)
			return []string{ids.ServerWorkflow(id), ids.CleanUpWorkflow(id)}
		}},
		{"delete-while-host-lost", func(t *testing.T) []string {
			id := sc.active(t)
			sc.closed(t, ids.ServerWorkflow(id))
			on := sc.hostOf(t, id)
			sc.s.Stop(on)
			sc.delete(t, id)
			sc.s.Restart(on)
			return []string{ids.ServerWorkflow(id), ids.CleanUpWorkflow(id)}
		}},
		{"clean-up-asks", func(t *testing.T) []string {
			id := sc.active(t)
			sc.closed(t, ids.ServerWorkflow(id))
			on := sc.hostOf(t, id)
			sc.s.Stop(on)
			sc.delete(t, id)
			sc.s.Restart(on)
			return []string{ids.CleanUpWorkflow(id)}
		}},
		{"clean-up-keeps", func(t *testing.T) []string {
			id := sc.active(t)
			sc.closed(t, ids.ServerWorkflow(id))
			undone := sc.cleanUp(t, id)
			sc.closed(t, undone)
			require.Equal(t, id, sc.ends(t, id, "ACTIVE"))
			require.FileExists(t, filepath.Join(sc.s.HostState(sc.hostOf(t, id)), "fake", id+".json"))
			return []string{undone}
		}},
		{"operator-skips", func(t *testing.T) []string { return sc.operate(t, contract.ActSkip) }},
		{"operator-retries", func(t *testing.T) []string { return sc.operate(t, contract.ActRetry) }},
		{"cancel", func(t *testing.T) []string {
			id, _ := sc.held(t, contract.BuildDisk)
			require.NoError(t, sc.s.Cancel(t.Context(), ids.ServerWorkflow(id)))
			return server(sc.ends(t, id, "ERROR"))
		}},
		{"reservation", func(t *testing.T) []string {
			o := sc.options("good", "fits")
			o.Name, o.Min, o.Max = "many", 1, 5 // the quota has room for two
			first := sc.create(t, o)
			second := ids.ReservedServer(first, 1)
			sc.ends(t, first, "ACTIVE")
			sc.ends(t, second, "ACTIVE")
			return []string{ids.ReservationWorkflow(first), ids.ServerWorkflow(second)}
		}},
		{"refused-reservation", func(t *testing.T) []string {
			o := sc.options("good", "fits")
			o.Name, o.Min = "many", 3
			as := *sc.compute
			key := uuid.NewString()
			as.MoreHeaders = map[string]string{"Idempotency-Key": key}
			_, err := servers.Create(t.Context(), &as, o, nil).Extract()
			require.True(t, gophercloud.ResponseCodeIs(err, 403), "%v", err)
			project, err := sc.s.Store.ProjectByName(t.Context(), "default", "demo")
			require.NoError(t, err)
			return []string{ids.ReservationWorkflow(ids.Server(project.ID, key))}
		}},
		{"forget-host", func(t *testing.T) []string {
			h, err := sc.s.Store.RegisterHost(t.Context(), models.Host{Hostname: "burnt", AvailabilityZone: "nova", TokenHash: []byte("burnt"), CPURatio: 1, RAMRatio: 1, DiskRatio: 1})
			require.NoError(t, err)
			_, errs, code := sc.s.Slipway(t, "host", "forget", "burnt", "--reason", "it burnt", "--yes", "--wait")
			require.Zero(t, code, errs)
			return []string{ids.ForgetWorkflow(h.ID)}
		}},
		{"host-fault", func(t *testing.T) []string {
			sc.inject(t, hostFault(1))
			return server(sc.ends(t, sc.create(t, sc.options("good", "fits")), "ACTIVE"))
		}},
		{"host-fault-everywhere", func(t *testing.T) []string {
			sc.inject(t, hostFault(0))
			return server(sc.ends(t, sc.create(t, sc.options("good", "fits")), "ERROR"))
		}},
		{"host-fault-uncounted", func(t *testing.T) []string {
			sc.inject(t, hostFault(1), faultinject.Rule{Step: contract.CountHostFailure, Mode: faultinject.FailBefore, Kind: fault.Internal})
			return server(sc.ends(t, sc.create(t, sc.options("good", "fits")), "ACTIVE"))
		}},
		{"delete-during-CountHostFailure", func(t *testing.T) []string {
			return server(sc.deletedDuring(t, contract.CountHostFailure, hostFault(1)))
		}},
		{"overdue", func(t *testing.T) []string {
			id, release := sc.held(t, contract.BuildDisk)
			system.Eventually(t, patience, func() (bool, string) {
				value, err := sc.temporal.QueryWorkflow(t.Context(), ids.ServerWorkflow(id), "", contract.QueryBuild)
				if err != nil {
					return false, err.Error()
				}
				var state contract.BuildState
				require.NoError(t, value.Get(&state))
				return state.Overdue, "not overdue in phase " + state.Phase
			})
			release()
			return server(sc.ends(t, id, "ACTIVE"))
		}},
	}
	cases = append(cases, sc.imports()...)
	cases = append(cases, sc.drains()...)
	cases = append(cases, sc.actions()...)
	for _, step := range boot.Table() {
		fails := []faultinject.Rule{{Step: step.Name, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1}}
		cases = append(cases, scene{"fails-" + step.Name, func(t *testing.T) []string { return server(sc.fails(t, step.Name, fails...)) }})
		if step.Scope == boot.OnHost {
			cases = append(cases, scene{"moves-" + step.Name, func(t *testing.T) []string {
				sc.inject(t, faultinject.Rule{Step: step.Name, Mode: faultinject.FailAfter, Kind: fault.HostUnfit, Times: 1})
				return server(sc.ends(t, sc.create(t, sc.optionsFor(step.Name)), "ACTIVE"))
			}})
		}
		if step.Undo != "" {
			again := []faultinject.Rule{
				{Step: contract.Activate, Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1},
				{Step: step.Undo, Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 3},
			}
			cases = append(cases, scene{"undo-again-" + step.Undo, func(t *testing.T) []string { return server(sc.fails(t, contract.Activate, again...)) }})
		}
		if step.Name != contract.ResolveImage && step.Name != contract.ClaimQuota { // before the submission is answered nobody knows the id
			cases = append(cases, scene{"delete-during-" + step.Name, func(t *testing.T) []string {
				return server(sc.deletedDuring(t, step.Name))
			}})
		}
	}
	return cases
}

func server(id string) []string { return []string{ids.ServerWorkflow(id)} }

// inject sets the rules of this scenario.
func (sc *scenario) inject(t *testing.T, rules ...faultinject.Rule) []string {
	ids, err := sc.s.Faults.Set(rules...)
	require.NoError(t, err)
	return ids
}

// active boots a server and waits until it runs.
func (sc *scenario) active(t *testing.T) string {
	return sc.ends(t, sc.create(t, sc.options("good", "fits")), "ACTIVE")
}

// fails boots a server of which a step fails, and gives its id. Before the row is recorded the submission is refused.
func (sc *scenario) fails(t *testing.T, step string, rules ...faultinject.Rule) string {
	ids := sc.inject(t, rules...)
	made, err := servers.Create(t.Context(), sc.compute, sc.optionsFor(step), nil).Extract()
	injected, wrong := sc.s.Faults.Injected(ids[0])
	require.NoError(t, wrong)
	if err != nil {
		require.NotEmpty(t, injected, "refused for another reason: %v", err)
		return injected[0].Server
	}
	sc.ends(t, made.ID, "ERROR")
	injected, wrong = sc.s.Faults.Injected(ids[0])
	require.NoError(t, wrong)
	require.NotEmpty(t, injected, "%s did not run", step)
	return made.ID
}

// hostFault fails builds by their host's own fault; 0 times is always.
func hostFault(times int) faultinject.Rule {
	return faultinject.Rule{Step: contract.StartDomain, Mode: faultinject.FailAfter, Kind: fault.HostUnfit, Times: times}
}

// deletedDuring deletes a server while a step of its build has had its effect and has not answered.
func (sc *scenario) deletedDuring(t *testing.T, step string, more ...faultinject.Rule) string {
	id, release := sc.held(t, step, more...)
	require.NoError(t, servers.ForceDelete(t.Context(), sc.compute, id).ExtractErr())
	release()
	sc.gone(t, id)
	return id
}

// held boots a server and returns when the step has had its effect and its answer is held back.
func (sc *scenario) held(t *testing.T, step string, more ...faultinject.Rule) (id string, release func()) {
	rule := sc.inject(t, append([]faultinject.Rule{{Step: step, Mode: faultinject.HoldAfter, Times: 1}}, more...)...)[0]
	submitted := make(chan error, 1)
	go func() { // RecordServer holds the answer too
		_, err := servers.Create(context.WithoutCancel(t.Context()), sc.compute, sc.optionsFor(step), nil).Extract()
		submitted <- err
	}()
	system.Eventually(t, patience, func() (bool, string) {
		calls, err := sc.s.Faults.Held(rule)
		if err != nil || len(calls) == 0 {
			return false, fmt.Sprintf("%s is not held: %v", step, err)
		}
		id = calls[0].Server
		return true, ""
	})
	return id, func() {
		require.NoError(t, sc.s.Faults.Release(rule))
		require.NoError(t, <-submitted)
	}
}

// lose boots a server and stops its host in the middle of a step.
func (sc *scenario) lose(t *testing.T, step string) (hostname, id string) {
	rule := sc.inject(t, faultinject.Rule{Step: step, Mode: faultinject.HoldAfter, Times: 1})[0]
	id = sc.create(t, sc.options("good", "fits"))
	system.Eventually(t, patience, func() (bool, string) {
		calls, err := sc.s.Faults.Held(rule)
		if err != nil || len(calls) == 0 {
			return false, fmt.Sprintf("%s is not held: %v", step, err)
		}
		hostname = calls[0].Host
		return true, ""
	})
	sc.s.Kill(hostname)
	sc.s.Stop(hostname)
	return hostname, id
}

// operate parks an undo that does not succeed, and does what an operator may do about it.
func (sc *scenario) operate(t *testing.T, act string) []string {
	rules := sc.inject(t,
		faultinject.Rule{Step: contract.StartDomain, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1},
		faultinject.Rule{Step: contract.RemoveDisk, Mode: faultinject.FailBefore, Kind: fault.Internal})
	id := sc.ends(t, sc.create(t, sc.options("good", "fits")), "ERROR")
	cleanup := ids.CleanUpWorkflow(id)
	system.Eventually(t, patience, func() (bool, string) {
		_, err := sc.temporal.DescribeWorkflow(t.Context(), cleanup, "")
		return err == nil, fmt.Sprint(err)
	})
	if act == contract.ActRetry {
		sc.inject(t) // what was wrong is put right
	}
	update, err := sc.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: cleanup, UpdateName: contract.UpdateUndo, WaitForStage: client.WorkflowUpdateStageCompleted,
		Args: []any{contract.OperatorAct{Act: act, Undo: "attempt/1:RemoveDisk/0", Reason: "the test says so", UserID: "operator", RequestID: "req-operator"}},
	})
	require.NoError(t, err)
	require.NoError(t, update.Get(t.Context(), nil))
	sc.closed(t, cleanup)
	if act == contract.ActSkip {
		// What was skipped stays behind; a delete does it.
		injected, err := sc.s.Faults.Injected(rules[1])
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(filepath.Join(sc.s.HostState(injected[0].Host), "instances", id)))
	}
	return []string{ids.ServerWorkflow(id), cleanup}
}

// cleanUp starts a clean-up of the host on which a server is in use, as a build that began before builds asked leaves one.
func (sc *scenario) cleanUp(t *testing.T, id string) string {
	on := sc.hostOf(t, id)
	in := contract.CleanUpInput{ServerID: id, Deadlines: contract.DefaultDeadlines()}
	for _, undo := range []string{contract.ReleaseAllocation, contract.RemoveDisk, contract.UndefineDomain, contract.DestroyDomain} {
		p := contract.PendingUndo{
			Undoing: contract.Undoing{Activity: undo, Input: contract.Undo{ServerID: id, Hostname: on}, Host: on}, Name: undo + "/0", Chain: "attempt/1",
		}
		if undo == contract.ReleaseAllocation {
			p.Host = ""
		}
		in.Undos = append(in.Undos, p)
	}
	run, err := sc.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: ids.CleanUpWorkflow(id), TaskQueue: sc.s.ControlQueue(),
	}, contract.WorkflowCleanUp, in)
	require.NoError(t, err)
	return run.GetID()
}

// replay replays a workflow's history and, with -record, keeps it.
func (sc *scenario) replay(t *testing.T, name, workflowID string) {
	history := sc.history(t, workflowID)
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: payload.ControlConverter(sc.keys)})
	require.NoError(t, err)
	workers.RegisterWorkflows(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))
	if !*record {
		return
	}
	text, err := protojson.Marshal(history)
	require.NoError(t, err)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(filepath.Join(testdata, "histories", name+".json.gz"), packed.Bytes(), 0o644))
}

func (sc *scenario) upload(t *testing.T, name string) {
	sc.images[name] = system.Upload(t, system.Image(t, sc.s.Demo()), images.CreateOpts{Name: name, Properties: map[string]string{"hw_qemu_guest_agent": "yes"}}, strings.NewReader(strings.Repeat(name, 512)))
}

func (sc *scenario) options(image, flavor string) servers.CreateOpts {
	on := true
	return servers.CreateOpts{
		Name: strings.Repeat("船", 255), ImageRef: sc.images[image], FlavorRef: flavor, ConfigDrive: &on, Networks: "auto", UserData: []byte("#!/bin/sh\n"),
		Metadata: map[string]string{"a": "b"},
	}
}

// optionsFor are options with which the step is done: data is injected where there is no config drive.
func (sc *scenario) optionsFor(step string) servers.CreateOpts {
	o := sc.options("good", "fits")
	on := step != contract.InjectData
	o.ConfigDrive = &on
	return o
}

func (sc *scenario) create(t *testing.T, o servers.CreateOpts) string {
	server, err := servers.Create(t.Context(), sc.compute, o, nil).Extract()
	require.NoError(t, err)
	return server.ID
}

// refused submits what is refused. The server's id is the workflow's, found by what runs last.
func (sc *scenario) refused(t *testing.T, image string, status int) string {
	o := sc.options("good", "fits")
	o.ImageRef = image
	_, err := servers.Create(t.Context(), sc.compute, o, nil).Extract()
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
			if serverID, ok := ids.ServerOfWorkflow(w.Execution.WorkflowId); ok {
				id = serverID
				return true, ""
			}
		}
		return false, "no refused build is listed"
	})
	return id
}

// ends waits until a server shows the status.
func (sc *scenario) ends(t *testing.T, id, status string) string {
	system.Eventually(t, patience, func() (bool, string) {
		server, err := servers.Get(t.Context(), sc.compute, id).Extract()
		if err != nil {
			return false, err.Error()
		}
		return server.Status == status, server.Status + ": " + server.Fault.Message
	})
	return id
}

func (sc *scenario) hostOf(t *testing.T, id string) string {
	row, err := sc.s.Store.Server(t.Context(), id)
	require.NoError(t, err)
	return row.Host.Hostname
}

func (sc *scenario) delete(t *testing.T, id string) {
	err := servers.ForceDelete(t.Context(), sc.compute, id).ExtractErr()
	if !gophercloud.ResponseCodeIs(err, 404) {
		require.NoError(t, err)
	}
	sc.gone(t, id)
}

func (sc *scenario) gone(t *testing.T, id string) {
	system.Eventually(t, patience, func() (bool, string) {
		_, err := servers.Get(t.Context(), sc.compute, id).Extract()
		return gophercloud.ResponseCodeIs(err, 404), "still there"
	})
}

func (sc *scenario) deleteAll(t *testing.T) {
	all, err := sc.s.Store.ListServers(t.Context(), models.ServerFilter{SoftDeleted: true})
	require.NoError(t, err)
	for _, s := range all {
		sc.delete(t, s.ID)
		sc.closed(t, ids.ServerWorkflow(s.ID))
	}
}

// closed waits for the end of a workflow: the answer to the user comes a little before it.
func (sc *scenario) closed(t *testing.T, workflowID string) {
	system.Eventually(t, patience, func() (bool, string) {
		status := sc.status(t, workflowID)
		return status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, workflowID + " is " + status.String()
	})
}

func (sc *scenario) status(t *testing.T, workflowID string) enumspb.WorkflowExecutionStatus {
	d, err := sc.temporal.DescribeWorkflow(t.Context(), workflowID, "")
	require.NoError(t, err)
	return d.RawResponse.WorkflowExecutionInfo.Status
}

func (sc *scenario) history(t *testing.T, workflowID string) *historypb.History {
	events := sc.temporal.GetWorkflowHistory(context.Background(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var history historypb.History
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, e)
	}
	require.NotEmpty(t, history.Events)
	return &history
}
