package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// CleanUp gives back what a build or a delete left on hosts that did not answer, for as long as it takes. It runs beside
// the server's own workflow, so that a server can be used, or deleted, while a host that it has left is away; the room on
// that host stays taken until the host is clean. One runs for a server; more undos reach it by signal.
func (w Workflows) CleanUp(ctx workflow.Context, in contract.CleanUpInput) error {
	b := w.newBuild(ctx, contract.BootInput{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines,
	})
	b.enter(ctx, phaseParked)
	ctx, _ = workflow.NewDisconnectedContext(ctx) // nothing is dropped because somebody cancels the wait
	more := workflow.GetSignalChannel(ctx, contract.SignalUndos)
	for batch := 1; ; batch++ {
		for _, u := range in.Undos {
			chain := u.Chain
			if batch > 1 {
				chain = fmt.Sprintf("%d/%s", batch, chain)
			}
			b.saga.Register(saga.Entry[taking]{Name: u.Name, Chain: chain, Behind: u.Behind, What: func() contract.Undoing { return u.Undoing }})
		}
		b.saga.Unwind(ctx, 0) // they had their time where they come from
		if batch == 1 {
			// Whoever asked before the first task is answered here: by now there is something to act on.
			if err := b.serveOperators(ctx); err != nil {
				return err
			}
		}
		_ = workflow.Await(ctx, func() bool {
			in.Undos = nil
			return more.ReceiveAsync(&in.Undos) || b.saga.Settled() && workflow.AllHandlersFinished(ctx)
		})
		if in.Undos == nil {
			b.showPhase(ctx, phaseClean)
			return nil
		}
	}
}

func cleanUpOptions(id string, in contract.CleanUpInput) workflow.ChildWorkflowOptions {
	attributes := []temporal.SearchAttributeUpdate{
		attrServer.ValueSet(in.ServerID), attrProject.ValueSet(in.ProjectID), attrPhase.ValueSet(phaseParked),
	}
	for _, u := range in.Undos {
		if u.Host != "" {
			attributes = append(attributes, attrHost.ValueSet(u.Host))
			break
		}
	}
	return workflow.ChildWorkflowOptions{
		WorkflowID:            id,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowTaskTimeout:   taskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(attributes...),
		StaticSummary:         summary("clean up after " + in.ServerID),
	}
}
