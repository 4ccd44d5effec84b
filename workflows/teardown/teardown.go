// Package teardown ends servers: every undo of the build's table, against what a server holds.
package teardown

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// Workflow tears down what the rows of a table may have built.
type Workflow struct {
	Rows    []run.Spec
	Version string // the name under which the engine records the table's version
}

// DeleteServer tears one server down. A delete is signal-with-start: where a build runs under the same id it gets the
// signal and BootServer does this itself; otherwise this workflow starts, with the request in the signal.
func (w Workflow) DeleteServer(ctx workflow.Context, in contract.DeleteInput) error {
	rows := run.Until(w.Rows, run.Version(ctx, w.Version, w.Rows))
	about := subject(in)
	r := run.New(ctx, about.Frame(string(contract.PhaseScheduling)))
	if err := about.Serve(ctx, r); err != nil {
		return err
	}
	r.Watch(ctx, nil)
	err := Server(ctx, r, rows, in)
	// More deletes of the same server ask for what has been done.
	deletes := workflow.GetSignalChannel(ctx, contract.SignalDelete)
	for deletes.ReceiveAsync(nil) {
	}
	return err
}

// Asked is the delete that may arrive while something else is done to a server.
type Asked struct {
	deletes workflow.ReceiveChannel
	in      *contract.DeleteInput
}

// Came says whether it has come.
func (a *Asked) Came() bool { return a.in != nil }

// look takes the first request; the others ask for the same.
func (a *Asked) look() bool {
	var in contract.DeleteInput
	if a.in == nil && a.deletes.ReceiveAsync(&in) {
		a.in = &in
	}
	return a.Came()
}

// Follows makes a delete end what the frame surrounds, and follow it in the same run.
func (w Workflow) Follows(ctx workflow.Context, f *run.Frame) *Asked {
	rows := run.Until(w.Rows, run.Version(ctx, w.Version, w.Rows))
	a := &Asked{deletes: workflow.GetSignalChannel(ctx, contract.SignalDelete)}
	f.Stop = a.look
	f.Stopped = func(ctx workflow.Context, r *run.Run) error { return Server(ctx, r, rows, *a.in) }
	return a
}

func subject(in contract.DeleteInput) server.Subject {
	return server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
}

// Server runs every undo of the rows against what the server holds, wherever that is, and removes its row. It is right after
// a finished build, after one that undid itself, and after another teardown. What a host that does not answer holds goes to
// the clean-up, and the server is gone for its user.
func Server(ctx workflow.Context, r *run.Run, rows []run.Spec, in contract.DeleteInput) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	frame := subject(in).Frame("")
	frame.UndoInput = func(t run.Taken) any {
		return contract.Undo{ServerID: in.ServerID, Hostname: t.Place, Index: t.Index}
	}
	r.Enter(ctx, string(contract.PhaseDeleting))
	var at contract.Takings
	marking := workflow.WithActivityOptions(ctx, run.UndoOptions(in.ServerID, "", ""))
	if err := workflow.ExecuteActivity(marking, contract.MarkDeleting, in).Get(ctx, &at); err != nil {
		return err
	}
	if at.Gone {
		return nil
	}
	r.Show(ctx, string(contract.PhaseDeleting))
	r.Restart(frame)
	r.Owe(contract.RemoveServer, func() any {
		return contract.RemoveServerInput{ServerID: in.ServerID, RequestID: in.RequestID, Steps: server.Steps(r)}
	})
	// The row goes as a whole: there is no fault to show any more.
	rows = slices.DeleteFunc(slices.Clone(rows), func(row run.Spec) bool { return row.Undo == contract.FailServer })
	r.OweAll(rows, at.Hostnames, map[string]int{server.NIC: at.NICs})
	r.GiveBack(ctx, in.Deadlines.UndoPatience)
	r.HandOver(ctx)
	r.Wait(ctx)
	_ = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	r.Show(ctx, attributes.PhaseDeleted)
	return nil
}
