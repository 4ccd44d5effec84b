package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// Chains of undos: what a host holds is given back when the build leaves the host, the rest when the build ends, the
// network behind the hosts. What hosts and the network wait for can be handed over to a clean-up.
const (
	ownChain     = "server"
	networkChain = "network"
	hostChain    = "host/" // and the hostname: of a teardown
)

// taking is what a step may have taken. It is asked for when the undo begins: by then the host is known.
type taking func() contract.Undoing

func undoName(activity string, n int) string { return fmt.Sprintf("%s/%d", activity, n) }

func (b *build) attemptChain() string { return fmt.Sprintf("attempt/%d", len(b.attempts)+1) }

// chainOf is the chain of a step's undo, in the running attempt.
func (b *build) chainOf(s *Step) string {
	switch {
	case s.perHostChain:
		return b.attemptChain()
	case s.behindHosts:
		return networkChain
	}
	return ownChain
}

// registerUndo makes sure that what the step may take is given back. A step that is done again for another host keeps the
// undo that it has, where what it takes is the server's and not the host's.
func (b *build) registerUndo(s *Step, n int) {
	if s.Undo == "" {
		return
	}
	// The selection is filled in when SelectHost answers, and belongs to this attempt: a host that is given up is still
	// the one that its own undos go to.
	selection, tried := b.host, b.hostsTried()
	b.saga.Register(saga.Entry[taking]{Name: undoName(s.Undo, n), Chain: b.chainOf(s), Behind: s.behindHosts, What: func() contract.Undoing {
		u := contract.Undoing{Activity: s.Undo, Input: contract.Undo{ServerID: b.in.ServerID, RequestID: b.in.RequestID, Index: n}}
		if s.perHostChain {
			u.Input.Hostname = selection.Hostname
			if s.Scope == OnHost {
				u.Host = selection.Hostname
			} else if u.Input.Hostname == "" {
				u.Input.Except = tried // the answer was lost: whatever is held, but for what other attempts' undos hold
			}
		}
		return u
	}})
}

// undo carries one out.
func (b *build) undo(ctx workflow.Context, what taking) error {
	u := what()
	switch u.Activity {
	case contract.FailServer:
		return b.failServer(ctx)
	case contract.RemoveServer:
		return b.tireless(ctx, contract.RemoveServer, contract.RemoveServerInput{
			ServerID: b.in.ServerID, RequestID: b.in.RequestID, Steps: b.progress,
		}, nil)
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(b.in.ServerID, u.Host)), u.Activity, u.Input).Get(ctx, nil)
}

// tireless runs an activity of the control plane that must not fail, as an undo is run.
func (b *build) tireless(ctx workflow.Context, name string, in, out any) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(b.in.ServerID, "")), name, in).Get(ctx, out)
}

// failServer is the undo of RecordServer: the row becomes ERROR and says why. A server that is being deleted needs no
// fault: its row goes.
func (b *build) failServer(ctx workflow.Context) error {
	if b.deletion != nil {
		return nil
	}
	return b.tireless(ctx, contract.FailServer, contract.FailServerInput{
		ServerID:  b.in.ServerID,
		RequestID: b.in.RequestID,
		Code:      b.failure.Kind.Status(),
		Message:   b.failure.Text,
		Details:   b.failure.Error(),
		Steps:     b.progress,
	}, nil)
}

// stepStates says how an undo's state shows on its step.
var stepStates = map[saga.State]contract.StepState{
	saga.Undoing: contract.StepUndoing, saga.Parked: contract.StepParked, saga.HandedOver: contract.StepParked,
	saga.Undone: contract.StepUndone, saga.Skipped: contract.StepSkipped,
}

// observeUndo shows in the progress how the undo of a step goes.
func (b *build) observeUndo(ctx workflow.Context, e *saga.Entry[taking]) {
	for i := range b.progress {
		if b.undoIDs[i] == e.ID() {
			b.progress[i].State = stepStates[e.State]
		}
	}
	if e.State == saga.Parked {
		b.showPhase(ctx, phaseParked)
		workflow.GetLogger(ctx).Warn("An undo does not succeed; it goes on trying while the others run.",
			"server_id", b.in.ServerID, "request_id", b.in.RequestID, "undo", e.ID())
	}
}

// handOver gives what waits for a host, and for what hosts hold, to the server's clean-up, and lets the server go on.
func (b *build) handOver(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	taken := b.saga.HandOver(ctx, func(chain string) bool { return chain != ownChain })
	if len(taken) == 0 {
		return
	}
	in := contract.CleanUpInput{ServerID: b.in.ServerID, ProjectID: b.in.ProjectID, RequestID: b.in.RequestID, Deadlines: b.in.Deadlines}
	for _, e := range taken {
		in.Undos = append(in.Undos, contract.PendingUndo{Undoing: e.What(), Name: e.Name, Chain: e.Chain, Behind: e.Behind})
	}
	id := contract.CleanUpWorkflowID(in.ServerID)
	for {
		child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, cleanUpOptions(id, in)), contract.WorkflowCleanUp, in)
		err := child.GetChildWorkflowExecution().Get(ctx, nil)
		if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			err = workflow.SignalExternalWorkflow(ctx, id, "", contract.SignalUndos, in.Undos).Get(ctx, nil)
		}
		if err == nil {
			return
		}
		// The one that ran has just ended, or the engine does not want it now.
		workflow.GetLogger(ctx).Warn("What is left on hosts could not be handed over; asking again.", "server_id", in.ServerID, "error", err)
		_ = workflow.Sleep(ctx, time.Second)
	}
}

// serveOperators answers what users and operators ask of a server workflow, and lets operators act on undos that wait.
func (b *build) serveOperators(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() ([]contract.StepProgress, error) { return b.progress, nil }); err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryBuild, func() (contract.BuildState, error) { return b.state(), nil }); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateUndo, b.act)
}

// state is what an operator sees.
func (b *build) state() contract.BuildState {
	s := contract.BuildState{Phase: b.phase, Since: b.since, Overdue: b.overdue, Steps: b.progress, Acts: b.acts}
	for _, e := range b.saga.Entries() {
		u := contract.UndoState{ID: e.ID(), Host: e.What().Host, State: string(e.State)}
		if !e.Since.IsZero() {
			since := e.Since
			u.Since = &since
		}
		s.Undos = append(s.Undos, u)
	}
	return s
}

// act does what an operator asks, once it is recorded who asked.
func (b *build) act(ctx workflow.Context, act contract.OperatorAct) error {
	entries, err := b.chosen(act)
	if err != nil {
		return fault.ToTemporal(err)
	}
	act.At = workflow.Now(ctx)
	recording := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: controlStep, ScheduleToCloseTimeout: admissionPatience, RetryPolicy: retryFor(admissionPatience),
		Summary: summary(act.Act + " " + act.Undo),
	})
	if err := workflow.ExecuteActivity(recording, contract.RecordOperatorAct, contract.OperatorActRecord{
		OperatorAct: act, WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID, ServerID: b.in.ServerID, ProjectID: b.in.ProjectID,
	}).Get(ctx, nil); err != nil {
		return fault.ToTemporal(fault.FromTemporal(err))
	}
	b.acts = append(b.acts, act)
	for _, e := range entries {
		if act.Act == contract.ActSkip {
			b.saga.Skip(ctx, e)
		} else {
			b.saga.Retry(e)
		}
	}
	return nil
}

// chosen finds the undos that an operator means.
func (b *build) chosen(act contract.OperatorAct) ([]*saga.Entry[taking], error) {
	if act.Act != contract.ActRetry && act.Act != contract.ActSkip {
		return nil, fault.New(fault.Invalid, "An undo can be given %s or %s, not %q.", contract.ActRetry, contract.ActSkip, act.Act)
	}
	if act.Act == contract.ActSkip && (act.Undo == "" || strings.TrimSpace(act.Reason) == "") {
		return nil, fault.New(fault.Invalid, "To skip needs the id of one undo and a reason.")
	}
	var waits []*saga.Entry[taking]
	known := false
	for _, e := range b.saga.Entries() {
		if act.Undo != "" && e.ID() != act.Undo {
			continue
		}
		known = true
		if e.Waiting() {
			waits = append(waits, e)
		}
	}
	switch {
	case len(waits) > 0:
		return waits, nil
	case act.Undo == "":
		return nil, fault.New(fault.Conflict, "No undo waits here.")
	case known:
		return nil, fault.New(fault.Conflict, "The undo %s does not wait.", act.Undo)
	}
	return nil, fault.New(fault.NotFound, "There is no undo %s here.", act.Undo)
}
