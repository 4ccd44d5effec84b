// Package restore puts parts of an installation back to what they were, as docs/operations.md says, under guests that run on
// and images that have come since: whatever is restored, nothing is destroyed, and the audit says what differs. Real
// processes on a Postgres and a Temporal of the test's own, with the fake hypervisor.
package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

const patience = 2 * time.Minute

// site is an installation on one machine.
type site struct {
	*system.System
	t        *testing.T
	dir      string
	log      *slog.Logger
	postgres *stack.Postgres
	temporal *stack.Temporal
	address  string // Temporal's
	host     string
	compute  *gophercloud.ServiceClient
	network  string
}

func start(t *testing.T, o system.Options) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "slr")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	logFile, err := os.Create(filepath.Join(dir, "stack.log"))
	require.NoError(t, err)
	s := &site{t: t, dir: dir, log: slog.New(slog.NewTextHandler(logFile, nil)), address: "127.0.0.1:0"}
	t.Cleanup(func() {
		s.stopParts()
		logFile.Close()
		if t.Failed() {
			t.Logf("logs of Postgres and Temporal are kept in %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	s.startParts()
	o.Hypervisor, o.DSN, o.Temporal = "fake", s.postgres.DSN("slipway"), s.address
	s.System = system.Start(t, o)
	s.host = s.Hosts[0]
	s.Flavor(t, "small", 64)
	s.compute, s.network = system.Compute(t, s.Demo()), s.SharedNetwork(t).ID
	return s
}

func (s *site) startParts() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	s.postgres, err = stack.StartPostgres(ctx, stack.PostgresOptions{Dir: filepath.Join(s.dir, "postgres"), Logger: s.log})
	require.NoError(s.t, err)
	require.NoError(s.t, s.postgres.EnsureDatabase(ctx, "slipway"))
	s.startTemporal()
}

func (s *site) startTemporal() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	s.temporal, err = stack.StartTemporal(ctx, stack.TemporalOptions{
		Binary: filepath.Join(filepath.Dir(testenv.Guest(s.t)), "bin", "slipway-temporal"), Postgres: s.postgres,
		FrontendAddr: s.address, TLS: stack.TemporalTLSIn(testenv.PKI(s.t)), LogFile: filepath.Join(s.dir, "temporal.log"), Logger: s.log,
	})
	require.NoError(s.t, err)
	s.address = s.temporal.FrontendAddr
}

func (s *site) stopParts() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.temporal != nil {
		require.NoError(s.t, s.temporal.Stop())
		s.temporal = nil
	}
	if s.postgres != nil {
		require.NoError(s.t, s.postgres.Stop(ctx))
		s.postgres = nil
	}
}

// temporals are the names of Temporal's databases.
var temporals = []string{"temporal", "temporal_visibility"}

// withoutTemporal does something while Temporal is stopped.
func (s *site) withoutTemporal(do func()) {
	s.t.Helper()
	require.NoError(s.t, s.temporal.Stop())
	s.temporal = nil
	do()
	s.startTemporal()
}

func (s *site) sql(statement string) {
	s.t.Helper()
	s.run("psql", "-qh", s.postgres.SocketDir, "-U", s.postgres.User(), "-d", "postgres", "-c", statement)
}

// meanwhile does something while the named processes are stopped.
func (s *site) meanwhile(do func(), stopped ...string) {
	s.t.Helper()
	for _, process := range stopped {
		s.Stop(process)
	}
	do()
	good := 0 // the sessions of the test's own store may have ended
	system.Eventually(s.t, patience, func() (bool, string) {
		if s.Store.Ping(context.Background()) == nil {
			good++
		}
		return good == 10, "the database does not answer"
	})
	for _, process := range slices.Backward(stopped) {
		s.Restart(process)
	}
}

func (s *site) run(name string, arguments ...string) {
	s.t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	require.NoError(s.t, err, "%s %v: %s", name, arguments, out)
}

// The folders of images and of the host's state.
func (s *site) images() string { return filepath.Join(s.Dir, "images") }
func (s *site) state() string  { return s.HostState(s.host) }

// save copies a folder below a name.
func (s *site) save(name, folder string) {
	s.t.Helper()
	s.run("cp", "-a", folder, filepath.Join(s.dir, name))
}

// putBack makes a folder what it was.
func (s *site) putBack(name, folder string) {
	s.t.Helper()
	require.NoError(s.t, os.RemoveAll(folder))
	s.run("cp", "-a", filepath.Join(s.dir, name), folder)
}

// backup takes all databases of the cluster at one moment, while they are used.
func (s *site) backup() {
	s.t.Helper()
	version, err := os.ReadFile(filepath.Join(s.postgres.DataDir, "PG_VERSION"))
	require.NoError(s.t, err)
	s.run(filepath.Join("/usr/lib/postgresql", strings.TrimSpace(string(version)), "bin", "pg_basebackup"),
		"--host", s.postgres.SocketDir, "--username", s.postgres.User(), "--pgdata", filepath.Join(s.dir, "databases"), "--checkpoint", "fast")
}

// restoreDatabases makes all databases of the cluster what they were: Slipway's and Temporal's.
func (s *site) restoreDatabases() {
	s.t.Helper()
	data := s.postgres.DataDir
	s.stopParts()
	info, err := os.Stat(data)
	require.NoError(s.t, err)
	s.run("sh", "-c", `owner=$(stat -c %u:%g "$1") && find "$1" -mindepth 1 -delete && cp -a "$2/." "$1" && chown -R "$owner" "$1"`, "sh", data, filepath.Join(s.dir, "databases"))
	require.NoError(s.t, os.Chmod(data, info.Mode()))
	s.startParts()
}

func (s *site) submit(image string) string { return s.submitAs(s.compute, image) }

func (s *site) submitAs(compute *gophercloud.ServiceClient, image string) string {
	s.t.Helper()
	made, err := servers.Create(s.t.Context(), compute, servers.CreateOpts{
		Name: "guest", ImageRef: image, FlavorRef: "small", Networks: []servers.Network{{UUID: s.network}}, ConfigDrive: new(true),
	}, nil).Extract()
	require.NoError(s.t, err)
	return made.ID
}

func (s *site) becomes(id, status string) {
	s.t.Helper()
	system.Eventually(s.t, patience, func() (bool, string) {
		v, err := s.Store.ServerEvenDeleted(context.Background(), id)
		if err != nil {
			return false, err.Error()
		}
		return lifecycle.Status(v.VMState, "") == status, fmt.Sprintf("server %s is %s, not %s", id, lifecycle.Status(v.VMState, ""), status)
	})
}

func (s *site) active(image string) string {
	s.t.Helper()
	id := s.submit(image)
	s.becomes(id, "ACTIVE")
	return id
}

func (s *site) delete(id string) {
	s.t.Helper()
	require.NoError(s.t, servers.Delete(s.t.Context(), s.compute, id).ExtractErr())
	s.becomes(id, "DELETED")
}

func (s *site) upload(name string) string {
	s.t.Helper()
	return system.Upload(s.t, system.Image(s.t, s.Demo()), images.CreateOpts{Name: name}, bytes.NewReader([]byte(strings.Repeat(name, 1<<18))))
}

// download gives an image's bytes to whoever asks for them.
func (s *site) download(id string) {
	s.t.Helper()
	body, err := imagedata.Download(s.t.Context(), system.Image(s.t, s.Demo()), id).Extract()
	require.NoError(s.t, err)
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	require.NoError(s.t, err)
}

// guests are the servers that have a domain and a folder on the host.
func (s *site) guests(of ...string) []string {
	s.t.Helper()
	var there []string
	for _, id := range of {
		_, domain := os.Stat(filepath.Join(s.state(), "fake", id+".json"))
		_, folder := os.Stat(filepath.Join(s.state(), "instances", id))
		if domain == nil && folder == nil {
			there = append(there, id)
		}
	}
	return there
}

// audit runs one, with what more is asked of it, and gives the ids of what it found.
func (s *site) audit(more ...string) []string {
	s.t.Helper()
	stdout, stderr, code := s.Slipway(s.t, append([]string{"audit", "-o", "json"}, more...)...)
	var answer struct{ Findings []struct{ ID string } }
	require.NoError(s.t, json.Unmarshal([]byte(stdout), &answer), "%d: %s%s", code, stdout, stderr)
	ids := []string{}
	for _, f := range answer.Findings {
		ids = append(ids, f.ID)
	}
	return ids
}

func (s *site) restored() bool {
	s.t.Helper()
	i, err := s.Store.Installation(s.t.Context())
	require.NoError(s.t, err)
	return i.Restored()
}

// heard waits for a report of the host that began after now.
func (s *site) heard() {
	s.t.Helper()
	since := time.Now()
	system.Eventually(s.t, patience, func() (bool, string) {
		h, err := s.Store.HostByName(context.Background(), s.host)
		return err == nil && h.Ready && h.SeenAt.After(since.Add(time.Second)), "the host does not report"
	})
}

// told waits until the host and the image store hold a generation of after now: the processes give it within seconds.
func (s *site) told() {
	s.t.Helper()
	ctx := s.t.Context()
	require.NoError(s.t, s.Store.AdvanceGeneration(ctx, 0))
	i, err := s.Store.Installation(ctx)
	require.NoError(s.t, err)
	system.Eventually(s.t, patience, func() (bool, string) {
		var mark struct{ Generation int64 }
		text, err := os.ReadFile(filepath.Join(s.images(), ".installation"))
		require.NoError(s.t, err)
		require.NoError(s.t, json.Unmarshal(text, &mark))
		h, err := s.Store.HostByName(ctx, s.host)
		require.NoError(s.t, err)
		return min(mark.Generation, h.Generation) >= i.Generation, fmt.Sprintf("generation %d is held as %d and %d", i.Generation, mark.Generation, h.Generation)
	})
	s.heard() // the host has what it was given
}

func TestWhateverIsRestoredNothingIsDestroyed(t *testing.T) {
	s := start(t, system.Options{
		// A build waits for its host for as long as a backup and what follows may take.
		Settings: map[string]any{"build": map[string]any{"host_lost": "30m", "undo_patience": "1s"}},
	})
	image := s.upload("older")
	old, doomed := s.active(image), s.active(image)
	s.Stop(s.host)
	building := s.submit(image)
	system.Eventually(t, patience, func() (bool, string) {
		steps, err := system.Progress(s.Temporal(), building)
		return err == nil && slices.ContainsFunc(steps, func(p contract.StepProgress) bool {
			return p.Step == contract.FetchImage && p.State == contract.StepRunning
		}), "the build does not wait for its host"
	})

	// The order that docs/operations.md gives: databases first, then what they speak of.
	s.backup()
	s.save("images", s.images())
	s.save("state", s.state())
	s.Restart(s.host)
	s.becomes(building, "ACTIVE")
	newer, newerImage := s.active(image), s.upload("newer")
	s.delete(doomed)
	s.told()
	v, err := s.Store.Server(t.Context(), newer)
	require.NoError(t, err)
	newerAddress := v.Ports[0].FixedIPs[0].IP
	all := []string{old, doomed, building, newer}
	require.Equal(t, []string{old, building, newer}, s.guests(all...))

	t.Run("the databases, Temporal's too, under guests that run", func(t *testing.T) {
		s.t = t
		s.meanwhile(s.restoreDatabases, "worker", "api")
		s.heard()
		require.True(t, s.restored())
		s.becomes(building, "ACTIVE") // its build goes on from where it was, and finds everything done
		require.Equal(t, []string{old, building, newer}, s.guests(all...))
		require.FileExists(t, filepath.Join(s.images(), "images", newerImage))
		s.download(image)

		differs := []string{
			audit.ID(audit.DatabaseRestored, "database"), audit.ID(audit.DomainWithoutServer, newer+"@"+s.host), audit.ID(audit.FolderWithoutServer, newer+"@"+s.host),
			audit.ID(audit.ServerWithoutDomain, doomed+"@"+s.host),
		}
		require.Subset(t, s.audit(), differs)
		require.Subset(t, s.audit("--repair", "--yes"), differs)
		_, stderr, code := s.Slipway(t, "installation", "acknowledge", "--yes")
		require.Zero(t, code, stderr)
		require.False(t, s.restored())
		require.Subset(t, s.audit("--repair", "--yes"), differs[1:])
		require.Equal(t, []string{old, building, newer}, s.guests(all...))

		// What the database has forgotten becomes a server again, as it was, and as one it can be deleted.
		stdout, stderr, code := s.Slipway(t, "server", "adopt", newer, "--host", s.host, "-o", "json")
		require.Zero(t, code, stderr)
		require.Contains(t, stdout, newerAddress)
		_, stderr, code = s.Slipway(t, "server", "adopt", newer, "--host", s.host)
		require.NotZero(t, code)
		require.Contains(t, stderr, "already exists")
		s.becomes(newer, "ACTIVE")
		for _, id := range differs[1:3] {
			require.NotContains(t, s.audit(), id)
		}
		require.Equal(t, []string{old, building, newer}, s.guests(all...), "nobody has touched it")
		s.delete(s.active(image))
		s.delete(newer)
		require.Equal(t, []string{old, building}, s.guests(all...))
	})
	t.Run("a host's state", func(t *testing.T) {
		s.t = t
		s.meanwhile(func() { s.putBack("state", s.state()) }, s.host)
		s.heard()
		require.False(t, s.restored(), "it saw less, which is no sign of anything")
		require.Contains(t, s.audit("--repair", "--yes"), audit.ID(audit.ServerWithoutDomain, building+"@"+s.host))
		require.Equal(t, []string{old, doomed}, s.guests(all...))
	})
	t.Run("an image store", func(t *testing.T) {
		s.t = t
		s.meanwhile(func() { s.putBack("images", s.images()) }, "worker", "api")
		require.False(t, s.restored())
		s.download(image)
	})
	t.Run("everything together", func(t *testing.T) {
		s.t = t
		s.meanwhile(func() {
			s.restoreDatabases()
			s.putBack("images", s.images())
			s.putBack("state", s.state())
		}, s.host, "worker", "api")
		s.heard()
		require.False(t, s.restored(), "all of it is of one moment")
		s.becomes(building, "ACTIVE")
		system.Eventually(t, patience, func() (bool, string) {
			found := s.audit()
			return len(found) == 0, fmt.Sprint(found)
		})
		require.Equal(t, []string{old, doomed, building}, s.guests(all...))
		s.download(image)
	})
	t.Run("Slipway's database without Temporal's, which begin anew", func(t *testing.T) {
		s.t = t
		s.meanwhile(func() {
			s.withoutTemporal(func() {
				for _, name := range temporals {
					s.sql("DROP DATABASE " + name + " WITH (FORCE)")
				}
			})
			s.stopParts()
			s.startParts()
		}, "worker", "api")
		s.heard()
		require.Empty(t, s.audit())
		s.delete(doomed)
		require.Equal(t, []string{old, building}, s.guests(all...))
	})
	s.t = t
}

// begun is a build that was under way when Temporal's databases were saved, and what becomes of it when it begins anew there.
type begun struct {
	held  string     // the step that it was at
	fails string     // the step that fails afterwards, "" for none
	kind  fault.Kind // with
	id    string
}

func TestTemporalsDatabasesAreRestoredUnderServersThatWereBuiltSince(t *testing.T) {
	s := start(t, system.Options{Faults: true, Settings: map[string]any{"build": map[string]any{"host_lost": "30s", "undo_patience": "1s"}}})
	temporal := s.Temporal()
	project, err := s.Store.ProjectByName(t.Context(), "default", "demo")
	require.NoError(t, err)
	image := s.upload("older")
	// Deletes that are under way too: one that has left its host to a clean-up, and one that waits for the control plane.
	doomed := []string{s.active(image), s.active(image)}
	builds := []*begun{
		{held: contract.FetchImage},
		{held: contract.FetchImage, fails: contract.FetchImage, kind: fault.Internal},
		{held: contract.BuildDisk, fails: contract.DefineDomain, kind: fault.HostUnfit},
		{held: contract.StartDomain, fails: contract.StartDomain, kind: fault.Conflict},
	}
	hold := []faultinject.Rule{
		{ID: "delete-0", Step: contract.DestroyDomain, Server: doomed[0], Mode: faultinject.HoldBefore},
		{ID: "delete-1", Step: contract.ReleaseQuota, Server: doomed[1], Mode: faultinject.HoldBefore},
	}
	for i, b := range builds {
		key := fmt.Sprint("build-", i)
		b.id = ids.Server(project.ID, key)
		hold = append(hold, faultinject.Rule{ID: key, Step: b.held, Server: b.id, Mode: faultinject.HoldBefore})
	}
	_, err = s.Faults.Set(hold...)
	require.NoError(t, err)
	for i := range builds {
		as := *s.compute
		as.MoreHeaders = map[string]string{"Idempotency-Key": fmt.Sprint("build-", i)}
		require.Equal(t, builds[i].id, s.submitAs(&as, image))
	}
	for _, id := range doomed {
		require.NoError(t, servers.Delete(t.Context(), s.compute, id).ExtractErr())
	}
	system.Eventually(t, patience, func() (bool, string) {
		for _, r := range hold {
			if held, err := s.Faults.Held(r.ID); err != nil || len(held) == 0 {
				return false, fmt.Sprintf("%s is not held: %v", r.ID, err)
			}
		}
		return true, ""
	})
	begins := map[string]string{} // runs that the saved databases hold, by workflow
	for _, id := range append([]string{ids.CleanUpWorkflow(doomed[0]), ids.ServerWorkflow(doomed[1])}, workflowsOf(builds)...) {
		system.Eventually(t, patience, func() (bool, string) {
			d, err := temporal.DescribeWorkflow(context.Background(), id, "")
			if err != nil {
				return false, err.Error() // the clean-up begins when the delete's patience ends
			}
			begins[id] = d.RawResponse.WorkflowExecutionInfo.Execution.RunId
			return d.RawResponse.WorkflowExecutionInfo.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, id + " does not run"
		})
	}
	s.ends(ids.ServerWorkflow(doomed[0]))

	s.withoutTemporal(func() {
		for _, name := range temporals {
			s.sql("CREATE DATABASE saved_" + name + " TEMPLATE " + name)
		}
	})
	require.NoError(t, s.Faults.Clear())
	all := []string{}
	for _, b := range builds {
		s.becomes(b.id, "ACTIVE")
		all = append(all, b.id)
	}
	s.becomes(doomed[1], "DELETED")
	for id := range begins {
		s.ends(id)
	}
	for range doomed { // the restored engine knows nothing of them, and they have the deleted servers' addresses
		id := s.active(image)
		s.ends(ids.ServerWorkflow(id))
		all = append(all, id)
	}
	before, domains := s.took(), s.domains(all...)
	require.Empty(t, s.audit())

	var fails []faultinject.Rule
	for _, b := range builds {
		if b.fails != "" {
			fails = append(fails, faultinject.Rule{Step: b.fails, Server: b.id, Mode: faultinject.FailBefore, Kind: b.kind})
		}
	}
	_, err = s.Faults.Set(fails...)
	require.NoError(t, err)
	s.meanwhile(func() {
		s.withoutTemporal(func() {
			for _, name := range temporals {
				s.sql("DROP DATABASE " + name + " WITH (FORCE)")
				s.sql("CREATE DATABASE " + name + " TEMPLATE saved_" + name)
			}
		})
	}, s.host, "worker", "api")
	for _, b := range builds {
		status := s.ends(ids.ServerWorkflow(b.id))
		err := temporal.GetWorkflow(t.Context(), ids.ServerWorkflow(b.id), "").Get(t.Context(), nil)
		if b.fails == "" {
			require.NoError(t, err)
			require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, status)
			continue
		}
		require.ErrorContains(t, err, "Another run has finished this already, and it is in use: nothing was given back.", "%+v", b)
	}
	for id, run := range begins {
		s.ends(id)
		d, err := temporal.DescribeWorkflow(t.Context(), id, "")
		require.NoError(t, err)
		require.Equal(t, run, d.RawResponse.WorkflowExecutionInfo.Execution.RunId, "what was restored has ended, and nothing has begun behind it: %s", id)
	}
	injected, err := s.Faults.Injected()
	require.NoError(t, err)
	for _, b := range builds {
		require.Equal(t, b.fails != "", slices.ContainsFunc(injected, func(i faultinject.Injection) bool {
			return i.Server == b.id && i.Step == b.fails && i.Mode == faultinject.FailBefore
		}), "%+v", b)
	}

	for _, id := range all {
		s.becomes(id, "ACTIVE")
	}
	require.Equal(t, before, s.took())
	require.Equal(t, domains, s.domains(all...))
	require.Equal(t, all, s.guests(append(slices.Clone(all), doomed...)...))
	require.False(t, s.restored(), "Slipway's own database is the newest")
	require.Empty(t, s.audit())
	require.NoError(t, s.Faults.Clear())
	for _, id := range all { // each can be used as before
		s.delete(id)
	}
	require.Empty(t, s.guests(all...))
}

func workflowsOf(builds []*begun) []string {
	var all []string
	for _, b := range builds {
		all = append(all, ids.ServerWorkflow(b.id))
	}
	return all
}

// ends waits for the end of the newest run under a workflow's id.
func (s *site) ends(workflowID string) (status enumspb.WorkflowExecutionStatus) {
	s.t.Helper()
	temporal := s.Temporal()
	system.Eventually(s.t, patience, func() (bool, string) {
		d, err := temporal.DescribeWorkflow(context.Background(), workflowID, "")
		if err != nil {
			return false, err.Error()
		}
		status = d.RawResponse.WorkflowExecutionInfo.Status
		return status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, workflowID + " runs"
	})
	return status
}

// took is all that servers are and hold, without when their steps ran.
func (s *site) took() map[string][]string {
	s.t.Helper()
	world := s.World(s.t)
	delete(world, "instance_action_events")
	return world
}

// domains are the definitions and states of domains.
func (s *site) domains(of ...string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, id := range of {
		text, err := os.ReadFile(filepath.Join(s.state(), "fake", id+".json"))
		require.NoError(s.t, err)
		all[id] = string(text)
	}
	return all
}
