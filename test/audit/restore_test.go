package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// stopped does something with the system's database while its control plane is stopped: hosts and guests go on.
func (r *rig) stopped(t *testing.T, do func(name string, admin func(sql string))) {
	t.Helper()
	ctx := context.Background()
	r.Stop("api")
	r.Stop("worker")
	c, err := pgx.Connect(ctx, testenv.Maintenance(t))
	require.NoError(t, err)
	defer c.Close(ctx)
	name := r.db.Config().Database
	require.NoError(t, r.db.Close(ctx))
	exec := func(sql string) {
		t.Helper()
		_, err := c.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
	_, err = c.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	require.NoError(t, err)
	do(name, exec)
	r.db, err = pgx.Connect(ctx, r.DSN)
	require.NoError(t, err)
	good := 0 // the sessions of the test's own store were ended too
	system.Eventually(t, patience, func() (bool, string) {
		if r.Store.Ping(ctx) == nil {
			good++
		}
		return good == 10, "the test's store does not answer"
	})
	r.Restart("api")
	r.Restart("worker")
}

func (r *rig) runs(host, id string) bool {
	_, err := os.Stat(filepath.Join(r.HostState(host), "fake", id+".json"))
	return err == nil
}

// A database of yesterday comes back under guests and images of today: nothing of today is gone, whoever asks, and what an
// operator then names is.
func TestNothingIsGoneAfterTheDatabaseWasRestored(t *testing.T) {
	r := newRig(t, 1, nil)
	engine, host := r.Temporal(), r.Hosts[0]
	old := r.active(t, engine)

	backup := "backup_" + uuid.NewString()[:8]
	r.stopped(t, func(name string, admin func(string)) { admin(`CREATE DATABASE ` + backup + ` TEMPLATE ` + name) })
	require.NoError(t, r.Store.AdvanceGeneration(t.Context(), 0))
	i, err := r.Store.Installation(t.Context())
	require.NoError(t, err)
	newer, undone := r.active(t, engine), r.active(t, engine)
	image := system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "newer"}, bytes.NewReader(make([]byte, 1<<20)))
	bytesOf := filepath.Join(r.Dir, "images", "images", image)
	require.FileExists(t, bytesOf)
	system.Eventually(t, patience, func() (bool, string) {
		h, err := r.Store.HostByName(t.Context(), host)
		require.NoError(t, err)
		return h.Generation >= i.Generation, "the host was not told how far the database is"
	})

	r.stopped(t, func(name string, admin func(string)) {
		admin(`DROP DATABASE ` + name)
		admin(`ALTER DATABASE ` + backup + ` RENAME TO ` + name)
	})
	shown := func() (i struct {
		ID       string
		Restored bool
		Restore  struct{ Evidence []struct{ Witness string } }
	}) {
		t.Helper()
		stdout, stderr, code := r.Slipway(t, "installation", "show", "-o", "json")
		require.Zero(t, code, stderr)
		require.NoError(t, json.Unmarshal([]byte(stdout), &i))
		return i
	}
	system.Eventually(t, patience, func() (bool, string) {
		witnesses := shown().Restore.Evidence
		return slices.ContainsFunc(witnesses, func(e struct{ Witness string }) bool { return e.Witness == "host "+host }), "the host has not told yet"
	})
	require.True(t, shown().Restored)
	require.Equal(t, i.ID, shown().ID)
	require.Contains(t, r.Log("api"), "it was restored from a backup")

	// An undo that a workflow brings along from before.
	undo := func(id string) contract.CleanUpInput {
		pending := contract.PendingUndo{Undoing: contract.Undoing{Activity: contract.DestroyDomain, Host: host, Input: contract.Undo{ServerID: id, Hostname: host}}, Name: contract.DestroyDomain, Chain: "attempt/1"}
		forget := pending
		forget.Activity, forget.Name = contract.UndefineDomain, contract.UndefineDomain
		return contract.CleanUpInput{ServerID: id, Undos: []contract.PendingUndo{forget, pending}, Deadlines: contract.DefaultDeadlines()}
	}
	_, err = engine.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: ids.CleanUpWorkflow(undone), TaskQueue: r.ControlQueue()}, contract.WorkflowCleanUp, undo(undone))
	require.NoError(t, err)
	system.Eventually(t, patience, func() (bool, string) {
		return bytes.Contains([]byte(r.Log(host)), []byte("the undo waits until the API lets it")), "no undo was held"
	})

	domain, folder := audit.ID(audit.DomainWithoutServer, newer+"@"+host), audit.ID(audit.FolderWithoutServer, newer+"@"+host)
	untouched := func() {
		t.Helper()
		for _, id := range []string{old, newer, undone} {
			require.True(t, r.runs(host, id), "%s is gone", id)
			require.DirExists(t, filepath.Join(r.instances(host), id))
		}
		require.FileExists(t, bytesOf)
	}
	found, code := r.audit(t)
	require.Equal(t, 3, code)
	ids := []string{}
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	require.Subset(t, ids, []string{domain, folder, audit.ID(audit.DatabaseRestored, "database")}, "%+v", found)
	_, stderr, code := r.Slipway(t, "audit", "--repair", "--yes")
	require.Equal(t, 3, code, stderr)
	require.Contains(t, stderr, "2 findings left out")
	untouched()
	_, stderr, code = r.Slipway(t, "audit", "--repair", domain, folder, "--yes")
	require.Equal(t, 3, code, stderr)
	require.Contains(t, stderr, domain+": left: the database was restored, and nobody has acknowledged that")
	untouched()

	// What is known goes on meanwhile.
	r.deleted(t, engine, old)
	require.False(t, r.runs(host, old))

	_, stderr, code = r.Slipway(t, "installation", "acknowledge", "--yes")
	require.Zero(t, code, stderr)
	require.False(t, shown().Restored)
	system.Eventually(t, patience, func() (bool, string) { return !r.runs(host, undone), "the undo that was held does not go on" })
	_, stderr, code = r.Slipway(t, "audit", "--repair", "--yes")
	require.Equal(t, 3, code, stderr)
	require.True(t, r.runs(host, newer), "it was not named")
	_, stderr, _ = r.Slipway(t, "audit", "--repair", domain, "--yes")
	require.Contains(t, stderr, domain+": repaired")
	require.False(t, r.runs(host, newer))
	require.NoDirExists(t, filepath.Join(r.instances(host), newer))
}
