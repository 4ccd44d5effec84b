package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// asked is an engine that answers the n-th question about a workflow with the n-th run, and then with the last.
type asked struct {
	runs map[string][]string // by workflow id; "running" is one that runs
	n    map[string]int
	err  error
}

func (a *asked) Latest(_ context.Context, id string) (string, bool, error) {
	runs := a.runs[id]
	if a.err != nil || len(runs) == 0 {
		return "", false, a.err
	}
	if a.n == nil {
		a.n = map[string]int{}
	}
	run := runs[min(a.n[id], len(runs)-1)]
	a.n[id]++
	return run, run == "running", nil
}

// leaky is a store with a claim of a server that does not exist.
func leaky(t *testing.T) (store *models.Store, server string) {
	t.Helper()
	store, err := models.Open(t.Context(), testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(t.Context(), models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	server = uuid.NewString()
	require.NoError(t, store.ClaimQuota(t.Context(), models.Claim{ServerID: server, ProjectID: "p1", Instances: 1}, models.Limits{Instances: -1, Cores: -1, RAMMiB: -1}))
	return store, server
}

func open(t *testing.T, store *models.Store) []string {
	t.Helper()
	found, err := store.AuditFindings(t.Context(), models.AuditFindingFilter{})
	require.NoError(t, err)
	kinds := []string{}
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

func TestOnlyWhatNothingWorksOnIsFound(t *testing.T) {
	store, id := leaky(t)
	own, clean := ids.ServerWorkflow(id), ids.CleanUpWorkflow(id)
	leak := []string{string(audit.ClaimWithoutServer)}
	for _, c := range []struct {
		name string
		runs map[string][]string
		want []string
	}{
		{"its build has begun", map[string][]string{own: {"running"}}, []string{}},
		{"its build begins between the looks", map[string][]string{own: {"", "running"}}, []string{}},
		{"its build has begun and ended between the looks", map[string][]string{own: {"run1", "run2"}}, []string{}},
		{"its clean-up begins between the looks", map[string][]string{own: {"run1"}, clean: {"", "running"}}, []string{}},
		{"its clean-up ends between the looks", map[string][]string{own: {"run1"}, clean: {"running", "run1"}}, []string{}},
		{"everything of it has ended", map[string][]string{own: {"run2"}, clean: {"run1"}}, leak},
		{"it was found before, and now its delete runs", map[string][]string{own: {"running"}}, leak},
		{"it was found before, and its delete begins between the looks", map[string][]string{own: {"run2", "running"}}, leak},
		{"nothing ever ran", nil, leak},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, NewAudit(store, &asked{runs: c.runs}, nil).AuditRecords(t.Context(), contract.AuditRun{RunID: "run"}))
			require.Equal(t, c.want, open(t, store))
		})
	}
	require.Error(t, NewAudit(store, &asked{err: errors.New("no engine")}, nil).AuditRecords(t.Context(), contract.AuditRun{RunID: "run"}))
	require.Equal(t, leak, open(t, store), "an engine that does not answer resolves nothing")
	require.NoError(t, store.ReleaseClaim(t.Context(), id))
	require.NoError(t, NewAudit(store, &asked{}, nil).AuditRecords(t.Context(), contract.AuditRun{RunID: "run"}))
	require.Empty(t, open(t, store), "it is resolved")
}

func TestWhatAHostShowsIsLookedAtTwice(t *testing.T) {
	store, id := leaky(t)
	stray := contract.Instance{ID: id, Domain: "running", Folder: true}
	first := contract.Inventory{Hostname: "hv1", Things: []contract.Instance{stray}}
	again := contract.Inventory{Hostname: "hv1", Only: true, Servers: []string{id}, Things: []contract.Instance{stray}}
	look := func(engine *asked, second contract.Inventory) []string {
		a := NewAudit(store, engine, nil)
		in := contract.AuditHostInput{RunID: "run", Inventory: first, First: contract.Inventory{Hostname: "hv1"}, Last: true}
		out, err := a.AuditHost(t.Context(), in)
		require.NoError(t, err)
		if len(out.Candidates) > 0 {
			in.Inventory, in.Candidates, in.Left, in.Final = second, out.Candidates, out.Left, true
			_, err = a.AuditHost(t.Context(), in)
			require.NoError(t, err)
		}
		return open(t, store)
	}
	own := ids.ServerWorkflow(id)
	both := []string{string(audit.DomainWithoutServer), string(audit.FolderWithoutServer)}
	require.Empty(t, look(&asked{runs: map[string][]string{own: {"running"}}}, again), "it is being built there")
	require.Empty(t, look(&asked{}, contract.Inventory{Hostname: "hv1", Only: true, Servers: []string{id}}), "it went meanwhile")
	require.Empty(t, look(&asked{runs: map[string][]string{own: {"run1", "run2"}}}, again), "its workflow ran meanwhile")
	require.Equal(t, both, look(&asked{runs: map[string][]string{own: {"run1"}}}, again))

	require.NoError(t, NewAudit(store, &asked{}, nil).MissHost(t.Context(), contract.MissHostInput{RunID: "run", Hostname: "hv1", Why: "silence"}))
	require.Equal(t, append(both, string(audit.HostNotLookedAt)), open(t, store), "silence resolves nothing")
	require.Equal(t, both, look(&asked{runs: map[string][]string{own: {"running"}}}, again), "it was looked at; what works on the server may end otherwise")
	require.Empty(t, look(&asked{}, contract.Inventory{Hostname: "hv1", Only: true, Servers: []string{id}}))
}

func TestARepairIsPlannedOnlyWhileNoCleanUpRuns(t *testing.T) {
	store, id := leaky(t)
	in := contract.PlanRepairInput{RepairServerInput: contract.RepairServerInput{
		ServerID: id, Findings: []contract.RepairFinding{{ID: audit.ID(audit.ClaimWithoutServer, id)}},
	}}
	// The repair itself runs under the server's own id.
	engine := &asked{runs: map[string][]string{ids.ServerWorkflow(id): {"running"}, ids.CleanUpWorkflow(id): {"running", "run1"}}}
	plan, err := NewAudit(store, engine, nil).PlanRepair(t.Context(), in)
	require.NoError(t, err)
	require.Empty(t, plan.Steps)
	require.Equal(t, contract.OutcomeLeft, plan.Outcomes[0].Outcome)
	plan, err = NewAudit(store, engine, nil).PlanRepair(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, contract.ReleaseQuota, plan.Steps[0].Activity)
}

// lying is what lies in the stores.
type lying struct {
	orphans []images.Orphan
	err     error
}

func (l lying) Orphans(context.Context) ([]images.Orphan, error) { return l.orphans, l.err }

func TestWhatLiesInTheStoresAndNoImageHasIsFoundAndSilenceResolvesNothing(t *testing.T) {
	store, id := leaky(t)
	require.NoError(t, store.ReleaseClaim(t.Context(), id))
	look := func(l lying) []string {
		require.NoError(t, NewAudit(store, &asked{}, l).AuditRecords(t.Context(), contract.AuditRun{RunID: "run"}))
		return open(t, store)
	}
	one := images.Orphan{Orphan: imagestore.Orphan{ID: "a", Since: time.Now()}, Store: "local"}
	both := []string{string(audit.BytesWithoutImage)}
	require.Equal(t, both, look(lying{orphans: []images.Orphan{one}}))
	require.Equal(t, append(both, string(audit.StoresNotLookedAt)), look(lying{err: errors.New("silence")}))
	require.Equal(t, both, look(lying{orphans: []images.Orphan{one}}))
	var many []images.Orphan
	for n := range images.Few + 1 {
		many = append(many, images.Orphan{Orphan: imagestore.Orphan{ID: fmt.Sprint(n)}, Store: "local"})
	}
	require.Equal(t, []string{string(audit.ManyWithoutImage)}, look(lying{orphans: many}))
	require.Empty(t, look(lying{}))
}

func TestAnAuditTellsOfNetworksThatTheirEngineDoesNotHave(t *testing.T) {
	dsn := testenv.Migrated(t)
	store, err := models.Open(t.Context(), dsn, models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(t.Context(), models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	require.NoError(t, store.KeepNetworkChanges(t.Context(), "ovn"))
	_, err = store.CreateNetwork(t.Context(), models.Network{ProjectID: "p1", Name: "n"})
	require.NoError(t, err)
	a := NewAudit(store, &asked{}, nil)
	require.NoError(t, a.auditNetworks(t.Context(), "run"))
	require.NotContains(t, open(t, store), string(audit.NetworkEngineBehind), "it has just changed")
	waits := func(cause string) {
		db, err := pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
		defer db.Close(context.Background())
		_, err = db.Exec(t.Context(), `UPDATE network_changes SET changed_at = now() - interval '1 hour', last_error = NULLIF($1, '')`, cause)
		require.NoError(t, err)
		require.NoError(t, a.auditNetworks(t.Context(), "run"))
	}
	waits("")
	require.Contains(t, open(t, store), string(audit.NetworkEngineBehind))
	waits("no")
	require.Contains(t, open(t, store), string(audit.NetworkNotApplied))
	require.NotContains(t, open(t, store), string(audit.NetworkEngineBehind))
	require.NoError(t, store.KeepNetworkChanges(t.Context(), ""))
	require.NoError(t, a.auditNetworks(t.Context(), "run"))
	require.NotContains(t, open(t, store), string(audit.NetworkNotApplied))
}
