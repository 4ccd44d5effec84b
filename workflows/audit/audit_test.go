package audit

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	tworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// auditEnv is an engine in which the audit's activities answer what a test says.
func auditEnv(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	for name, f := range map[string]any{
		contract.BeginAudit: func(context.Context, contract.AuditRun) (contract.AuditStart, error) {
			return contract.AuditStart{}, nil
		},
		contract.AuditRecords: func(context.Context, contract.AuditRun) error { return nil },
		contract.TakeInventory: func(context.Context, contract.InventoryInput) (contract.Inventory, error) {
			return contract.Inventory{}, nil
		},
		contract.AuditHost: func(context.Context, contract.AuditHostInput) (contract.AuditHostOutput, error) {
			return contract.AuditHostOutput{}, nil
		},
		contract.MissHost: func(context.Context, contract.MissHostInput) error { return nil },
		contract.EndAudit: func(context.Context, contract.AuditEnd) error { return nil },
		contract.BeginRepair: func(context.Context, contract.RepairInput) (contract.RepairOrder, error) {
			return contract.RepairOrder{}, nil
		},
		contract.PlanRepair: func(context.Context, contract.PlanRepairInput) (contract.RepairPlan, error) {
			return contract.RepairPlan{}, nil
		},
		contract.EndRepair:             func(context.Context, contract.RepairEnd) error { return nil },
		contract.RemovePartialDownload: func(context.Context, contract.RepairPartial) error { return nil },
		contract.DestroyDomain:         func(context.Context, contract.Undo) error { return nil },
		contract.ReleaseQuota:          func(context.Context, contract.Undo) error { return nil },
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	env.RegisterWorkflowWithOptions(RepairServer, tworkflow.RegisterOptions{Name: contract.WorkflowRepairServer})
	env.RegisterWorkflowWithOptions(AuditHosts, tworkflow.RegisterOptions{Name: contract.WorkflowAuditHosts})
	env.RegisterWorkflowWithOptions(Audit, tworkflow.RegisterOptions{Name: contract.WorkflowAudit})
	return env
}

func TestAnAuditLooksAtEachPageOfEachHostAndAgainAtWhatLooksWrong(t *testing.T) {
	env := auditEnv(t)
	env.OnActivity(contract.BeginAudit, mock.Anything, mock.Anything).Return(contract.AuditStart{Hosts: []string{"hv1", "dead"}}, nil)
	var asked []contract.InventoryInput
	env.OnActivity(contract.TakeInventory, mock.Anything, mock.Anything).Return(func(ctx context.Context, in contract.InventoryInput) (contract.Inventory, error) {
		if strings.TrimPrefix(activity.GetInfo(ctx).TaskQueue, contract.HostQueue("")) == "dead" {
			return contract.Inventory{}, failure.Of(fault.New(fault.HostUnfit, "libvirtd does not answer"))
		}
		asked = append(asked, in)
		out := contract.Inventory{Hostname: "hv1", After: in.After, Only: in.Only, Servers: in.Servers}
		if !in.Only && in.After == "" {
			out.Through = "b"
		}
		return out, nil
	})
	var looks []contract.AuditHostInput
	env.OnActivity(contract.AuditHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditHostInput) (contract.AuditHostOutput, error) {
		looks = append(looks, in)
		if !in.Final && in.Last {
			return contract.AuditHostOutput{Candidates: []contract.AuditCandidate{{ID: "f1", ServerID: "d", Lock: "1"}, {ID: "f2", ServerID: "d", Lock: "1"}, {ID: "f3"}}, Left: []string{"f4"}}, nil
		}
		return contract.AuditHostOutput{}, nil
	})
	var missed []contract.MissHostInput
	env.OnActivity(contract.MissHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.MissHostInput) error {
		missed = append(missed, in)
		return nil
	})
	var end contract.AuditEnd
	env.OnActivity(contract.EndAudit, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditEnd) error { end = in; return nil })
	env.ExecuteWorkflow(Audit, contract.AuditInput{HostPatience: time.Second})
	require.NoError(t, env.GetWorkflowError())

	require.Equal(t, []contract.InventoryInput{
		{Limit: contract.InventoryPage}, {After: "b", Limit: contract.InventoryPage}, {Only: true, Servers: []string{"d"}},
	}, asked)
	require.Len(t, looks, 3)
	require.False(t, looks[0].Last)
	require.True(t, looks[2].Final && looks[2].Last)
	require.Equal(t, "b", looks[2].First.After, "the second look settles the page that it is of")
	require.Equal(t, []string{"f4"}, looks[2].Left)
	require.Len(t, looks[2].Candidates, 3)
	require.Equal(t, []contract.MissHostInput{{RunID: missed[0].RunID, Hostname: "dead", Why: "libvirtd does not answer"}}, missed)
	require.Empty(t, end.Error)
}

func TestAnAuditThatFailsSaysSo(t *testing.T) {
	env := auditEnv(t)
	env.OnActivity(contract.AuditRecords, mock.Anything, mock.Anything).Return(failure.Of(fault.New(fault.Invalid, "no such table")))
	var end contract.AuditEnd
	env.OnActivity(contract.EndAudit, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditEnd) error { end = in; return nil })
	env.ExecuteWorkflow(Audit, contract.AuditInput{HostPatience: time.Second})
	require.Error(t, env.GetWorkflowError())
	require.Equal(t, "no such table", end.Error)
}

// twoFindings is a repair of two findings about one server.
func twoFindings() contract.RepairServerInput {
	return contract.RepairServerInput{
		RepairInput: contract.RepairInput{RepairID: "r", UserID: "ops", RequestID: "req-1", HostPatience: time.Second},
		ServerID:    "s", Findings: []contract.RepairFinding{{ID: "f1", Host: "hv1"}, {ID: "f2"}}, Hosts: []string{"dead", "hv1"},
	}
}

func TestARepairLooksAgainAndStopsAtTheFirstStepThatFails(t *testing.T) {
	env := auditEnv(t)
	env.OnActivity(contract.TakeInventory, mock.Anything, mock.Anything).Return(func(ctx context.Context, in contract.InventoryInput) (contract.Inventory, error) {
		host := strings.TrimPrefix(activity.GetInfo(ctx).TaskQueue, contract.HostQueue(""))
		if host == "dead" {
			return contract.Inventory{}, failure.Of(fault.New(fault.HostUnfit, "gone"))
		}
		return contract.Inventory{Hostname: host, Only: in.Only, Servers: in.Servers}, nil
	})
	var planned contract.PlanRepairInput
	env.OnActivity(contract.PlanRepair, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.PlanRepairInput) (contract.RepairPlan, error) {
		planned = in
		return contract.RepairPlan{Steps: []contract.RepairStep{
			{Findings: []string{"f1"}, Activity: contract.DestroyDomain, Host: "hv1", Undo: &contract.Undo{ServerID: "s", Hostname: "hv1"}},
			{Findings: []string{"f2"}, Activity: contract.ReleaseQuota, Undo: &contract.Undo{ServerID: "s"}},
		}}, nil
	})
	env.OnActivity(contract.DestroyDomain, mock.Anything, mock.Anything).Return(failure.Of(fault.New(fault.Invalid, "no")))
	env.OnActivity(contract.ReleaseQuota, mock.Anything, mock.Anything).Never()
	var end contract.RepairEnd
	env.OnActivity(contract.EndRepair, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RepairEnd) error { end = in; return nil })
	env.ExecuteWorkflow(RepairServer, twoFindings())
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, []string{"dead"}, planned.Unasked)
	require.Len(t, planned.Inventories, 1)
	require.Equal(t, []contract.RepairOutcome{
		{FindingID: "f1", Outcome: contract.OutcomeFailed, Text: "DestroyDomain: no"},
		{FindingID: "f2", Outcome: contract.OutcomeLeft, Text: "not tried, because DestroyDomain failed before it"},
	}, end.Outcomes)
	require.False(t, end.Last)
}

func TestADeleteThatArrivesDuringARepairFollowsIt(t *testing.T) {
	env := auditEnv(t)
	asked := contract.DeleteInput{ServerID: "s", RequestID: "req-2"}
	env.OnActivity(contract.PlanRepair, mock.Anything, mock.Anything).Return(func(context.Context, contract.PlanRepairInput) (contract.RepairPlan, error) {
		env.SignalWorkflow(contract.SignalDelete, asked)
		return contract.RepairPlan{}, nil
	})
	env.ExecuteWorkflow(RepairServer, twoFindings())
	var next *tworkflow.ContinueAsNewError
	require.True(t, errors.As(env.GetWorkflowError(), &next), "%v", env.GetWorkflowError())
	require.Equal(t, contract.WorkflowDelete, next.WorkflowType.Name)
}

func TestALostDeleteIsTakenUpUnderTheSameLock(t *testing.T) {
	env := auditEnv(t)
	env.OnActivity(contract.PlanRepair, mock.Anything, mock.Anything).Return(contract.RepairPlan{Delete: &contract.DeleteInput{ServerID: "s"}, For: []string{"f1"}}, nil)
	var end contract.RepairEnd
	env.OnActivity(contract.EndRepair, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RepairEnd) error { end = in; return nil })
	env.ExecuteWorkflow(RepairServer, twoFindings())
	var next *tworkflow.ContinueAsNewError
	require.True(t, errors.As(env.GetWorkflowError(), &next))
	require.Equal(t, []contract.RepairOutcome{{FindingID: "f1", Outcome: contract.OutcomeRepaired, Text: "its delete runs again"}}, end.Outcomes)
}

func TestARepairRepairsEachServerAndEachDownload(t *testing.T) {
	env := auditEnv(t)
	env.OnActivity(contract.BeginRepair, mock.Anything, mock.Anything).Return(contract.RepairOrder{
		Servers:  []contract.RepairServerInput{{ServerID: "a", Findings: []contract.RepairFinding{{ID: "f1"}}}, {ServerID: "b", Findings: []contract.RepairFinding{{ID: "f2"}}}},
		Partials: []contract.RepairPartial{{FindingID: "f3", Hostname: "hv1", SHA512: "x"}},
	}, nil)
	var repaired []contract.RepairServerInput
	env.OnWorkflow(contract.WorkflowRepairServer, mock.Anything, mock.Anything).Return(func(ctx tworkflow.Context, in contract.RepairServerInput) error {
		require.Equal(t, ids.ServerWorkflow(in.ServerID), tworkflow.GetInfo(ctx).WorkflowExecution.ID)
		repaired = append(repaired, in)
		return nil
	})
	var ends []contract.RepairEnd
	env.OnActivity(contract.EndRepair, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.RepairEnd) error { ends = append(ends, in); return nil })
	env.ExecuteWorkflow(RepairFindings, contract.RepairInput{RepairID: "r", UserID: "ops"})
	require.NoError(t, env.GetWorkflowError())
	require.Len(t, repaired, 2)
	require.Equal(t, "ops", repaired[1].UserID)
	require.Equal(t, []contract.RepairEnd{
		{RepairID: "r", UserID: "ops", Outcomes: []contract.RepairOutcome{{FindingID: "f3", Outcome: contract.OutcomeRepaired}}},
		{RepairID: "r", UserID: "ops", Last: true},
	}, ends)
}
