// Package audit compares what the database says with what lies on hosts, and repairs what an operator chooses.
package audit

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
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
)

const (
	// Patience bounds an audit in all: one that takes longer shows nothing that is still so.
	Patience = 30 * time.Minute
	// hostsInGroup is how many hosts one part of an audit looks at: 12 events and twice its inventory for each page of a host.
	hostsInGroup = 50
	// groupsAtOnce and groupHostsAtOnce are how many are looked at at the same time: 64 hosts together. A host that does not
	// answer holds a place for its patience.
	groupsAtOnce     = 4
	groupHostsAtOnce = hostsAtOnce / groupsAtOnce
	// hostsAtOnce is the same for an audit that began before there were groups.
	hostsAtOnce = 64
	// inventoryTime is one try of an inventory: hundreds of instances take milliseconds, a hypervisor that is restarted seconds.
	inventoryTime = 30 * time.Second
)

// AuditTick runs an audit unless one runs. The engine names what a schedule starts after the time, so this is what keeps
// audits one at a time.
func AuditTick(ctx workflow.Context) error {
	queue := workflow.GetInfo(ctx).TaskQueueName
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:               ids.AuditWorkflow(queue),
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionTimeout: Patience,
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
		end.Error = failure.Fault(err).Text
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
	var errs []error
	if workflow.GetVersion(ctx, "audit hosts in groups", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		errs = each(ctx, hosts, hostsAtOnce, func(ctx workflow.Context, _ int, host string) error { return auditHost(ctx, in, runID, host) })
	} else {
		groups := slices.Collect(slices.Chunk(hosts, hostsInGroup))
		errs = each(ctx, groups, groupsAtOnce, func(ctx workflow.Context, n int, group []string) error {
			ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
				WorkflowID:               ids.AuditGroup(runID, n),
				WorkflowExecutionTimeout: Patience,
				StaticSummary:            fmt.Sprintf("%d hosts from %s on", len(group), group[0]),
			})
			return workflow.ExecuteChildWorkflow(ctx, contract.WorkflowAuditHosts, contract.AuditHostsInput{AuditInput: in, RunID: runID, Hosts: group}).Get(ctx, nil)
		})
	}
	return errors.Join(append(errs, records.Get(ctx, nil))...)
}

// AuditHosts looks at some of an audit's hosts, in a history of its own: those of all hosts together would pass what the engine
// lets one hold. Where their inventories are large it goes on in another run, when what it is at is done.
func AuditHosts(ctx workflow.Context, in contract.AuditHostsInput) error {
	ctx = workflow.WithActivityOptions(ctx, auditOptions)
	var left []string
	errs := each(ctx, in.Hosts, groupHostsAtOnce, func(ctx workflow.Context, _ int, host string) error {
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			left = append(left, host)
			return nil
		}
		return auditHost(ctx, in.AuditInput, in.RunID, host)
	})
	err := errors.Join(errs...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && in.Error == "" {
		in.Error = failure.Fault(err).Text
	}
	if len(left) > 0 {
		in.Hosts = left
		return workflow.NewContinueAsNewError(ctx, contract.WorkflowAuditHosts, in)
	}
	if in.Error != "" {
		return failure.Of(fault.New(fault.Internal, "%s", in.Error))
	}
	return nil
}

// each does something with each of a list, so many at once, and gives what went wrong.
func each[T any](ctx workflow.Context, list []T, atOnce int64, do func(ctx workflow.Context, i int, v T) error) []error {
	places, all := workflow.NewSemaphore(ctx, atOnce), workflow.NewWaitGroup(ctx)
	errs := make([]error, len(list))
	for i, v := range list {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			if errs[i] = places.Acquire(ctx, 1); errs[i] == nil {
				errs[i] = do(ctx, i, v)
				places.Release(1)
			}
		})
	}
	all.Wait(ctx)
	return errs
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
	return failure.Fault(err).Text
}
