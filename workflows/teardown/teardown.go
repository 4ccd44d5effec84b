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
	// More deletes of the same server ask for what has been done, or was not, where it was to be reclaimed and had been restored.
	deletes := workflow.GetSignalChannel(ctx, contract.SignalDelete)
	for more := (contract.DeleteInput{}); deletes.ReceiveAsync(&more); {
		if in.Reclaims && err == nil {
			err = Server(ctx, r, rows, more)
		}
	}
	return err
}

// Asked is the end that may be asked for while something else is done to a server: its delete, or that its state is reset.
type Asked struct {
	deletes, resets workflow.ReceiveChannel

	deletion *contract.DeleteInput
	reset    *contract.ResetInput // the one that comes next

	rows []run.Spec // that may have left something on a host
}

func listen(ctx workflow.Context) *Asked {
	return &Asked{
		deletes: workflow.GetSignalChannel(ctx, contract.SignalDelete), resets: workflow.GetSignalChannel(ctx, contract.SignalReset),
	}
}

// Came says whether the delete has come.
func (a *Asked) Came() bool { return a.deletion != nil }

// look takes what has come: of deletes the first, since the others ask for the same.
func (a *Asked) look() bool {
	var (
		deletion contract.DeleteInput
		reset    contract.ResetInput
	)
	if a.deletion == nil && a.deletes.ReceiveAsync(&deletion) {
		a.deletion = &deletion
	}
	if a.reset == nil && a.resets.ReceiveAsync(&reset) {
		a.reset = &reset
	}
	return a.deletion != nil || a.reset != nil
}

// Follows makes a delete or a reset end what the frame surrounds, which a request asked for, and follow it in the same run.
func (w Workflow) Follows(ctx workflow.Context, f *run.Frame, requestID string) *Asked {
	rows := run.Until(w.Rows, run.Version(ctx, w.Version, w.Rows))
	a := listen(ctx)
	a.rows = rows
	f.Stop = a.look
	f.Stopped = func(ctx workflow.Context, r *run.Run) error { return a.follow(ctx, r, rows, requestID) }
	return a
}

// Leave gives a clean-up what a server has on a host that it has no use for any more.
func (a *Asked) Leave(ctx workflow.Context, about server.Subject, hostname string) {
	about.Leave(ctx, a.rows, hostname)
}

// follow does what was asked for, once what it ended has given back what it could. After a reset, what still waits for a host holds
// the server's lock: it is given back before anything else is done to the server, unless that is its delete.
func (a *Asked) follow(ctx workflow.Context, r *run.Run, rows []run.Spec, ended string) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	for a.deletion == nil && a.reset != nil {
		in := contract.ResetStateInput{ResetInput: *a.reset, Ended: ended}
		a.reset = nil
		setting := workflow.WithActivityOptions(ctx, run.UndoOptions(in.ServerID, "", ""))
		var left contract.LeftHosts
		if err := workflow.ExecuteActivity(setting, contract.ResetState, in).Get(ctx, &left); err != nil {
			return err
		}
		about := server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
		for _, hostname := range left.Hostnames {
			about.Leave(ctx, rows, hostname)
		}
		_ = workflow.Await(ctx, func() bool { return a.look() || r.GivenBack() })
	}
	if a.deletion == nil {
		r.Show(ctx, attributes.PhaseReset)
		return nil
	}
	return Server(ctx, r, rows, *a.deletion)
}

// ResetServer sets the state of a server to which nothing is being done.
func (w Workflow) ResetServer(ctx workflow.Context, in contract.ResetInput) error {
	rows := run.Until(w.Rows, run.Version(ctx, w.Version, w.Rows))
	about := server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
	r := run.New(ctx, about.Frame(attributes.PhaseReset))
	if err := about.Serve(ctx, r); err != nil {
		return err
	}
	a := listen(ctx)
	a.look()
	a.reset = &in // which is the first that has come, too, where a request has started this
	return a.follow(ctx, r, rows, "")
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
