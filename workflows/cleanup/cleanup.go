// Package cleanup gives back what waits for a host.
package cleanup

import (
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// CleanUp gives back what a build or a delete left on hosts that did not answer, for as long as it takes. It runs beside
// the server's own workflow, so that a server can be used, or deleted, while a host that it has left is away; the room on
// that host stays taken until the host is clean. One runs for a server; more undos reach it by signal.
func CleanUp(ctx workflow.Context, in contract.CleanUpInput) error {
	about := server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
	r := run.New(ctx, about.Frame(attributes.PhaseParked))
	ctx, _ = workflow.NewDisconnectedContext(ctx) // nothing is dropped because somebody cancels the wait
	more := workflow.GetSignalChannel(ctx, contract.SignalUndos)
	for batch := 1; ; batch++ {
		r.TakeOver(batch, pending(in.Undos))
		r.GiveBack(ctx, 0) // they had their time where they come from
		if batch == 1 {
			// Whoever asked before the first task is answered here: by now there is something to act on.
			if err := about.Serve(ctx, r); err != nil {
				return err
			}
		}
		_ = workflow.Await(ctx, func() bool {
			in.Undos = nil
			return more.ReceiveAsync(&in.Undos) || r.GivenBack() && workflow.AllHandlersFinished(ctx)
		})
		if in.Undos == nil {
			r.Show(ctx, attributes.PhaseClean)
			return nil
		}
	}
}

func pending(undos []contract.PendingUndo) []run.Pending {
	var all []run.Pending
	for _, u := range undos {
		all = append(all, run.Pending{
			Undo:  run.Undo{Activity: u.Activity, Place: u.Host, Input: u.Input},
			Index: u.Input.Index, Name: u.Name, Chain: u.Chain, Behind: u.Behind,
		})
	}
	return all
}
