package workflows

import (
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// DeleteServer tears one server down. A delete is signal-with-start: where a build runs under the same id it gets the
// signal and BootServer does this itself; otherwise this workflow starts, with the request in the signal.
func DeleteServer(ctx workflow.Context, in contract.DeleteInput) error {
	b := newBuild(ctx, contract.BootInput{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines,
	})
	b.deletion = &in
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() ([]contract.StepProgress, error) {
		return b.progress, nil
	}); err != nil {
		return err
	}
	err := b.teardown(ctx)
	// More deletes of the same server ask for what has been done.
	deletes := workflow.GetSignalChannel(ctx, contract.SignalDelete)
	for deletes.ReceiveAsync(nil) {
	}
	return err
}

// teardown runs every undo of the table against what the server holds, wherever that is, and removes its row. It is
// right after a finished build, after one that undid itself, and after another teardown.
func (b *build) teardown(ctx workflow.Context) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	d := *b.deletion
	var at contract.Placement
	if err := b.undoActivity(ctx, contract.MarkDeleting, d, &at); err != nil {
		return err
	}
	if at.Gone {
		return nil
	}
	b.showPhase(ctx, string(contract.PhaseDeleting))
	b.progress = nil
	b.saga = saga.Saga{Patience: d.Deadlines.UndoPatience, Observe: b.observeTeardown}
	b.saga.Register(contract.RemoveServer, ownChain, func(ctx workflow.Context) error {
		return b.undoActivity(ctx, contract.RemoveServer, contract.RemoveServerInput{
			ServerID: d.ServerID, RequestID: d.RequestID, Steps: b.progress,
		}, nil)
	})
	for i := range steps {
		s := &steps[i]
		if s.Undo == "" || s.Undo == contract.FailServer {
			continue
		}
		times, hosts := 1, []string{""}
		if s.repeat != nil {
			times = at.NICs
		}
		if s.perHostChain {
			hosts = at.Hostnames
		}
		for _, hostname := range hosts {
			chain := ownChain
			switch {
			case hostname != "":
				chain = hostChain + hostname
			case s.behindHosts:
				chain = networkChain
			}
			queueOf := ""
			if s.Scope == OnHost {
				queueOf = hostname
			}
			for n := range times {
				in := contract.Undo{ServerID: d.ServerID, Hostname: hostname, Index: n}
				b.register(s, undoName(s.Undo, n), chain, func(ctx workflow.Context) error {
					return undo(ctx, s.Undo, in, queueOf)
				})
			}
		}
	}
	b.saga.Unwind(ctx)
	b.saga.Wait(ctx)
	b.showPhase(ctx, phaseDeleted)
	return nil
}

// hostChain begins the name of the chain of what one host holds for a server that is torn down.
const hostChain = "host/"

// undoActivity runs an activity of a teardown that is not a row's undo, with the same tirelessness.
func (b *build) undoActivity(ctx workflow.Context, name string, in, out any) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(b.in.ServerID, "")), name, in).Get(ctx, out)
}

// observeTeardown shows a teardown's undos as the steps that they are.
func (b *build) observeTeardown(ctx workflow.Context, e *saga.Entry) {
	name, _, _ := strings.Cut(e.Name, "/")
	hostname, onHost := strings.CutPrefix(e.Chain, hostChain)
	if !onHost {
		hostname = ""
	}
	now := workflow.Now(ctx)
	var line *contract.StepProgress
	for i := range b.progress {
		if b.progress[i].Step == name && b.progress[i].Host == hostname {
			line = &b.progress[i]
		}
	}
	if line == nil {
		b.progress = append(b.progress, contract.StepProgress{
			Step: name, Host: hostname, Phase: contract.PhaseDeleting, State: contract.StepRunning, Started: &now,
		})
		line = &b.progress[len(b.progress)-1]
	}
	switch e.State {
	case saga.Parked:
		line.State = contract.StepParked
		b.showPhase(ctx, phaseParked)
	case saga.Undone:
		line.State, line.Finished = contract.StepDone, &now
	}
}
