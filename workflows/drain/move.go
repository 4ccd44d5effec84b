package drain

import (
	"cmp"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// How one move is waited for.
const (
	// longest bounds an action that has no deadline in all, and undone is how long it may take to give back what it took: one that
	// waits for a host to do so goes on without being waited for.
	longest = 24 * time.Hour
	undone  = time.Hour
	// confirmPatience is for how long a confirmation that does not succeed is tried again. One that was given up is the server's
	// owner's to give, or build.resize_confirm_window's.
	confirmPatience = time.Hour
)

// outcome is what became of a move.
type outcome int

const (
	moved   outcome = iota
	failed          // the server is where it was, as it was, or why it is not is said
	refused         // something else is done to it, or it is not what it was when it was looked at
	ended           // by its delete, or by an operator's reset: what it is now, the next look says
)

// move begins to move a server, beside the others.
func (d *drain) move(ctx workflow.Context, s contract.MovableServer) {
	d.state.Moving = append(d.state.Moving, contract.DrainServer{ServerID: s.ServerID, Name: s.Name, ProjectID: s.ProjectID})
	workflow.Go(ctx, func(ctx workflow.Context) {
		became, why := d.moveOne(ctx, s)
		n := slices.IndexFunc(d.state.Moving, func(m contract.DrainServer) bool { return m.ServerID == s.ServerID })
		m := d.state.Moving[n]
		m.Why = why
		d.state.Moving = slices.Delete(d.state.Moving, n, n+1)
		switch became {
		case moved:
			d.state.Moved++
		case failed:
			d.state.Failed = append(d.state.Failed, m)
		case refused:
			d.refused = append(d.refused, m)
		}
		if became != refused {
			d.progressed(ctx)
		}
		d.ends++
		workflow.GetLogger(ctx).Info("A drain has tried to move a server.", d.log("server_id", s.ServerID, "moved", became == moved, "why", why)...)
	})
}

// moveOne migrates a server and confirms that. The guest of before is off and stays until then, so that whatever fails leaves one.
func (d *drain) moveOne(ctx workflow.Context, s contract.MovableServer) (outcome, string) {
	err := d.act(ctx, s, "migrate", s.MigrateBy, contract.ActionArguments{
		Resize: &contract.Resize{Flavor: s.Flavor, Migrates: true, Zone: d.in.Zone},
	})
	if err == nil {
		return d.confirm(ctx, s)
	}
	f := failure.Fault(err)
	switch f.Kind {
	case fault.Conflict, fault.NotFound, fault.Unavailable:
		if !d.ask(ctx, s).Begun {
			return refused, f.Text
		}
	}
	return failed, f.Text
}

// confirm ends a migration that has succeeded. It may have been ended by others meanwhile.
func (d *drain) confirm(ctx workflow.Context, s contract.MovableServer) (outcome, string) {
	by, since := s.ConfirmBy, workflow.Now(ctx)
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := d.act(ctx, s, "confirmResize", by, contract.ActionArguments{})
		if err == nil {
			return moved, ""
		}
		is, why := d.ask(ctx, s), failure.Fault(err).Text
		switch {
		case is.Confirmed:
			return moved, ""
		case !is.Waits:
			return ended, why
		case workflow.Now(ctx).Sub(since) >= confirmPatience:
			return failed, "It runs elsewhere, and waits to be confirmed: " + why
		}
		by = is.ConfirmBy
		_ = workflow.Sleep(ctx, pause)
	}
}

// ask is what the database says of the migration: what its workflow answers may be another's end.
func (d *drain) ask(ctx workflow.Context, s contract.MovableServer) (is contract.Move) {
	ctx = workflow.WithActivityOptions(ctx, run.UndoOptions(s.ServerID, "", ""))
	if err := workflow.ExecuteActivity(ctx, contract.AskMove, contract.AskMoveInput{ServerID: s.ServerID, RequestID: s.MigrateBy}).Get(ctx, &is); err != nil {
		workflow.GetLogger(ctx).Error("What became of a move is not known.", d.log("server_id", s.ServerID, "error", err)...)
		return contract.Move{Begun: true} // at worst it is left to its owner
	}
	return is
}

// act does an action on a server, and waits for its end. Conflict where something else holds the server's lock.
func (d *drain) act(ctx workflow.Context, s contract.MovableServer, name, requestID string, arguments contract.ActionArguments) error {
	now := workflow.Now(ctx)
	for i := range d.state.Moving {
		if m := &d.state.Moving[i]; m.ServerID == s.ServerID {
			m.Action, m.RequestID, m.Since = name, requestID, &now
		}
	}
	action, _ := lifecycle.Find(name)
	doing := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(requestid.WithIn(ctx, requestID), workflow.ChildWorkflowOptions{
		WorkflowID:            ids.ServerWorkflow(s.ServerID),
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			attributes.Project.ValueSet(s.ProjectID), attributes.Phase.ValueSet(name), attributes.Server.ValueSet(s.ServerID)),
		StaticSummary: run.Summary(name + " " + s.Name),
	}), action.Workflow, contract.ActionInput{
		Action: name, ServerID: s.ServerID, ProjectID: s.ProjectID, UserID: d.in.UserID, RequestID: requestID, Name: s.Name,
		Deadlines: d.in.Deadlines, OverLock: true, ActionArguments: arguments,
	})
	if err := doing.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
		if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return fault.Wrap(fault.Conflict, err, "Something else is being done to instance %s.", s.ServerID)
		}
		return err
	}
	limit := cmp.Or(d.in.Deadlines.Build, longest) + undone
	if done, err := workflow.AwaitWithTimeout(ctx, limit, doing.IsReady); !done {
		return fault.Wrap(fault.Unavailable, err, "To %s it has not ended within %s, and goes on: `slipway build show %s` says what it waits for.", action.Method, limit, s.ServerID)
	}
	return doing.Get(ctx, nil)
}
