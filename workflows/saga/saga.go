// Package saga gives back what a run has taken. It knows nothing of what is taken: an entry is a name, a chain and an
// undo.
//
// The rules, each of which a test holds:
//
//   - an undo is registered before its do runs, because a do can take effect and then report failure;
//   - undos run in reverse, on a context that the run's cancellation does not reach;
//   - an undo is tried until it succeeds (its own activity options decide how often);
//   - an undo that does not succeed within the patience is parked: it stays visible and goes on trying, and all that were
//     registered before it in the same chain wait for it, while other chains go on;
//   - what is registered as Behind waits for everything that was registered after it, in whatever chain;
//   - Wait returns only when everything has been given back.
package saga

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"
)

// State of an entry.
type State int

// States of an entry, in the order in which it passes through them.
const (
	Registered State = iota
	Undoing
	Parked // overdue, and still trying
	Undone
)

// Entry is one thing that may have been taken.
type Entry struct {
	Name   string
	Chain  string // undone strictly in reverse within a chain
	Behind bool   // waits for the later entries of every chain
	State  State

	undo func(workflow.Context) error
}

// Saga is the list of what a run may have taken. It belongs to one workflow run and needs no lock: workflow coroutines
// do not run at the same time.
type Saga struct {
	// Patience is how long an undo may hold up the undos of other chains.
	Patience time.Duration
	// Observe, if set, is told of each entry whose state changed.
	Observe func(workflow.Context, *Entry)

	entries []*Entry
}

// Register adds an undo. Call it before the do.
func (s *Saga) Register(name, chain string, undo func(workflow.Context) error) {
	s.entries = append(s.entries, &Entry{Name: name, Chain: chain, undo: undo})
}

// RegisterBehind adds an undo that would do harm while anything that was taken after it may still be held.
func (s *Saga) RegisterBehind(name, chain string, undo func(workflow.Context) error) {
	s.entries = append(s.entries, &Entry{Name: name, Chain: chain, Behind: true, undo: undo})
}

// Unwind undoes everything that is still registered, in reverse, or only the named chain. It returns when each undo has
// either succeeded or been parked.
func (s *Saga) Unwind(ctx workflow.Context, only ...string) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	for i := len(s.entries) - 1; i >= 0; i-- {
		e := s.entries[i]
		if e.State != Registered || (len(only) > 0 && !slices.Contains(only, e.Chain)) {
			continue
		}
		later := s.pendingFor(e)
		s.set(ctx, e, Undoing)
		workflow.Go(ctx, func(ctx workflow.Context) {
			_ = workflow.Await(ctx, func() bool { return allUndone(later) })
			for e.undo(ctx) != nil {
				// The undo's own retry policy is without limit, so this is a non-retryable refusal by the engine (a
				// worker that does not know the activity): wait a little and ask again rather than drop it.
				_ = workflow.Sleep(ctx, time.Minute)
			}
			s.set(ctx, e, Undone)
		})
		if !allUndone(later) {
			s.set(ctx, e, Parked)
			continue
		}
		if done, _ := workflow.AwaitWithTimeout(ctx, s.Patience, func() bool { return e.State == Undone }); !done {
			s.set(ctx, e, Parked)
		}
	}
}

// Wait returns when nothing that was unwound is left to undo.
func (s *Saga) Wait(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(ctx, s.Settled)
}

// Settled says whether nothing that was unwound is left to undo.
func (s *Saga) Settled() bool {
	return !slices.ContainsFunc(s.entries, func(e *Entry) bool { return e.State == Undoing || e.State == Parked })
}

// Entries lists what was registered, in order.
func (s *Saga) Entries() []*Entry { return s.entries }

func (s *Saga) set(ctx workflow.Context, e *Entry, to State) {
	if e.State == to || e.State == Undone {
		return
	}
	e.State = to
	if s.Observe != nil {
		s.Observe(ctx, e)
	}
}

// pendingFor lists what an entry has to wait for: undos that have begun and not ended. They were registered later.
func (s *Saga) pendingFor(e *Entry) []*Entry {
	var pending []*Entry
	for _, other := range s.entries {
		if (e.Behind || other.Chain == e.Chain) && (other.State == Undoing || other.State == Parked) {
			pending = append(pending, other)
		}
	}
	return pending
}

func allUndone(entries []*Entry) bool {
	for _, e := range entries {
		if e.State != Undone {
			return false
		}
	}
	return true
}
