package control

import (
	"cmp"
	"context"

	"go.temporal.io/sdk/activity"

	"github.com/slipway-cloud/slipway/models"
)

// taking is the store for a step whose undo begins with giveBack: what this run has given back it cannot take any more. The
// names are those of the step, its place where it is done more than once, and the host where it is done again on another.
func (a *Activities) taking(ctx context.Context, step string, index int, hostname string) *models.Store {
	return a.store.For(models.Taking{Run: runOf(ctx), Step: step, Index: index, Hostname: hostname})
}

// giveBack ends what may still be taken. run is the workflow's that took, "" for the one that asks.
func (a *Activities) giveBack(ctx context.Context, run, step string, index int, hostname string) error {
	return a.store.GiveBack(ctx, models.Taking{Run: cmp.Or(run, runOf(ctx)), Step: step, Index: index, Hostname: hostname})
}

func runOf(ctx context.Context) string { return activity.GetInfo(ctx).WorkflowExecution.RunID }
