// Package audit holds that the audit finds what goes wrong behind Slipway's back, and nothing while builds and deletes run:
// real processes on the real engine and database, with the fake hypervisor.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

const patience = time.Minute

// rig is a system with an image, a flavor and somebody who boots.
type rig struct {
	*system.System
	compute        *gophercloud.ServiceClient
	image, network string
	db             *pgx.Conn
}

func newRig(t *testing.T, hosts int, settings map[string]any) *rig {
	t.Helper()
	all := map[string]any{
		"quota": map[string]any{"instances": -1, "cores": -1, "ram_mib": -1},
		"build": map[string]any{"host_lost": "5s", "host_unavailable": "1s", "undo_patience": "1s"},
	}
	for k, v := range settings {
		all[k] = v
	}
	s := system.Start(t, system.Options{Hosts: hosts, Hypervisor: "fake", Settings: all})
	s.Flavor(t, "small", 64)
	r := &rig{
		System: s, compute: system.Compute(t, s.Demo()), network: s.SharedNetwork(t).ID,
		image: system.Upload(t, system.Image(t, s.Demo()), images.CreateOpts{Name: "raw"}, bytes.NewReader(make([]byte, 1<<20))),
	}
	var err error
	r.db, err = pgx.Connect(t.Context(), s.DSN)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.db.Close(context.Background())) })
	return r
}

func (r *rig) submit(t *testing.T) string {
	t.Helper()
	made, err := servers.Create(t.Context(), r.compute, servers.CreateOpts{
		Name: "guest", ImageRef: r.image, FlavorRef: "small", Networks: []servers.Network{{UUID: r.network}, {UUID: r.network}}, ConfigDrive: new(true),
	}, nil).Extract()
	require.NoError(t, err)
	return made.ID
}

// status is a server's, DELETED when it is gone.
func (r *rig) status(t *testing.T, id string) string {
	t.Helper()
	v, err := r.Store.ServerEvenDeleted(context.Background(), id)
	require.NoError(t, err)
	return lifecycle.Status(v.VMState, v.Task())
}

func (r *rig) waitFor(t *testing.T, id, status string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		now := r.status(t, id)
		return now == status, fmt.Sprintf("server %s is %s, not %s", id, now, status)
	})
}

// settled waits until no workflow works on the server: its row is done a moment before.
func (r *rig) settled(t *testing.T, engine client.Client, id string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		d, err := engine.DescribeWorkflow(context.Background(), ids.ServerWorkflow(id), "")
		require.NoError(t, err)
		return d.RawResponse.GetWorkflowExecutionInfo().GetCloseTime() != nil, "the workflow of " + id + " runs"
	})
}

func (r *rig) active(t *testing.T, engine client.Client) string {
	t.Helper()
	id := r.submit(t)
	r.waitFor(t, id, "ACTIVE")
	r.settled(t, engine, id)
	return id
}

func (r *rig) deleted(t *testing.T, engine client.Client, id string) {
	t.Helper()
	require.NoError(t, servers.Delete(t.Context(), r.compute, id).ExtractErr())
	r.waitFor(t, id, "DELETED")
	r.settled(t, engine, id)
}

// sql changes the database behind Slipway's back.
func (r *rig) sql(t *testing.T, statement string, args ...any) {
	t.Helper()
	done, err := r.db.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
	require.NotZero(t, done.RowsAffected(), statement)
}

// finding is one line of the command's JSON.
type finding struct {
	ID, Kind, Severity, Object, Text string
	ServerID                         string `json:"server_id"`
	Host, Repair                     string
}

// audit runs one and answers what it found and the exit status.
func (r *rig) audit(t *testing.T) ([]finding, int) {
	t.Helper()
	stdout, stderr, code := r.Slipway(t, "audit", "-o", "json")
	var answer struct{ Findings []finding }
	require.NoError(t, json.Unmarshal([]byte(stdout), &answer), "%d: %s%s", code, stdout, stderr)
	return answer.Findings, code
}

func (r *rig) instances(host string) string { return filepath.Join(r.HostState(host), "instances") }

// define puts a domain on a host's fake hypervisor, which reads its world when it starts.
func (r *rig) define(t *testing.T, host, id string) {
	t.Helper()
	d := hypervisor.Domain{UUID: id, Name: "slipway-" + id, VCPUs: 1, MemoryMiB: 64, ConsoleLog: filepath.Join(r.instances(host), id, "console.log")}
	text, err := json.Marshal(fake.Record{Domain: d, State: hypervisor.Running})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(r.HostState(host), "fake", id+".json"), text, 0o644))
}

// hostOf is where a server is placed.
func (r *rig) hostOf(t *testing.T, id string) string {
	t.Helper()
	v, err := r.Store.Server(t.Context(), id)
	require.NoError(t, err)
	return v.Host.Hostname
}

func (r *rig) other(host string) string {
	return r.Hosts[(slices.Index(r.Hosts, host)+1)%len(r.Hosts)]
}

const hostID = "(SELECT id FROM hosts WHERE hostname = $2)"

func TestWhatGoesWrongBehindSlipwaysBackIsFoundAndRepaired(t *testing.T) {
	r := newRig(t, 2, nil)
	engine := r.Temporal()
	found, code := r.audit(t)
	require.Empty(t, found)
	require.Zero(t, code)

	gone, lostBuild, lostDelete, unclaimed, homeless, imageless := r.active(t, engine), r.active(t, engine), r.active(t, engine), r.active(t, engine), r.active(t, engine), r.active(t, engine)
	r.deleted(t, engine, gone)
	found, code = r.audit(t)
	require.Empty(t, found)
	require.Zero(t, code)
	before := r.World(t)

	// Everything that can be left, lost or forgotten.
	stray, oldHost := uuid.NewString(), r.other(r.hostOf(t, unclaimed))
	want := map[string]string{}
	expect := func(kind audit.Kind, object, host string) { want[audit.ID(kind, object)] = string(kind) + " " + host }

	r.sql(t, `INSERT INTO claims SELECT $1, project_id, 1, 1, 64, now() FROM servers WHERE id = $2`, gone, gone)
	expect(audit.ClaimWithoutServer, gone, "")
	r.sql(t, `INSERT INTO server_specs SELECT $1, key_id, sealed, now() FROM server_specs WHERE server_id = $2`, gone, unclaimed)
	expect(audit.SpecWithoutServer, gone, "")
	r.sql(t, `DELETE FROM claims WHERE server_id = $1`, unclaimed)
	expect(audit.ServerWithoutClaim, unclaimed, "")
	r.sql(t, `INSERT INTO placements (server_id, host_id, vcpus, memory_mib, disk_gib, created_at) VALUES ($1, `+hostID+`, 1, 64, 1, now())`, unclaimed, oldHost)
	expect(audit.AllocationWithoutServer, unclaimed+"@"+oldHost, oldHost)
	r.sql(t, `DELETE FROM placements WHERE server_id = $1`, homeless)
	expect(audit.ServerWithoutAllocation, homeless, "")
	port := uuid.NewString()
	r.sql(t, `INSERT INTO ports (id, network_id, project_id, name, mac, server_id, nic_index, made_by_build, created_at, updated_at)
		SELECT $1, $2, project_id, '', 'fa:16:3e:ff:ff:01', id, 0, true, now(), now() FROM servers WHERE id = $3`, port, r.network, gone)
	expect(audit.PortWithoutServer, port, "")
	r.sql(t, `UPDATE servers SET status = 'BUILD' WHERE id = $1`, lostBuild)
	expect(audit.BuildWithoutWorkflow, lostBuild, "")
	r.sql(t, `UPDATE servers SET task_state = 'deleting' WHERE id = $1`, lostDelete)
	expect(audit.DeleteWithoutWorkflow, lostDelete, "")

	host := r.Hosts[0]
	require.NoError(t, os.MkdirAll(filepath.Join(r.instances(host), stray), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(r.instances(host), stray, "disk"), []byte("x"), 0o644))
	expect(audit.FolderWithoutServer, stray+"@"+host, host)
	for _, h := range r.Hosts {
		r.Stop(h)
	}
	r.define(t, host, stray)
	expect(audit.DomainWithoutServer, stray+"@"+host, host)
	r.define(t, oldHost, unclaimed) // it moved, and its old host still runs it, without a folder
	expect(audit.DomainWithoutServer, unclaimed+"@"+oldHost, oldHost)
	for _, h := range r.Hosts {
		r.Restart(h)
	}
	imageHost := r.hostOf(t, imageless)
	var sha string
	require.NoError(t, r.db.QueryRow(t.Context(), `SELECT sha512 FROM images WHERE id = $1`, r.image).Scan(&sha))
	require.NoError(t, os.Remove(filepath.Join(r.HostState(imageHost), "images", sha)))
	for _, id := range []string{unclaimed, homeless, imageless} { // they lean on the same image
		if r.hostOf(t, id) == imageHost {
			expect(audit.DiskWithoutImage, id+"@"+imageHost, imageHost)
		}
	}
	part := strings.Repeat("ab", 64)
	path := filepath.Join(r.HostState(host), "images", part+".part")
	require.NoError(t, os.WriteFile(path, []byte("begun"), 0o600))
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	expect(audit.PartialDownload, part+"@"+host, host)

	found, code = r.audit(t)
	require.Equal(t, 3, code)
	requireFound(t, want, found)
	again, _ := r.audit(t)
	requireFound(t, want, again)

	// Without an answer, nothing is done.
	_, stderr, code := r.Slipway(t, "audit", "--repair")
	require.Equal(t, 2, code, stderr)
	require.Contains(t, stderr, "--yes")
	again, _ = r.audit(t)
	requireFound(t, want, again)

	// One first, by its id.
	_, stderr, code = r.Slipway(t, "audit", "--repair", audit.ID(audit.ClaimWithoutServer, gone), "--yes")
	require.Equal(t, 3, code, stderr)
	delete(want, audit.ID(audit.ClaimWithoutServer, gone))
	again, _ = r.audit(t)
	requireFound(t, want, again)

	// What no row knows may be the database's mistake, and has to be named.
	unknown := []string{audit.ID(audit.DomainWithoutServer, stray+"@"+host), audit.ID(audit.FolderWithoutServer, stray+"@"+host)}
	_, stderr, code = r.Slipway(t, "audit", "--repair", "--yes")
	require.Equal(t, 3, code, stderr)
	require.Contains(t, stderr, "2 findings left out")
	require.Equal(t, len(want)-len(unknown), strings.Count(stderr, ": repaired")+strings.Count(stderr, ": gone"), stderr) // servers share an image: one fetch repairs them all
	require.DirExists(t, filepath.Join(r.instances(host), stray))
	_, stderr, code = r.Slipway(t, "audit", "--repair", unknown[0], unknown[1], "--yes")
	require.Zero(t, code, stderr)
	require.Equal(t, 2, strings.Count(stderr, ": repaired"), stderr)
	r.waitFor(t, lostDelete, "DELETED")
	r.waitFor(t, lostBuild, "ERROR")
	r.settled(t, engine, lostDelete)
	found, code = r.audit(t)
	require.Empty(t, found)
	require.Zero(t, code)

	// What was right is right again, and what ended has given everything back.
	r.deleted(t, engine, lostBuild)
	after := r.World(t)
	for _, table := range []string{"claims", "placements", "ports"} {
		var kept []string
		for _, row := range before[table] {
			if !strings.Contains(row, lostBuild) && !strings.Contains(row, lostDelete) {
				kept = append(kept, withoutTimes(t, row))
			}
		}
		var now []string
		for _, row := range after[table] {
			now = append(now, withoutTimes(t, row))
		}
		require.ElementsMatch(t, kept, now, table)
	}
	for _, id := range []string{stray, lostBuild, lostDelete, gone} {
		require.NoDirExists(t, filepath.Join(r.instances(host), id))
		require.NoFileExists(t, filepath.Join(r.HostState(host), "fake", id+".json"))
	}
	require.NoFileExists(t, path)

	var by, user string
	require.NoError(t, r.db.QueryRow(t.Context(), `SELECT repaired_by, u.id FROM audit_findings f, users u WHERE f.id = $1 AND u.name = 'admin'`,
		audit.ID(audit.DomainWithoutServer, stray+"@"+host)).Scan(&by, &user))
	require.Equal(t, user, by, "it is kept who repaired it")
}

func requireFound(t *testing.T, want map[string]string, found []finding) {
	t.Helper()
	got := map[string]string{}
	for _, f := range found {
		host := ""
		if !slices.Contains([]string{"server-without-claim", "server-without-allocation", "build-without-workflow", "delete-without-workflow"}, f.Kind) {
			host = f.Host
		}
		got[f.ID] = f.Kind + " " + host
	}
	require.Equal(t, want, got)
}

func withoutTimes(t *testing.T, row string) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(row), &fields))
	delete(fields, "created_at")
	delete(fields, "updated_at")
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(text)
}

func TestAHostThatDoesNotAnswerIsNotTakenForClean(t *testing.T) {
	r := newRig(t, 2, nil)
	engine := r.Temporal()
	id := r.active(t, engine)
	host := r.hostOf(t, id)
	require.NoError(t, os.MkdirAll(filepath.Join(r.instances(host), uuid.Max.String()), 0o755))
	found, code := r.audit(t)
	require.Equal(t, 3, code)
	require.Len(t, found, 1)

	r.Stop(host)
	found, code = r.audit(t)
	require.Equal(t, 3, code, "what was found there before is not resolved by silence")
	require.Len(t, found, 2)

	require.NoError(t, os.Remove(filepath.Join(r.instances(host), uuid.Max.String())))
	r.Restart(host)
	found, code = r.audit(t)
	require.Empty(t, found)
	require.Zero(t, code)

	r.Stop(host)
	found, code = r.audit(t)
	require.Equal(t, 4, code)
	require.Equal(t, []string{"host-not-looked-at warning " + host}, []string{found[0].Kind + " " + found[0].Severity + " " + found[0].Host})
	r.Restart(host)
	r.deleted(t, engine, id)
}

func TestAGuestThatIsNotWhatItsServerIsIsFoundUntilItIs(t *testing.T) {
	r := newRig(t, 1, nil)
	engine := r.Temporal()
	id := r.active(t, engine)
	act := func(name string) {
		t.Helper()
		action, _ := lifecycle.Find(name)
		require.NoError(t, system.Ask(t, r.compute, id, action))
		r.waitFor(t, id, lifecycle.Status(action.To, ""))
		r.settled(t, engine, id)
	}
	clean := func(after string) {
		t.Helper()
		found, code := r.audit(t)
		require.Empty(t, found, after)
		require.Zero(t, code)
	}
	for _, name := range []string{"pause", "unpause", "rescue", "unrescue", "suspend"} {
		act(name)
		clean(name)
	}
	file := filepath.Join(r.HostState(r.Hosts[0]), "fake", id+".json")
	for _, behind := range []struct {
		change func(*fake.Record)
		says   string
		mends  string
	}{
		{func(d *fake.Record) { d.Saved = false }, "is SUSPENDED on " + r.Hosts[0] + ", and its guest is off, and its memory was not kept", "reboot-hard"},
		{func(d *fake.Record) { d.State = hypervisor.Paused }, "is ACTIVE on " + r.Hosts[0] + ", and its guest is paused", "reboot-hard"},
	} {
		r.Stop(r.Hosts[0])
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d fake.Record
		require.NoError(t, json.Unmarshal(text, &d))
		behind.change(&d)
		text, err = json.Marshal(d)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, text, 0o644))
		r.Restart(r.Hosts[0])
		found, code := r.audit(t)
		require.Equal(t, 3, code)
		require.Len(t, found, 1)
		require.Equal(t, audit.ID(audit.GuestNotAsServer, id+"@"+r.Hosts[0]), found[0].ID)
		require.Contains(t, found[0].Text, behind.says)
		act(behind.mends)
		clean(behind.mends)
	}
	r.deleted(t, engine, id)
}

func TestNothingIsFoundWhileBuildsAndDeletesRun(t *testing.T) {
	// The schedule audits too, every second, as fast as it can.
	r := newRig(t, 2, map[string]any{"audit": map[string]any{"every": "1s"}, "host": map[string]any{"fake_start_latency": "100ms"}})
	t.Cleanup(func() { // it would outlive the test
		require.NoError(t, r.Temporal().ScheduleClient().GetHandle(context.Background(), ids.AuditSchedule(r.ControlQueue())).Delete(context.Background()))
	})
	const boots, atOnce = 30, 5
	audits, stop := make(chan int), make(chan struct{})
	go func() {
		n := 0
		defer func() { audits <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if found, code := r.audit(t); !(len(found) == 0 && code == 0) {
				t.Errorf("audit %d found %+v (exit status %d)", n, found, code)
			}
		}
	}()
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range boots {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			id := r.submit(t)
			if i%3 != 0 { // every third is deleted while it is built
				r.waitFor(t, id, "ACTIVE")
			}
			require.NoError(t, servers.Delete(context.Background(), r.compute, id).ExtractErr())
			r.waitFor(t, id, "DELETED")
		})
	}
	all.Wait()
	close(stop)
	require.Greater(t, <-audits, 3, "audits of the command")
	found, code := r.audit(t)
	require.Empty(t, found)
	require.Zero(t, code)
	var ever, scheduled int
	require.NoError(t, r.db.QueryRow(t.Context(), `SELECT count(*) FROM audit_findings`).Scan(&ever))
	require.Zero(t, ever, "nothing was ever found")
	require.NoError(t, r.db.QueryRow(t.Context(), `SELECT count(*) FROM audit_runs WHERE state = 'done'`).Scan(&scheduled))
	require.Greater(t, scheduled, 5)
}
