package workflows

import (
	"strconv"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// DeleteServer tears one server down. A delete is signal-with-start: where a build runs under the same id it gets the
// signal and BootServer does this itself; otherwise this workflow starts, with the request in the signal.
func (w Workflows) DeleteServer(ctx workflow.Context, in contract.DeleteInput) error {
	b := w.newBuild(ctx, contract.BootInput{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines,
	})
	b.deletion = &in
	if err := b.serveOperators(ctx); err != nil {
		return err
	}
	b.watch(ctx, nil)
	err := b.teardown(ctx)
	// More deletes of the same server ask for what has been done.
	deletes := workflow.GetSignalChannel(ctx, contract.SignalDelete)
	for deletes.ReceiveAsync(nil) {
	}
	return err
}

// teardown runs every undo of the table against what the server holds, wherever that is, and removes its row. It is
// right after a finished build, after one that undid itself, and after another teardown. What a host that does not answer
// holds goes to the clean-up, and the server is gone for its user.
func (b *build) teardown(ctx workflow.Context) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	d := *b.deletion
	b.in.RequestID, b.in.Deadlines = d.RequestID, d.Deadlines
	b.enter(ctx, string(contract.PhaseDeleting))
	var at contract.Placement
	if err := b.tireless(ctx, contract.MarkDeleting, d, &at); err != nil {
		return err
	}
	if at.Gone {
		return nil
	}
	b.showPhase(ctx, string(contract.PhaseDeleting))
	b.progress, b.undoIDs = nil, nil
	b.saga = saga.Saga[taking]{Undo: b.undo, Observe: b.observeTeardown}
	b.saga.Register(saga.Entry[taking]{Name: contract.RemoveServer, Chain: ownChain, What: func() contract.Undoing {
		return contract.Undoing{Activity: contract.RemoveServer}
	}})
	for i := range b.ever {
		s := &b.ever[i]
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
			for n := range times {
				u := contract.Undoing{Activity: s.Undo, Input: contract.Undo{ServerID: d.ServerID, Hostname: hostname, Index: n}}
				if s.Scope == OnHost {
					u.Host = hostname
				}
				b.saga.Register(saga.Entry[taking]{
					Name: undoName(s.Undo, n), Chain: chain, Behind: s.behindHosts, What: func() contract.Undoing { return u },
				})
			}
		}
	}
	b.saga.Unwind(ctx, d.Deadlines.UndoPatience)
	b.handOver(ctx)
	b.saga.Wait(ctx)
	_ = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	b.showPhase(ctx, phaseDeleted)
	return nil
}

// observeTeardown shows a teardown's undos as the steps that they are.
func (b *build) observeTeardown(ctx workflow.Context, e *saga.Entry[taking]) {
	name, nth, _ := strings.Cut(e.Name, "/")
	n, _ := strconv.Atoi(nth)
	hostname, onHost := strings.CutPrefix(e.Chain, hostChain)
	if !onHost {
		hostname = ""
	}
	now := workflow.Now(ctx)
	var line *contract.StepProgress
	for i := range b.progress {
		if b.undoIDs[i] == e.ID() {
			line = &b.progress[i]
		}
	}
	if line == nil {
		b.progress = append(b.progress, contract.StepProgress{
			Step: name, Host: hostname, Index: n, Phase: contract.PhaseDeleting, State: contract.StepRunning, Started: &now,
		})
		b.undoIDs = append(b.undoIDs, e.ID())
		line = &b.progress[len(b.progress)-1]
	}
	switch e.State {
	case saga.Parked, saga.HandedOver:
		line.State = contract.StepParked
	case saga.Undone:
		line.State, line.Finished = contract.StepDone, &now
	case saga.Skipped:
		line.State, line.Finished = contract.StepSkipped, &now
	}
	if e.State == saga.Parked {
		b.showPhase(ctx, phaseParked)
	}
}
