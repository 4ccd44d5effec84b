package audit

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

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
// found may have gone, and a repair must not undo what is right now. A delete or a
// reset that arrives meanwhile follows it.
func RepairServer(ctx workflow.Context, in contract.RepairServerInput) error {
	about := server.Subject{ServerID: in.ServerID, RequestID: in.RequestID}
	frame := about.Frame("")
	frame.Shown, frame.Overdue, frame.HandOver = nil, nil, nil // its findings show it
	r := run.New(ctx, frame)
	if err := about.Serve(ctx, r); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(workflow.Context) error {
		return failure.Of(fault.New(fault.Conflict, "Instance %s is being repaired by an operator.", in.ServerID))
	}); err != nil {
		return err
	}
	plan, err := planRepair(ctx, in)
	if err != nil {
		return err
	}
	repair := &repairing{in: in, outcomes: plan.Outcomes}
	if plan.Delete == nil {
		if err := run.Drive(ctx, r, repair.table(plan.Steps), repair); err != nil {
			return err
		}
	}
	for _, id := range plan.For {
		repair.outcomes = append(repair.outcomes, contract.RepairOutcome{FindingID: id, Outcome: contract.OutcomeRepaired, Text: "its delete runs again"})
	}
	if err := settle(ctx, in.RepairInput, repair.outcomes); err != nil {
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
	var reset contract.ResetInput
	if workflow.GetSignalChannel(ctx, contract.SignalReset).ReceiveAsync(&reset) {
		return workflow.NewContinueAsNewError(ctx, contract.WorkflowReset, reset)
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

// repairing is the state of one server's repair.
type repairing struct {
	in       contract.RepairServerInput
	outcomes []contract.RepairOutcome
	failed   string // the step that failed: those behind it may rely on it
}

// table is the plan's steps. None of them has an undo: each is one.
func (r *repairing) table(steps []contract.RepairStep) run.Table[*repairing] {
	var table run.Table[*repairing]
	for _, s := range steps {
		options := func(workflow.Context, *repairing) (workflow.ActivityOptions, error) { return r.options(s) }
		row := run.OnWorker(s.Activity, options, func(r *repairing, _ int) (any, func(run.None)) {
			return inputOf(s), func(run.None) { r.note(s, contract.OutcomeRepaired, "") }
		})
		table = append(table, row.When(func(r *repairing) bool { return r.goesOn(s) }).
			Survives(func(_ workflow.Context, r *repairing, _ int, f *run.Failure) bool {
				r.failed = s.Activity
				r.note(s, contract.OutcomeFailed, fmt.Sprintf("%s: %s", s.Activity, f.Fault.Text))
				return true
			}).TakesNothing("it gives back"))
	}
	return table
}

func (r *repairing) goesOn(s contract.RepairStep) bool {
	if r.failed == "" {
		return true
	}
	r.note(s, contract.OutcomeLeft, "not tried, because "+r.failed+" failed before it")
	return false
}

// note keeps what a step means for its findings. The first failure stands.
func (r *repairing) note(s contract.RepairStep, outcome, text string) {
	for _, id := range s.Findings {
		i := slices.IndexFunc(r.outcomes, func(o contract.RepairOutcome) bool { return o.FindingID == id })
		if i < 0 {
			r.outcomes = append(r.outcomes, contract.RepairOutcome{FindingID: id})
			i = len(r.outcomes) - 1
		}
		if r.outcomes[i].Outcome != contract.OutcomeFailed {
			r.outcomes[i].Outcome, r.outcomes[i].Text = outcome, text
		}
	}
}

func (r *repairing) options(s contract.RepairStep) (workflow.ActivityOptions, error) {
	if inputOf(s) == nil {
		return workflow.ActivityOptions{}, failure.Of(fault.New(fault.Internal, "the repair's step %s has no input", s.Activity))
	}
	options := repairOptions(r.in.RepairInput, s.Host, r.in.ServerID)
	if s.Fetch != nil {
		options.StartToCloseTimeout, options.ScheduleToCloseTimeout = fetchTime+contract.HostTurn, fetchTime+contract.HostTurn
	}
	return options, nil
}

// inputOf is the one input that a step has.
func inputOf(s contract.RepairStep) any {
	switch {
	case s.Undo != nil:
		return *s.Undo
	case s.Fail != nil:
		return *s.Fail
	case s.Claim != nil:
		return *s.Claim
	case s.Room != nil:
		return *s.Room
	case s.Fetch != nil:
		return *s.Fetch
	}
	return nil
}
