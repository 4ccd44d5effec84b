package audit_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/audit"
	found "github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

// engine is where audits and repairs would run.
type engine struct {
	run     string
	joined  bool
	repairs []contract.RepairInput
	failure error
}

func (e *engine) Audit(context.Context, string) (string, bool, error) {
	return e.run, e.joined, e.failure
}
func (e *engine) Repair(_ context.Context, in contract.RepairInput) error {
	e.repairs = append(e.repairs, in)
	return e.failure
}

func TestOperatorsRunAuditsAndRepairWhatTheyFound(t *testing.T) {
	runs := &engine{run: uuid.NewString()}
	e := apitest.New(t, func(x *echo.Echo, store *models.Store) {
		audit.New(store, runs, contract.DefaultDeadlines()).Mount(x.Group("/audits"))
	})
	admin, member := e.User(t, "ops", "admin"), e.User(t, "one", "member")
	for _, route := range []string{"GET ", "POST ", "GET /findings", "POST /repairs", "GET /repairs/x", "GET /x"} {
		method, path, _ := strings.Cut(route, " ")
		require.Equal(t, 403, e.Do(t, method, "/audits"+path, member.Token, nil).Status, route)
	}

	a := e.Do(t, "POST", "/audits", admin.Token, nil)
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, []any{runs.run, "running", false, nil}, []any{a.At(t, "audit", "id"), a.At(t, "audit", "state"), a.At(t, "joined"), a.At(t, "audit", "outcome")})
	require.Equal(t, 200, e.Do(t, "GET", "/audits/"+runs.run, admin.Token, nil).Status, "before the run has begun")
	require.Equal(t, 404, e.Do(t, "GET", "/audits/none", admin.Token, nil).Status)

	ctx := t.Context()
	leak := models.AuditFinding{ID: found.ID(found.ClaimWithoutServer, "s1"), Kind: string(found.ClaimWithoutServer), Object: "s1", ServerID: "s1", Text: "wrong", Repair: "right it"}
	manual := models.AuditFinding{ID: found.ID(found.ServerWithoutDomain, "s2@hv1"), Kind: string(found.ServerWithoutDomain), Object: "s2@hv1", ServerID: "s2", Host: "hv1", Text: "by hand"}
	require.NoError(t, e.Store.RecordFindings(ctx, runs.run, models.AuditScope{Name: "records"}, []models.AuditFinding{leak, manual}, nil, "", time.Now()))
	require.NoError(t, e.Store.EndAuditRun(ctx, runs.run, "", func(string) []string { return nil }, time.Now()))
	a = e.Do(t, "GET", "/audits", admin.Token, nil)
	require.Equal(t, "findings", a.At(t, "audits").([]any)[0].(fields)["outcome"])

	ids := func(a apitest.Answer, keys ...string) []string {
		require.Equal(t, 200, a.Status, a.Body)
		all := []string{}
		for _, f := range a.At(t, keys...).([]any) {
			all = append(all, f.(fields)["id"].(string))
		}
		return all
	}
	require.Equal(t, []string{leak.ID, manual.ID}, ids(e.Do(t, "GET", "/audits/findings", admin.Token, nil), "findings"))
	require.Equal(t, []string{manual.ID}, ids(e.Do(t, "GET", "/audits/findings?host=hv1", admin.Token, nil), "findings"))
	require.Equal(t, []string{leak.ID}, ids(e.Do(t, "GET", "/audits/findings?server=s1&kind=claim-without-server", admin.Token, nil), "findings"))

	order := func(body fields) apitest.Answer {
		return e.Do(t, "POST", "/audits/repairs", admin.Token, fields{"repair": body})
	}
	require.Equal(t, []string{leak.ID}, ids(order(fields{"dry_run": true}), "repair", "findings"), "all that can be repaired")
	require.Equal(t, []string{manual.ID}, ids(order(fields{"dry_run": true, "findings": []string{manual.ID}}), "repair", "findings"))
	require.Empty(t, runs.repairs, "a dry run does nothing")
	require.Equal(t, 404, order(fields{"findings": []string{uuid.NewString()}}).Status)
	require.Equal(t, 400, order(fields{"findings": []string{}}).Status)
	require.Equal(t, 400, order(fields{"force": true}).Status)

	a = order(fields{"findings": []string{leak.ID}})
	require.Equal(t, 202, a.Status, a.Body)
	id := a.At(t, "repair", "id").(string)
	require.Len(t, runs.repairs, 1)
	require.Equal(t, []any{id, admin.UserID, contract.DefaultDeadlines()}, []any{runs.repairs[0].RepairID, runs.repairs[0].UserID, runs.repairs[0].Deadlines})
	require.NoError(t, e.Store.RecordRepair(ctx, id, admin.UserID, map[string]models.AuditOutcome{leak.ID: {Outcome: "repaired"}}, []string{leak.ID}, nil, time.Now()))
	a = e.Do(t, "GET", "/audits/repairs/"+id, admin.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, "repaired", a.At(t, "repair", "findings").([]any)[0].(fields)["outcome"])
	require.Equal(t, 404, e.Do(t, "GET", "/audits/repairs/none", admin.Token, nil).Status)

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(audit.NewMetrics(e.Store, slog.Default()))
	families, err := metrics.Gather()
	require.NoError(t, err)
	series := map[string]int{}
	for _, family := range families {
		series[family.GetName()] = len(family.GetMetric())
		for _, m := range family.GetMetric() {
			if family.GetName() == "slipway_audit_runs_total" && m.GetLabel()[0].GetValue() == "findings" {
				require.EqualValues(t, 1, m.GetCounter().GetValue())
			}
		}
	}
	require.Equal(t, map[string]int{
		"slipway_audit_findings":   len(found.Kinds()), // every kind, also those of which there are none
		"slipway_audit_runs_total": 4, "slipway_audit_last_run_timestamp_seconds": 1, "slipway_audit_last_run_duration_seconds": 1,
		"slipway_audit_last_run_complete": 1,
	}, series)

	runs.failure = errors.New("no engine")
	require.Equal(t, 500, e.Do(t, "POST", "/audits", admin.Token, nil).Status)
}
