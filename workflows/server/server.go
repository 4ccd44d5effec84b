// Package server is what the workflows about one server share: how they are found, what they answer to users and operators,
// and how they leave to a clean-up what waits for a host.
package server

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// TaskTimeout is how long the engine waits for a worker that took a workflow's task up and died: the database steps run
// within it. The engine's own default is twice as long.
const TaskTimeout = 5 * time.Second

// NIC is what rows are counted by that are done once for each network interface.
const NIC = "NIC"

// PluggedNIC is what rows are counted by that are done once for each that its host plugs. A teardown has none: with the domain of a
// server all of its ports go from a host.
const PluggedNIC = "plugged NIC"

// Subject is a server, and the request that a workflow about it is for.
type Subject struct {
	ServerID, ProjectID, RequestID string
	Name                           string
	Deadlines                      contract.Deadlines
}

// Frame is what every workflow about a server has around its table.
func (s Subject) Frame(phase string) run.Frame {
	d := s.Deadlines
	return run.Frame{
		About: s.ServerID, Title: s.Name, Log: []any{"server_id", s.ServerID, "request_id", s.RequestID},
		Limits: run.Limits{
			Silence: d.HostLost, Unavailable: d.HostUnavailable, UndoPatience: d.UndoPatience, Turn: contract.HostTurn,
			Whole: d.Build, Phases: phases(d), Rows: d.Steps,
		},
		Phase:  phase,
		Failed: attributes.PhaseFailed,
		Queue:  contract.HostQueue,
		Words:  contract.Summary,
		Shown: func(ctx workflow.Context, phase string) {
			_ = workflow.UpsertTypedSearchAttributes(ctx, attributes.Phase.ValueSet(phase))
		},
		Overdue: func(ctx workflow.Context, phase string) {
			overdue := attributes.Overdue.ValueSet(phase)
			if phase == "" {
				overdue = attributes.Overdue.ValueUnset()
			}
			_ = workflow.UpsertTypedSearchAttributes(ctx, overdue)
		},
		Seen:      s.seen,
		UndoInput: func(t run.Taken) any { return s.Undo(t) },
		HandOver:  s.handOver,
	}
}

// phases are the limits that the deadlines name, in a fixed order.
func phases(d contract.Deadlines) []run.PhaseLimit {
	var limits []run.PhaseLimit
	for _, phase := range []contract.Phase{contract.PhaseScheduling, contract.PhaseNetworking, contract.PhaseSpawning, contract.PhaseDeleting} {
		limit := d.Phases[phase]
		if phase == contract.PhaseScheduling && limit > 0 {
			limit += d.Capacity
		}
		limits = append(limits, run.PhaseLimit{Phase: string(phase), Limit: limit})
	}
	return limits
}

// Undo is the input of an undo that needs no more than what its row took.
func (s Subject) Undo(t run.Taken) contract.Undo {
	return contract.Undo{ServerID: s.ServerID, RequestID: s.RequestID, Hostname: t.Place, Index: t.Index, Except: t.Except}
}

// seen says whether a host has reported to the API of late.
func (s Subject) seen(ctx workflow.Context, hostname string) bool {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: run.ControlTry, ScheduleToCloseTimeout: run.AdmissionPatience,
		RetryPolicy: run.RetryFor(run.AdmissionPatience), Summary: hostname,
	})
	var seen bool
	in := contract.HostSeenInput{Hostname: hostname, Within: s.Deadlines.HostLost / 2}
	return workflow.ExecuteLocalActivity(ctx, contract.HostSeen, in).Get(ctx, &seen) == nil && seen
}

// handOver gives undos to the server's clean-up, which runs or is started.
func (s Subject) handOver(ctx workflow.Context, pending []run.Pending) {
	in := contract.CleanUpInput{ServerID: s.ServerID, ProjectID: s.ProjectID, RequestID: s.RequestID, Deadlines: s.Deadlines}
	for _, p := range pending {
		undo, _ := p.Input.(contract.Undo)
		undo.Run = workflow.GetInfo(ctx).WorkflowExecution.RunID
		in.Undos = append(in.Undos, contract.PendingUndo{
			Undoing: contract.Undoing{Activity: p.Activity, Input: undo, Host: p.Place}, Name: p.Name, Chain: p.Chain, Behind: p.Behind,
		})
	}
	id := ids.CleanUpWorkflow(s.ServerID)
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, cleanUpOptions(id, in)), contract.WorkflowCleanUp, in)
		err := child.GetChildWorkflowExecution().Get(ctx, nil)
		if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			err = workflow.SignalExternalWorkflow(ctx, id, "", contract.SignalUndos, in.Undos).Get(ctx, nil)
		}
		if err == nil {
			return
		}
		// The one that ran has just ended, or the engine does not want it now.
		workflow.GetLogger(ctx).Warn("What is left on hosts could not be handed over; asking again.", "server_id", s.ServerID, "error", err)
		_ = workflow.Sleep(ctx, pause)
	}
}

// Leave gives the server's clean-up what the rows of the build's table may hold on a host that the server has left.
func (s Subject) Leave(ctx workflow.Context, rows []run.Spec, hostname string) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	s.handOver(ctx, run.HeldAt(rows, hostname, func(t run.Taken) any {
		return contract.Undo{ServerID: s.ServerID, Hostname: t.Place}
	}))
}

func cleanUpOptions(id string, in contract.CleanUpInput) workflow.ChildWorkflowOptions {
	found := []temporal.SearchAttributeUpdate{
		attributes.Server.ValueSet(in.ServerID), attributes.Project.ValueSet(in.ProjectID), attributes.Phase.ValueSet(attributes.PhaseParked),
	}
	for _, u := range in.Undos {
		if u.Host != "" {
			found = append(found, attributes.Host.ValueSet(u.Host))
			break
		}
	}
	return workflow.ChildWorkflowOptions{
		WorkflowID:            id,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowTaskTimeout:   TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(found...),
		StaticSummary:         run.Summary("clean up after " + in.ServerID),
	}
}

// Steps are a run's lines as users and the database know them.
func Steps(r *run.Run) []contract.StepProgress {
	var steps []contract.StepProgress
	for _, l := range r.Lines() {
		steps = append(steps, contract.StepProgress{
			Step: l.Row, Host: l.Place, Index: l.Index, State: contract.StepState(l.State), Phase: contract.Phase(l.Phase),
			Started: &l.Started, Finished: l.Finished, Error: l.Error, Detail: l.Detail,
		})
	}
	return steps
}

// Serve answers what users and operators ask of a workflow about a server, and lets operators act on undos that wait.
func (s Subject) Serve(ctx workflow.Context, r *run.Run) error {
	d := desk{subject: s, run: r}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() ([]contract.StepProgress, error) { return Steps(r), nil }); err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryBuild, func() (contract.BuildState, error) { return d.state(), nil }); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateUndo, d.act)
}

// desk is where operators look and act.
type desk struct {
	subject Subject
	run     *run.Run
	acts    []contract.OperatorAct
}

func (d *desk) state() contract.BuildState {
	phase, since, overdue := d.run.Phase()
	s := contract.BuildState{Phase: phase, Since: since, Overdue: overdue, Steps: Steps(d.run), Acts: d.acts}
	for _, u := range d.run.Undos() {
		s.Undos = append(s.Undos, contract.UndoState{
			ID: u.ID, Chain: u.Chain, Activity: u.Activity, Host: u.Place, State: u.State, Since: u.Since, Error: u.Why,
		})
	}
	return s
}

// act does what an operator asks, once it is recorded who asked.
func (d *desk) act(ctx workflow.Context, act contract.OperatorAct) error {
	err := d.run.Act(ctx, act.Act, act.Undo, act.Reason, func(ctx workflow.Context) error {
		act.At = workflow.Now(ctx)
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: run.ControlTry, ScheduleToCloseTimeout: run.AdmissionPatience,
			RetryPolicy: run.RetryFor(run.AdmissionPatience), Summary: run.Summary(act.Act + " " + act.Undo),
		})
		err := workflow.ExecuteActivity(ctx, contract.RecordOperatorAct, contract.OperatorActRecord{
			OperatorAct: act, WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID,
			ServerID: d.subject.ServerID, ProjectID: d.subject.ProjectID,
		}).Get(ctx, nil)
		if err != nil {
			return failure.Fault(err)
		}
		d.acts = append(d.acts, act)
		return nil
	})
	return failure.Of(err)
}
