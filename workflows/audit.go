package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

const (
	// auditPatience bounds an audit in all: one that takes longer shows nothing that is still so.
	auditPatience = 30 * time.Minute
	// hostsAtOnce is how many hosts are looked at at the same time. A host that does not answer holds a place for its patience.
	hostsAtOnce = 64
	// inventoryTime is one try of an inventory: hundreds of instances take milliseconds, a hypervisor that is restarted seconds.
	inventoryTime = 30 * time.Second
)

// AuditTick runs an audit unless one runs. The engine names what a schedule starts after the time, so this is what keeps
// audits one at a time.
func AuditTick(ctx workflow.Context) error {
	queue := workflow.GetInfo(ctx).TaskQueueName
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:               contract.AuditWorkflowID(queue),
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionTimeout: auditPatience,
		StaticSummary:            "scheduled audit",
	})
	err := workflow.ExecuteChildWorkflow(ctx, contract.WorkflowAudit, contract.AuditInput{HostPatience: contract.AuditHostPatience}).Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil
	}
	return err
}

// Audit compares the control plane's rows with each other and with what lies on every host. Findings are kept in the
// database. A host that does not answer in time does not hold it up: that it was not looked at is a finding.
func Audit(ctx workflow.Context, in contract.AuditInput) error {
	run := contract.AuditRun{RunID: workflow.GetInfo(ctx).WorkflowExecution.RunID}
	recording := workflow.WithActivityOptions(ctx, auditOptions)
	end := contract.AuditEnd{RunID: run.RunID}
	var start contract.AuditStart
	err := workflow.ExecuteActivity(recording, contract.BeginAudit, run).Get(ctx, &start)
	if err == nil {
		err = auditAll(ctx, in, run.RunID, start.Hosts)
	}
	if err != nil {
		end.Error = fault.FromTemporal(err).Text
		recording, _ = workflow.NewDisconnectedContext(recording) // a cancelled audit says that it was
	}
	return errors.Join(err, workflow.ExecuteActivity(recording, contract.EndAudit, end).Get(recording, nil))
}

// auditOptions are those of the audit's own database steps.
var auditOptions = workflow.ActivityOptions{
	StartToCloseTimeout: 2 * time.Minute, ScheduleToCloseTimeout: 5 * time.Minute,
	RetryPolicy: &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second},
}

func auditAll(ctx workflow.Context, in contract.AuditInput, runID string, hosts []string) error {
	ctx = workflow.WithActivityOptions(ctx, auditOptions)
	records := workflow.ExecuteActivity(ctx, contract.AuditRecords, contract.AuditRun{RunID: runID})
	places, all := workflow.NewSemaphore(ctx, hostsAtOnce), workflow.NewWaitGroup(ctx)
	errs := make([]error, len(hosts))
	for i, host := range hosts {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			if errs[i] = places.Acquire(ctx, 1); errs[i] == nil {
				errs[i] = auditHost(ctx, in, runID, host)
				places.Release(1)
			}
		})
	}
	all.Wait(ctx)
	return errors.Join(append(errs, records.Get(ctx, nil))...)
}

// auditHost looks at one host, page by page, and again at what looks wrong.
func auditHost(ctx workflow.Context, in contract.AuditInput, runID, host string) error {
	missed := func(err error) error {
		if ctx.Err() != nil {
			return err
		}
		return workflow.ExecuteActivity(ctx, contract.MissHost, contract.MissHostInput{RunID: runID, Hostname: host, Why: whyMissed(err)}).Get(ctx, nil)
	}
	for after := ""; ; {
		inventory, err := takeInventory(ctx, in.HostPatience, host, contract.InventoryInput{After: after, Limit: contract.InventoryPage})
		if err != nil {
			return missed(err)
		}
		look := contract.AuditHostInput{
			RunID: runID, Inventory: inventory, Last: inventory.Through == "",
			First: contract.Inventory{Hostname: host, After: inventory.After, Through: inventory.Through},
		}
		var first contract.AuditHostOutput
		if err := workflow.ExecuteActivity(ctx, contract.AuditHost, look).Get(ctx, &first); err != nil {
			return err
		}
		if len(first.Candidates) > 0 {
			again, err := takeInventory(ctx, in.HostPatience, host, contract.InventoryInput{Only: true, Servers: serversOf(first.Candidates)})
			if err != nil {
				return missed(err)
			}
			look.Inventory, look.Candidates, look.Left, look.More, look.Final = again, first.Candidates, first.Left, first.More, true
			if err := workflow.ExecuteActivity(ctx, contract.AuditHost, look).Get(ctx, nil); err != nil {
				return err
			}
		}
		if look.Last {
			return nil
		}
		after = inventory.Through
	}
}

func serversOf(candidates []contract.AuditCandidate) []string {
	ids := []string{}
	for _, c := range candidates {
		if c.ServerID != "" {
			ids = append(ids, c.ServerID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// takeInventory asks a host within its patience. It takes no heartbeat, so the host gives it no turn to wait for.
func takeInventory(ctx workflow.Context, patience time.Duration, host string, in contract.InventoryInput) (contract.Inventory, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.HostQueue(host),
		ScheduleToStartTimeout: patience,
		StartToCloseTimeout:    inventoryTime,
		ScheduleToCloseTimeout: patience + inventoryTime,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumAttempts: 3},
		Summary:                "what lies on " + host,
	})
	var out contract.Inventory
	err := workflow.ExecuteActivity(ctx, contract.TakeInventory, in).Get(ctx, &out)
	return out, err
}

// whyMissed says for an operator why a host was not looked at.
func whyMissed(err error) string {
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) && timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START {
		return "it took no work in time; is slipway host running there?"
	}
	return fault.FromTemporal(err).Text
}

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
		end.Error = fault.FromTemporal(err).Text
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
		WorkflowID:            contract.ServerWorkflowID(s.ServerID),
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowTaskTimeout:   taskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(attrServer.ValueSet(s.ServerID)),
		StaticSummary:         summary("repair " + s.ServerID),
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
		return settle(ctx, s.RepairInput, outcomesOf(s.Findings, contract.OutcomeFailed, fault.FromTemporal(err).Text))
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
		outcome.Outcome, outcome.Text = contract.OutcomeFailed, fault.FromTemporal(err).Text
	}
	return settle(ctx, in, []contract.RepairOutcome{outcome})
}

// repairOptions bound a step of a repair: an operator waits, and what does not succeed is found again.
func repairOptions(in contract.RepairInput, host, serverID string) workflow.ActivityOptions {
	o := workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: 2 * time.Minute, RetryPolicy: auditOptions.RetryPolicy, Summary: "for " + serverID,
	}
	if host != "" {
		o.TaskQueue, o.ScheduleToStartTimeout, o.HeartbeatTimeout = contract.HostQueue(host), in.HostPatience, 30*time.Second
		o.Summary += " on " + host
	}
	return o
}

// fetchTime bounds the download of an image in a repair, beside the wait for a turn on the host.
const fetchTime = 30 * time.Minute

// RepairServer repairs findings about one server. It runs under the server's own workflow id and looks again first: what was
// found may have gone, and a repair must not undo what is right now. A delete that arrives meanwhile follows it.
func RepairServer(ctx workflow.Context, in contract.RepairServerInput) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() ([]contract.StepProgress, error) { return nil, nil }); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(workflow.Context) error {
		return fault.ToTemporal(fault.New(fault.Conflict, "Instance %s is being repaired by an operator.", in.ServerID))
	}); err != nil {
		return err
	}
	plan, err := planRepair(ctx, in)
	if err != nil {
		return err
	}
	outcomes := plan.Outcomes
	if plan.Delete == nil {
		outcomes = append(outcomes, carryOut(ctx, in, plan.Steps)...)
	}
	for _, id := range plan.For {
		outcomes = append(outcomes, contract.RepairOutcome{FindingID: id, Outcome: contract.OutcomeRepaired, Text: "its delete runs again"})
	}
	if err := settle(ctx, in.RepairInput, outcomes); err != nil {
		return err
	}
	_ = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	next := plan.Delete
	var asked contract.DeleteInput
	if workflow.GetSignalChannel(ctx, contract.SignalDelete).ReceiveAsync(&asked) {
		next = &asked
	}
	if next != nil {
		return workflow.NewContinueAsNewError(ctx, contract.WorkflowDelete, *next)
	}
	return nil
}

func planRepair(ctx workflow.Context, in contract.RepairServerInput) (contract.RepairPlan, error) {
	asking := contract.PlanRepairInput{RepairServerInput: in}
	inventories, errs := make([]contract.Inventory, len(in.Hosts)), make([]error, len(in.Hosts))
	all := workflow.NewWaitGroup(ctx)
	for i, host := range in.Hosts {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			inventories[i], errs[i] = takeInventory(ctx, in.HostPatience, host, contract.InventoryInput{Only: true, Servers: []string{in.ServerID}})
		})
	}
	all.Wait(ctx)
	for i, host := range in.Hosts {
		if errs[i] != nil {
			asking.Unasked = append(asking.Unasked, host)
			continue
		}
		asking.Inventories = append(asking.Inventories, inventories[i])
	}
	var plan contract.RepairPlan
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, auditOptions), contract.PlanRepair, asking).Get(ctx, &plan)
	return plan, err
}

// carryOut does the steps in order, up to the first that fails: those behind it may rely on it.
func carryOut(ctx workflow.Context, in contract.RepairServerInput, steps []contract.RepairStep) []contract.RepairOutcome {
	var outcomes []contract.RepairOutcome
	note := func(id, outcome, text string) {
		i := slices.IndexFunc(outcomes, func(o contract.RepairOutcome) bool { return o.FindingID == id })
		if i < 0 {
			outcomes = append(outcomes, contract.RepairOutcome{FindingID: id})
			i = len(outcomes) - 1
		}
		if outcomes[i].Outcome != contract.OutcomeFailed {
			outcomes[i].Outcome, outcomes[i].Text = outcome, text
		}
	}
	failed := ""
	for _, s := range steps {
		outcome, text := contract.OutcomeRepaired, ""
		if failed == "" {
			if err := repairStep(ctx, in, s); err != nil {
				f := fault.FromTemporal(err)
				failed, outcome, text = s.Activity, contract.OutcomeFailed, fmt.Sprintf("%s: %s", s.Activity, f.Text)
				workflow.GetLogger(ctx).Warn("A step of a repair failed.", "server_id", in.ServerID, "request_id", in.RequestID, "step", s.Activity, "host", s.Host, "error", err)
			}
		} else {
			outcome, text = contract.OutcomeLeft, "not tried, because "+failed+" failed before it"
		}
		for _, id := range s.Findings {
			note(id, outcome, text)
		}
	}
	return outcomes
}

func repairStep(ctx workflow.Context, in contract.RepairServerInput, s contract.RepairStep) error {
	options := repairOptions(in.RepairInput, s.Host, in.ServerID)
	var input any
	switch {
	case s.Undo != nil:
		input = *s.Undo
	case s.Fail != nil:
		input = *s.Fail
	case s.Claim != nil:
		input = *s.Claim
	case s.Room != nil:
		input = *s.Room
	case s.Fetch != nil:
		input = *s.Fetch
		options.StartToCloseTimeout, options.ScheduleToCloseTimeout = fetchTime+contract.HostTurn, fetchTime+contract.HostTurn
	default:
		return fault.ToTemporal(fault.New(fault.Internal, "the repair's step %s has no input", s.Activity))
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), s.Activity, input).Get(ctx, nil)
}
