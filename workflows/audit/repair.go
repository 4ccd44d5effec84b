package audit

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// RepairFindings repairs what an operator chose. What is about a server is done under the server's own workflow id, so that
// no build or delete of it runs meanwhile; a server on which something works is left alone.
func RepairFindings(ctx workflow.Context, in contract.RepairInput) error {
	recording := workflow.WithActivityOptions(ctx, auditOptions)
	end := contract.RepairEnd{RepairID: in.RepairID, UserID: in.UserID, Last: true}
	var order contract.RepairOrder
	err := workflow.ExecuteActivity(recording, contract.BeginRepair, in).Get(ctx, &order)
	if err == nil {
		err = repairAll(recording, in, order)
	}
	if err != nil {
		end.Error = failure.Fault(err).Text
		recording, _ = workflow.NewDisconnectedContext(recording)
	}
	return errors.Join(err, workflow.ExecuteActivity(recording, contract.EndRepair, end).Get(recording, nil))
}

const (
	serversAtOnce = 16
	// serverPatience is how long a repair waits for one server. What takes longer goes on and keeps its own outcome.
	serverPatience = 5 * time.Minute
)

func repairAll(ctx workflow.Context, in contract.RepairInput, order contract.RepairOrder) error {
	places, all := workflow.NewSemaphore(ctx, serversAtOnce), workflow.NewWaitGroup(ctx)
	errs := make([]error, len(order.Servers)+len(order.Partials))
	start := func(i int, repair func(workflow.Context) error) {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			if errs[i] = places.Acquire(ctx, 1); errs[i] == nil {
				errs[i] = repair(ctx)
				places.Release(1)
			}
		})
	}
	for i, s := range order.Servers {
		s.RepairInput = in
		start(i, func(ctx workflow.Context) error { return repairLocked(ctx, s) })
	}
	for i, p := range order.Partials {
		start(len(order.Servers)+i, func(ctx workflow.Context) error { return removePartial(ctx, in, p) })
	}
	all.Wait(ctx)
	return errors.Join(errs...)
}

// repairLocked runs a server's repair under the server's lock.
func repairLocked(ctx workflow.Context, s contract.RepairServerInput) error {
	child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            ids.ServerWorkflow(s.ServerID),
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(attributes.Server.ValueSet(s.ServerID)),
		StaticSummary:         run.Summary("repair " + s.ServerID),
	}), contract.WorkflowRepairServer, s)
	err := child.GetChildWorkflowExecution().Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return settle(ctx, s.RepairInput, outcomesOf(s.Findings, contract.OutcomeLeft, "a workflow works on the server"))
	}
	if err == nil {
		if done, _ := workflow.AwaitWithTimeout(ctx, serverPatience, child.IsReady); done {
			err = child.Get(ctx, nil)
		}
	}
	if err != nil {
		return settle(ctx, s.RepairInput, outcomesOf(s.Findings, contract.OutcomeFailed, failure.Fault(err).Text))
	}
	return nil
}

func outcomesOf(findings []contract.RepairFinding, outcome, text string) []contract.RepairOutcome {
	var all []contract.RepairOutcome
	for _, f := range findings {
		all = append(all, contract.RepairOutcome{FindingID: f.ID, Outcome: outcome, Text: text})
	}
	return all
}

// settle keeps what became of findings.
func settle(ctx workflow.Context, in contract.RepairInput, outcomes []contract.RepairOutcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	ctx = workflow.WithActivityOptions(ctx, auditOptions)
	return workflow.ExecuteActivity(ctx, contract.EndRepair, contract.RepairEnd{RepairID: in.RepairID, UserID: in.UserID, Outcomes: outcomes}).Get(ctx, nil)
}

func removePartial(ctx workflow.Context, in contract.RepairInput, p contract.RepairPartial) error {
	outcome := contract.RepairOutcome{FindingID: p.FindingID, Outcome: contract.OutcomeRepaired}
	options := repairOptions(in, p.Hostname, "")
	options.HeartbeatTimeout, options.Summary = 0, "on "+p.Hostname // it waits for no turn
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), contract.RemovePartialDownload, p).Get(ctx, nil)
	if err != nil {
		outcome.Outcome, outcome.Text = contract.OutcomeFailed, failure.Fault(err).Text
	}
	return settle(ctx, in, []contract.RepairOutcome{outcome})
}
