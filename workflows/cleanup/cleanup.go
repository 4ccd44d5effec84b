// Package cleanup gives back what waits for a host.
package cleanup

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// CleanUp gives back what a build or a delete left on hosts that did not answer, for as long as it takes. It runs beside
// the server's own workflow, so that a server can be used, or deleted, while a host that it has left is away; the room on
// that host stays taken until the host is clean. One runs for a server; more undos reach it by signal. When its history has
// grown long it goes on in another run, with the undos that still wait, under the ids that they have.
func CleanUp(ctx workflow.Context, in contract.CleanUpInput) error {
	about := server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
	frame := about.Frame(attributes.PhaseParked)
	frame.Since = in.Since
	frame.InUse = inUse
	r := run.New(ctx, frame)
	ctx, _ = workflow.NewDisconnectedContext(ctx) // nothing is dropped because somebody cancels the wait
	more := workflow.GetSignalChannel(ctx, contract.SignalUndos)
	take := func(batch int, undos []contract.PendingUndo) {
		r.TakeOver(batch, pending(undos))
		r.GiveBack(ctx, 0) // they had their time where they come from
	}
	for undos := in.Undos; len(undos) > 0; {
		batch := undos[0].Batch
		next := slices.IndexFunc(undos, func(u contract.PendingUndo) bool { return u.Batch != batch })
		if next < 0 {
			next = len(undos)
		}
		take(max(1, batch), undos[:next])
		undos = undos[next:]
	}
	// Whoever asked before the first task is answered here: by now there is something to act on.
	if err := about.Serve(ctx, r); err != nil {
		return err
	}
	long := func() bool { return workflow.GetInfo(ctx).GetContinueAsNewSuggested() }
	for batch := max(1, in.Batches); ; {
		_ = workflow.Await(ctx, func() bool {
			in.Undos = nil
			return more.ReceiveAsync(&in.Undos) || (r.GivenBack() || long()) && workflow.AllHandlersFinished(ctx)
		})
		switch {
		case in.Undos != nil:
			batch++
			take(batch, in.Undos)
		case r.GivenBack():
			r.Show(ctx, attributes.PhaseClean)
			return nil
		case workflow.GetVersion(ctx, "continue a long clean-up as new", workflow.DefaultVersion, 1) == workflow.DefaultVersion:
			long = func() bool { return false } // its history was long before that could be done
		default:
			_, in.Since, _ = r.Phase()
			in.Undos, in.Batches = left(r), batch
			return workflow.NewContinueAsNewError(ctx, contract.WorkflowCleanUp, in)
		}
	}
}

// inUse asks whether the server is in use where an undo would take something of it: a build that began before builds asked, or
// one that the engine was restored to, has given a host up on which another run has built the server. What belongs to no host,
// as its addresses, is in use wherever the server is.
func inUse(ctx workflow.Context, u run.Undo) (why string, err error) {
	if workflow.GetVersion(ctx, "ask before a clean-up undoes", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return "", nil
	}
	return server.InUse(ctx, u)
}

func pending(undos []contract.PendingUndo) []run.Pending {
	var all []run.Pending
	for _, u := range undos {
		all = append(all, run.Pending{
			Undo:  run.Undo{Activity: u.Activity, Place: u.Host, Input: u.Input},
			Index: u.Input.Index, Name: u.Name, Chain: u.Chain, Behind: u.Behind, Since: u.Since,
		})
	}
	return all
}

// left are the undos that still wait. A try that runs at this moment may still take effect, as in a hand-over.
func left(r *run.Run) []contract.PendingUndo {
	var all []contract.PendingUndo
	for _, p := range r.Left() {
		undo, _ := p.Input.(contract.Undo)
		all = append(all, contract.PendingUndo{
			Undoing: contract.Undoing{Activity: p.Activity, Input: undo, Host: p.Place},
			Name:    p.Name, Chain: p.Chain, Behind: p.Behind, Batch: p.Batch, Since: p.Since,
		})
	}
	return all
}
