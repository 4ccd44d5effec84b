package models

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func aFinding(kind, object, serverID, host string) AuditFinding {
	return AuditFinding{ID: audit.ID(audit.Kind(kind), object), Kind: kind, Object: object, ServerID: serverID, Host: host, Text: "wrong", Repair: "right it"}
}

// openObjects are the open findings' objects.
func (w *world) openObjects(t *testing.T) []string {
	t.Helper()
	open, err := w.AuditFindings(t.Context(), AuditFindingFilter{})
	require.NoError(t, err)
	objects := []string{}
	for _, f := range open {
		objects = append(objects, f.Object)
	}
	return objects
}

func TestAFindingIsOneRowForAsLongAsItIsFound(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.BeginAuditRun(ctx, "run1", now())
	require.NoError(t, err)
	records := AuditScope{Name: "records"}
	first, second := now().Add(-time.Hour), now().Add(-time.Minute)
	a, b := aFinding("claim-without-server", "a", "a", ""), aFinding("claim-without-server", "b", "b", "")
	require.NoError(t, w.RecordFindings(ctx, "run1", records, []AuditFinding{a, b}, nil, "", first))
	changed := a
	changed.Text = "worse"
	require.NoError(t, w.RecordFindings(ctx, "run1", records, []AuditFinding{changed}, nil, "", second))
	open, err := w.AuditFindings(ctx, AuditFindingFilter{})
	require.NoError(t, err)
	require.Len(t, open, 1, "b is resolved")
	require.Equal(t, []any{a.ID, "worse", first, second}, []any{open[0].ID, open[0].Text, open[0].FirstSeen, open[0].LastSeen})

	require.NoError(t, w.RecordFindings(ctx, "run1", records, []AuditFinding{a, b}, nil, "", now()))
	var rows []AuditFinding
	require.NoError(t, w.db.Where("id = ?", b.ID).Order("seq").Find(&rows).Error)
	require.Len(t, rows, 2, "what comes back is a row of its own")
	require.NotNil(t, rows[0].ResolvedAt)
	require.Nil(t, rows[1].ResolvedAt)
}

func TestWhatWasNotLookedAtIsNotResolved(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	host := AuditScope{Name: "host:hv1"}
	found := []AuditFinding{aFinding("folder-without-server", "1@hv1", "1", "hv1"), aFinding("folder-without-server", "5@hv1", "5", "hv1"), aFinding("partial-download", "p@hv1", "", "hv1")}
	keep := func(scope AuditScope, found []AuditFinding, left ...string) {
		require.NoError(t, w.RecordFindings(ctx, "run", scope, found, left, "", now()))
	}
	keep(host, found)
	keep(AuditScope{Name: "records"}, nil)
	keep(AuditScope{Name: "host:hv2"}, nil)
	require.Equal(t, []string{"1@hv1", "5@hv1", "p@hv1"}, w.openObjects(t), "another part of the world says nothing of it")
	keep(AuditScope{Name: "host:hv1", After: "5"}, nil)
	require.Equal(t, []string{"1@hv1", "5@hv1", "p@hv1"}, w.openObjects(t), "nor does the page behind it")
	keep(AuditScope{Name: "host:hv1", After: "3", Through: "5"}, nil)
	require.Equal(t, []string{"1@hv1", "p@hv1"}, w.openObjects(t))
	keep(AuditScope{Name: "host:hv1", Through: "3"}, nil, found[0].ID)
	require.Equal(t, []string{"1@hv1"}, w.openObjects(t), "what was left out stays open")
	open, err := w.OpenFindings(ctx, []string{found[0].ID, found[1].ID})
	require.NoError(t, err)
	require.Equal(t, []string{found[0].ID}, open)
}

func TestARunEndsWithWhatIsOpenAndForgetsHostsThatAreGone(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.host(t, "hv1", 4, 4096, 40)
	require.NoError(t, w.NoteAuditRun(ctx, "lost", now().Add(-time.Hour)))
	require.NoError(t, w.NoteAuditRun(ctx, "run", now().Add(-time.Minute)))
	hosts, err := w.BeginAuditRun(ctx, "run", now())
	require.NoError(t, err)
	require.Equal(t, []string{"hv1"}, hosts)
	for scope, f := range map[string]AuditFinding{
		"records": aFinding("claim-without-server", "a", "a", ""), "host:hv1": aFinding("folder-without-server", "b@hv1", "b", "hv1"),
		"host:gone": aFinding("folder-without-server", "c@gone", "c", "gone"),
	} {
		require.NoError(t, w.RecordFindings(ctx, "run", AuditScope{Name: scope}, []AuditFinding{f}, nil, "hv1", now()))
	}
	warning := aFinding("host-not-looked-at", "hv1", "", "hv1")
	warning.Warning = true
	require.NoError(t, w.RecordFindings(ctx, "run", AuditScope{Name: "missed:hv1"}, []AuditFinding{warning}, nil, "", now()))
	scopes := func(h string) []string { return []string{"host:" + h, "missed:" + h} }
	require.NoError(t, w.EndAuditRun(ctx, "run", "", scopes, now()))
	run, err := w.AuditRun(ctx, "run")
	require.NoError(t, err)
	require.Equal(t, []any{AuditDone, 2, 1, []string{"hv1"}, []string{"hv1"}}, []any{run.State, run.Findings, run.Warnings, run.Hosts, run.Looked})
	lost, err := w.AuditRun(ctx, "lost")
	require.NoError(t, err)
	require.Equal(t, AuditFailed, lost.State)
	_, err = w.AuditRun(ctx, "none")
	requireFault(t, err, fault.NotFound, "Audit none could not be found.")

	counts, err := w.AuditCounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"claim-without-server": 1, "folder-without-server": 1, "host-not-looked-at": 1}, counts.Open)
	require.Equal(t, map[string]int{"failed": 1, "findings": 1}, counts.Runs)
	require.False(t, counts.Complete)
	require.Greater(t, counts.Took, 30*time.Second)
}

func TestARepairKeepsWhoDidIt(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a, b, c := aFinding("claim-without-server", "a", "a", ""), aFinding("claim-without-server", "b", "b", ""), aFinding("claim-without-server", "c", "c", "")
	require.NoError(t, w.RecordFindings(ctx, "run", AuditScope{Name: "records"}, []AuditFinding{a, b, c}, nil, "", now()))
	r := AuditRepair{ID: "r1", UserID: "ops", RequestID: "req-1", StartedAt: now(), Findings: []string{a.ID, b.ID, c.ID}}
	require.NoError(t, w.CreateAuditRepair(ctx, r))
	require.NoError(t, w.CreateAuditRepair(ctx, r))
	require.NoError(t, w.RecordRepair(ctx, "r1", "ops", map[string]AuditOutcome{a.ID: {Outcome: "repaired"}, b.ID: {Outcome: "gone"}}, []string{a.ID}, []string{b.ID}, now()))
	require.NoError(t, w.RecordRepair(ctx, "r1", "ops", map[string]AuditOutcome{c.ID: {Outcome: "left", Text: "busy"}}, nil, nil, now()))
	require.NoError(t, w.RecordRepair(ctx, "r1", "ops", nil, nil, nil, now()))
	require.NoError(t, w.EndAuditRepair(ctx, "r1", "", now()))
	kept, err := w.AuditRepair(ctx, "r1")
	require.NoError(t, err)
	require.NotNil(t, kept.FinishedAt)
	require.Equal(t, map[string]AuditOutcome{a.ID: {Outcome: "repaired"}, b.ID: {Outcome: "gone"}, c.ID: {Outcome: "left", Text: "busy"}}, kept.Outcomes)
	require.Equal(t, []string{"c"}, w.openObjects(t))
	var rows []AuditFinding
	require.NoError(t, w.db.Order("object").Find(&rows).Error)
	require.Equal(t, new("ops"), rows[0].RepairedBy)
	require.Nil(t, rows[1].RepairedBy)
	_, err = w.AuditRepair(ctx, "r2")
	requireFault(t, err, fault.NotFound, "Repair r2 could not be found.")
}

func TestAnAuditReadsEverythingThatAServerOwns(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	h1, h2 := w.host(t, "hv1", 8, 8192, 80), w.host(t, "hv2", 8, 8192, 80)
	v := w.record(t, "web")
	require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: v.ID, ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, Limits{-1, -1, -1}))
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h1.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "spawning"))
	port, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, Hostname: "hv1"})
	require.NoError(t, err)
	at := now()
	events := []InstanceActionEvent{}
	for i, step := range []string{"SelectHost", "AllocateNetwork", "AllocateNetwork", "BuildDisk", "SelectHost", "AllocateNetwork", "AllocateNetwork"} {
		events = append(events, InstanceActionEvent{Seq: i, Event: step, StartedAt: at, EndedAt: &at, Result: new("Success")})
	}
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, Hostname: "hv1", PowerState: 1, Events: events}))
	stray := uuid.NewString()
	require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: stray, ProjectID: "p1"}, Limits{-1, -1, -1}))

	all, err := w.AuditRecords(ctx, AuditQuestion{All: true})
	require.NoError(t, err)
	require.Len(t, all.Servers, 1)
	require.WithinDuration(t, time.Now(), all.Servers[0].CreatedAt, time.Minute)
	require.Equal(t, []audit.Server{{
		ID: v.ID, CreatedAt: all.Servers[0].CreatedAt, ProjectID: "p1", Name: "web", VMState: lifecycle.Active, Launched: true, Host: "hv1", NICs: 2, VCPUs: 1, RAMMiB: 512,
		Resources: contract.Resources{VCPUs: 1, RAMMiB: 512, DiskGiB: 1}, RequestID: "req-" + v.ID,
	}}, all.Servers, "its NICs are those of the last host that was tried")
	require.Equal(t, []audit.Allocation{{ServerID: v.ID, Host: "hv1"}}, all.Allocations)
	require.Equal(t, []audit.Port{{ID: port.ID, ServerID: v.ID, NIC: 0, Made: true}}, all.Ports)
	require.Len(t, all.Claims, 2)

	for name, c := range map[string]struct {
		question AuditQuestion
		servers  int
		claims   int
	}{
		"its host":             {AuditQuestion{Hostname: "hv1"}, 1, 1},
		"another host":         {AuditQuestion{Hostname: h2.Hostname}, 0, 0},
		"the page behind it":   {AuditQuestion{Hostname: "hv1", After: v.ID}, 0, 0},
		"the page up to it":    {AuditQuestion{Hostname: "hv1", Through: v.ID}, 1, 1},
		"a server without row": {AuditQuestion{Servers: []string{stray}}, 0, 1},
		"nothing":              {AuditQuestion{}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := w.AuditRecords(ctx, c.question)
			require.NoError(t, err)
			require.Len(t, r.Servers, c.servers)
			require.Len(t, r.Claims, c.claims)
		})
	}
}

func TestRoomIsHeldAgainForAServerThatRunsThereAlone(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	h1 := w.host(t, "hv1", 1, 512, 1)
	w.host(t, "hv2", 1, 512, 1)
	v := w.record(t, "web")
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h1.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "spawning"))
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, Hostname: "hv1"}))
	require.NoError(t, w.exec(ctx, `DELETE FROM placements`))
	require.NoError(t, w.RestorePlacement(ctx, v.ID, "hv9", 2, 1024, 2), "nothing is placed on a host that is gone")
	require.NoError(t, w.RestorePlacement(ctx, v.ID, "hv2", 2, 1024, 2))
	held, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, held, "it is not placed there")
	require.NoError(t, w.RestorePlacement(ctx, v.ID, "hv1", 2, 1024, 2))
	require.NoError(t, w.RestorePlacement(ctx, v.ID, "hv1", 2, 1024, 2))
	held, err = w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, held, 1, "also beyond what the host has: it is in use")
}
