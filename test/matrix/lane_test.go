package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// Waits. They are how long a failure may take to show; what is awaited comes sooner.
const (
	settlePatience = 2 * time.Minute // the longest wait of the product itself is a minute, for an undo whose worker died
	quietPatience  = 100 * time.Second
)

// nics of each server: more than one, so that a step that repeats is hit in one of its rounds.
const nics = 2

// lane is a Slipway of its own in which cases run one after another.
type lane struct {
	*system.System
	compute   *gophercloud.ServiceClient // a member's
	temporal  client.Client
	projectID string
	image     string
	flavor    string
	network   string
	steps     map[string]variant // which request makes a step run
}

// variant of a request.
type variant struct{ configDrive bool }

var variants = []variant{{configDrive: true}, {configDrive: false}}

// newLane starts a Slipway with two hosts and boots a server of each variant on each of them, so that what the first build
// leaves (cached images) is there before any world is remembered.
func newLane(t testing.TB) *lane {
	t.Helper()
	l := &lane{steps: map[string]variant{}, System: system.Start(t, system.Options{
		Hosts: 2, Hypervisor: "fake", Faults: true,
		Settings: map[string]any{
			// As short as a busy machine allows: a host that the engine does not hear of for a third of host_lost is given up.
			"build": map[string]any{
				"host_lost": "15s", "host_unavailable": "5s", "undo_patience": "3s",
				"step_timeouts":              stepTimeouts(),
				"vendordata_dynamic_targets": system.NoVendorData, // the step is in every build
			},
			"network": map[string]any{"engine": "fake"}, // hosts plug ports
		},
	})}
	demo := l.Demo()
	l.compute, l.temporal = system.Compute(t, demo), l.Temporal()
	project, err := l.Store.ProjectByName(t.Context(), "default", "demo")
	require.NoError(t, err)
	l.projectID = project.ID
	l.flavor, l.network = "matrix", l.SharedNetwork(t).ID
	l.Flavor(t, l.flavor, 64)
	disk, err := os.Open(filesystem(t))
	require.NoError(t, err)
	defer disk.Close()
	l.image = system.Upload(t, system.Image(t, demo), images.CreateOpts{Name: "matrix"}, disk)
	l.warm(t)
	return l
}

func ptr[T any](v T) *T { return &v }

// filesystem is a small disk image with an ext4 filesystem, to inject into.
func filesystem(t testing.TB) string {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.path == "" {
		dir, err := os.MkdirTemp("", "matrix-image")
		require.NoError(t, err)
		path := filepath.Join(dir, "image.raw")
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Truncate(path, 4<<20))
		out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-m", "0", path).CombinedOutput()
		require.NoError(t, err, "%s", out)
		made.path = path
	}
	return made.path
}

// made is the image that all lanes upload; TestMain removes it.
var made struct {
	sync.Mutex
	path string
}

// warm boots a server of each variant on each host and notes which steps ran.
func (l *lane) warm(t testing.TB) {
	t.Helper()
	for _, v := range variants {
		var on []string
		var ids []string
		for range l.Hosts {
			a := <-l.submit(v)
			require.NoError(t, a.err, "a build without faults")
			s := l.settled(t, a.id, nil)
			require.Equal(t, lifecycle.Active, s.VMState, "a build without faults: %s", l.explain(a.id))
			on, ids = append(on, *s.HostID), append(ids, a.id)
			steps, err := l.progress(a.id)
			require.NoError(t, err)
			for _, p := range steps {
				if _, known := l.steps[p.Step]; !known {
					l.steps[p.Step] = v
				}
			}
		}
		slices.Sort(on)
		require.Len(t, slices.Compact(on), len(l.Hosts), "the warm-up left a host cold")
		for _, id := range ids {
			l.delete(t, id)
			l.gone(t, id)
		}
	}
}

// answer of a submission.
type answer struct {
	id  string
	err error
}

// submit asks for a server and gives the answer when it comes: a fault may hold it up.
func (l *lane) submit(v variant) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), settlePatience)
		defer cancel()
		networks := make([]servers.Network, nics)
		for i := range networks {
			networks[i] = servers.Network{UUID: l.network}
		}
		s, err := servers.Create(ctx, l.compute, servers.CreateOpts{
			Name: "matrix", ImageRef: l.image, FlavorRef: l.flavor, Networks: networks, ConfigDrive: &v.configDrive,
		}, nil).Extract()
		if err != nil {
			answered <- answer{err: err}
			return
		}
		answered <- answer{id: s.ID}
	}()
	return answered
}

// settled waits until a build has ended, and gives the server, or nil where there is none: it was refused, or deleted. The
// answer to the submission is awaited too, where it is given.
func (l *lane) settled(t testing.TB, id string, submission <-chan answer) *models.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*settlePatience)
	defer cancel()
	if submission != nil {
		select {
		case <-submission:
		case <-ctx.Done():
			t.Fatalf("the submission of server %s was not answered: %s", id, l.explain(id))
		}
	}
	system.Eventually(t, settlePatience, func() (bool, string) {
		running, err := l.running(ctx, id)
		if err != nil {
			return false, err.Error()
		}
		return !running, "the build of server " + id + " runs: " + l.explain(id)
	})
	s, err := l.Store.Server(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	require.NoError(t, err)
	return &s
}

// running says whether the server's own workflow runs.
func (l *lane) running(ctx context.Context, id string) (bool, error) {
	return l.runs(ctx, ids.ServerWorkflow(id))
}

// runs says whether a workflow runs.
func (l *lane) runs(ctx context.Context, workflowID string) (bool, error) {
	d, err := l.temporal.DescribeWorkflow(ctx, workflowID, "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return d.RawResponse.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

func (l *lane) progress(id string) ([]contract.StepProgress, error) {
	return system.Progress(l.temporal, id)
}

// explain tells where a build stands, for a failure's message.
func (l *lane) explain(id string) string { return system.Explain(l.temporal, id) }

// delete asks for a server's end.
func (l *lane) delete(t testing.TB, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settlePatience)
	defer cancel()
	require.NoError(t, servers.Delete(ctx, l.compute, id).ExtractErr(), "deleting server %s", id)
}

// gone waits until its owner does not see the server any more and nothing works on it.
func (l *lane) gone(t testing.TB, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*settlePatience)
	defer cancel()
	system.Eventually(t, settlePatience, func() (bool, string) {
		_, err := servers.Get(ctx, l.compute, id).Extract()
		if !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return false, fmt.Sprintf("server %s is still there: %v: %s", id, err, l.explain(id))
		}
		running, err := l.running(ctx, id)
		return err == nil && !running, fmt.Sprintf("the workflow of server %s runs (%v): %s", id, err, l.explain(id))
	})
}

// world is everything that builds take, in the database and on the hosts.
type world struct {
	tables map[string][]string
	files  map[string][]string // of each host's state folder, with their sizes
}

func (l *lane) world(t testing.TB) world {
	t.Helper()
	w := world{tables: l.World(t), files: map[string][]string{}}
	for _, host := range l.Hosts {
		root := l.HostState(host)
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil || path == root {
				return err
			}
			line, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			// Whose the folder is, and how far the database has come, also while it is written: nobody takes it.
			if line == "installation" || strings.HasPrefix(line, ".installation") {
				return nil
			}
			if info, err := d.Info(); err == nil && !d.IsDir() {
				line = fmt.Sprintf("%s (%d bytes)", line, info.Size())
			}
			w.files[host] = append(w.files[host], line)
			return nil
		}))
	}
	return w
}

// unlike lists where two worlds differ. What is own of a server, which one in ERROR keeps until it is deleted, is left out:
// that of none with an id of "".
func (w world) unlike(now world, own string) []string {
	var differ []string
	compare := func(what string, before, after []string) {
		for _, line := range after {
			if !slices.Contains(before, line) {
				differ = append(differ, fmt.Sprintf("there is now in %s: %s", what, line))
			}
		}
		for _, line := range before {
			if !slices.Contains(after, line) {
				differ = append(differ, fmt.Sprintf("gone from %s: %s", what, line))
			}
		}
	}
	for table, after := range now.tables {
		if own != "" && (slices.Contains(system.OwnTables, table) || table == "server_specs") {
			after = slices.DeleteFunc(slices.Clone(after), func(row string) bool { return strings.Contains(row, own) })
		}
		compare("table "+table, w.tables[table], after)
	}
	for host := range now.files {
		compare("the folder of "+host, w.files[host], now.files[host])
	}
	slices.Sort(differ)
	return differ
}

// restored waits until nothing runs any more and the world is what it was; what is own of the server with the id own may be
// there ("": of none).
func (l *lane) restored(t testing.TB, before world, own string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*quietPatience)
	defer cancel()
	system.Eventually(t, quietPatience, func() (bool, string) {
		open, err := l.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: "slipway", Query: fmt.Sprintf("TaskQueue = '%s' AND ExecutionStatus = 'Running'", l.ControlQueue()),
		})
		if err != nil {
			return false, err.Error()
		}
		var left []string
		for _, e := range open.GetExecutions() {
			id := e.GetExecution().GetWorkflowId()
			server, _ := ids.ServerOfWorkflow(id)
			left = append(left, "the workflow "+id+" runs: "+l.explain(server))
		}
		left = append(left, before.unlike(l.world(t), own)...)
		return len(left) == 0, "the world is not what it was:\n" + strings.Join(left, "\n")
	})
}

// finding is one line of what `slipway audit` shows.
type finding struct {
	ID, Kind, Host, Text, Repair string
	ServerID                     string `json:"server_id"`
}

// audit runs `slipway audit`, with more arguments, and gives its exit status and what it found.
func (l *lane) audit(t testing.TB, more ...string) (code int, found []finding) {
	t.Helper()
	out, errs, code := l.Slipway(t, append([]string{"audit", "-o", "json"}, more...)...)
	var answer struct{ Findings []finding }
	require.NoError(t, json.Unmarshal([]byte(out), &answer), "exit status %d: %s%s", code, out, errs)
	return code, answer.Findings
}

// verb runs the command line, which must succeed, and gives what it printed.
func (l *lane) verb(t testing.TB, arguments ...string) string {
	t.Helper()
	out, errs, code := l.Slipway(t, arguments...)
	require.Zero(t, code, "slipway %s: %s", strings.Join(arguments, " "), errs)
	return strings.TrimSpace(out)
}
