package workflows

import (
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
)

var (
	attrServer      = temporal.NewSearchAttributeKeyKeyword(contract.AttrServer)
	attrProject     = temporal.NewSearchAttributeKeyKeyword(contract.AttrProject)
	attrHost        = temporal.NewSearchAttributeKeyKeyword(contract.AttrHost)
	attrImage       = temporal.NewSearchAttributeKeyKeyword(contract.AttrImage)
	attrPhase       = temporal.NewSearchAttributeKeyKeyword(contract.AttrPhase)
	attrOverdue     = temporal.NewSearchAttributeKeyKeyword(contract.AttrOverdue)
	attrReservation = temporal.NewSearchAttributeKeyKeyword(contract.AttrReservation)
)

// What the phase search attribute says when no step runs.
const (
	phaseActive  = "active"
	phaseFailed  = "failed"
	phaseParked  = "parked" // an undo does not succeed, or waits for a host: an operator may have to look
	phaseDeleted = "deleted"
	phaseClean   = "clean"
)

// showPhase enters a phase and tells the engine, so that it can be searched for.
func (b *build) showPhase(ctx workflow.Context, phase string) {
	b.enter(ctx, phase)
	if phase == b.shown {
		return
	}
	b.shown = phase
	_ = workflow.UpsertTypedSearchAttributes(ctx, attrPhase.ValueSet(phase))
}

// enter begins a phase and its deadline.
func (b *build) enter(ctx workflow.Context, phase string) {
	if phase == b.phase {
		return
	}
	b.phase, b.since = phase, workflow.Now(ctx)
	if b.overdue {
		b.overdue = false
		_ = workflow.UpsertTypedSearchAttributes(ctx, attrOverdue.ValueUnset())
	}
}

// lateness is how far the phase is beyond its deadline; negative while there is time. ok is false for one without.
func (b *build) lateness(now time.Time) (late time.Duration, ok bool) {
	limit := b.in.Deadlines.Phases[contract.Phase(b.phase)]
	if limit <= 0 {
		return 0, false
	}
	if b.phase == string(contract.PhaseScheduling) {
		limit += b.in.Deadlines.Capacity
	}
	return now.Sub(b.since) - limit, true
}

// watch shows a phase that takes too long as overdue, and ends a build that takes too long in all. It looks from time to
// time, not at each change of phase: an ordinary build costs one timer that never fires, and one that is overdue for days
// six an hour.
func (b *build) watch(ctx workflow.Context, end func()) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			pause := longestPause
			if late, ok := b.lateness(workflow.Now(ctx)); ok && late < 0 {
				pause = min(b.shortestPhase(), -late) // the next phase may have less time than this one
			}
			whole := b.in.Deadlines.Build - workflow.Now(ctx).Sub(b.started)
			if end != nil && whole > 0 {
				pause = min(pause, whole)
			}
			_ = workflow.Sleep(ctx, pause)
			now := workflow.Now(ctx)
			if late, ok := b.lateness(now); ok && late >= 0 && !b.overdue {
				b.overdue = true
				_ = workflow.UpsertTypedSearchAttributes(ctx, attrOverdue.ValueSet(b.phase))
				workflow.GetLogger(ctx).Warn("A build's phase is overdue.", "server_id", b.in.ServerID, "request_id", b.in.RequestID,
					"phase", b.phase, "since", b.since)
			}
			if limit := b.in.Deadlines.Build; end != nil && limit > 0 && !b.settled && b.stuckAt == "" && now.Sub(b.started) >= limit {
				b.stuckAt = b.runs()
				end()
			}
		}
	})
}

// shortestPhase is the shortest deadline of a phase.
func (b *build) shortestPhase() time.Duration {
	shortest := longestPause
	for _, phase := range []contract.Phase{contract.PhaseScheduling, contract.PhaseNetworking, contract.PhaseSpawning, contract.PhaseDeleting} {
		if limit := b.in.Deadlines.Phases[phase]; limit > 0 {
			shortest = min(shortest, limit)
		}
	}
	return shortest
}

// runs names the steps that run.
func (b *build) runs() string {
	var names []string
	for _, line := range b.progress {
		if line.State == contract.StepRunning {
			name := line.Step
			if line.Host != "" {
				name += " on " + line.Host
			}
			names = append(names, name)
		}
	}
	if names == nil {
		return "the undo of a failed attempt"
	}
	return strings.Join(names, ", ")
}

// longestPause bounds the watch's sleep: what is watched may change meanwhile.
const longestPause = 10 * time.Minute
