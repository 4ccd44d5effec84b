// Package saga gives back what a run has taken. It knows nothing of what is taken: an entry is a name, a chain and a
// description of the undo that the owner of the saga can carry out.
//
// The rules, each of which a test holds:
//
//   - an undo is registered before its do runs, because a do can take effect and then report failure;
//   - undos run in reverse, on a context that the run's cancellation does not reach;
//   - an undo is tried until it succeeds (its own activity options decide how often), unless an operator skips it;
//   - an undo that does not succeed within the patience is parked: it stays visible and goes on trying, and all that were
//     registered before it in the same chain wait for it, while other chains go on;
//   - what is registered as Behind waits for everything that was registered after it, in whatever chain;
//   - what waits can be handed over to another run, which takes its list in the same order;
//   - what is in use by now is not given back, where the owner says so, nor is the rest of its chain;
//   - Wait returns only when nothing that was begun is left.
package saga

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"
)

// State of an entry.
type State string

// States of an entry. The first three are passed in this order; the others are ends.
const (
	Registered State = "registered"
	Undoing    State = "undoing"
	Parked     State = "parked" // overdue, and still trying

	Undone     State = "undone"
	Skipped    State = "skipped"     // an operator gave it up, or what it gives back is in use
	HandedOver State = "handed over" // another run goes on with it
	Kept       State = "kept"        // what was taken stays: there is no way back behind it any more
)

// Entry is one thing that may have been taken.
type Entry[T any] struct {
	Name   string
	Chain  string // undone strictly in reverse within a chain
	Behind bool   // waits for the later entries of every chain
	What   T      // what the undo needs to know

	State State
	Since time.Time // when its undo began, in this run or in one that handed it over
	Why   string    // it is Skipped where no operator said so

	stop  func() // ends the try that runs or waits
	again bool   // stopped only to be tried at once
}

// ID names an entry within its saga.
func (e *Entry[T]) ID() string { return e.Chain + ":" + e.Name }

// Waiting says whether the undo was begun and has not ended.
func (e *Entry[T]) Waiting() bool { return e.State == Undoing || e.State == Parked }

// Saga is the list of what a run may have taken. It belongs to one workflow run and needs no lock: workflow coroutines
// do not run at the same time.
type Saga[T any] struct {
	// Undo carries out the undo of an entry.
	Undo func(ctx workflow.Context, what T) error
	// InUse, if set, is asked before each try of an undo, and says why what it would give back is to stay; "" where it is not.
	InUse func(ctx workflow.Context, what T) (why string, err error)
	// Observe, if set, is told of each entry whose state changed.
	Observe func(workflow.Context, *Entry[T])

	entries []*Entry[T]
}

// Register adds an undo, unless the chain has it already and has not begun with it. Call it before the do.
func (s *Saga[T]) Register(e Entry[T]) *Entry[T] {
	for _, known := range s.entries {
		if known.ID() == e.ID() && known.State == Registered {
			return known
		}
	}
	e.State = Registered
	s.entries = append(s.entries, &e)
	return &e
}

// Keep drops the undos that have not begun and that the caller names: what they would give back stays.
func (s *Saga[T]) Keep(what func(*Entry[T]) bool) {
	for _, e := range s.entries {
		if e.State == Registered && what(e) {
			e.State = Kept
		}
	}
}

// Unwind undoes everything that is still registered, in reverse, or only the named chain. patience is how long an undo may
// hold up those of other chains and the caller: it returns when each undo has either ended or been parked.
func (s *Saga[T]) Unwind(ctx workflow.Context, patience time.Duration, only ...string) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	for i := len(s.entries) - 1; i >= 0; i-- {
		e := s.entries[i]
		if e.State != Registered || (len(only) > 0 && !slices.Contains(only, e.Chain)) {
			continue
		}
		before := s.before(e)
		if e.Since.IsZero() {
			e.Since = workflow.Now(ctx)
		}
		s.set(ctx, e, Undoing)
		workflow.Go(ctx, func(ctx workflow.Context) { s.run(ctx, e, before) })
		if patience > 0 && !waiting(before) {
			_, _ = workflow.AwaitWithTimeout(ctx, patience, func() bool { return !e.Waiting() })
		}
		if e.Waiting() {
			s.set(ctx, e, Parked)
		}
	}
}

// How long it waits after a refusal by the engine: twice as long after each, as nobody may see to it for days.
const (
	firstPause   = time.Minute
	longestPause = time.Hour
)

// run tries an undo until it succeeds or somebody ends it.
func (s *Saga[T]) run(ctx workflow.Context, e *Entry[T], before []*Entry[T]) {
	pause := firstPause
	for e.Waiting() {
		try, stop := workflow.WithCancel(ctx)
		e.stop, e.again = stop, false
		err := workflow.Await(try, func() bool { return !waiting(before) })
		if err == nil && e.Waiting() {
			err = s.try(try, e)
		}
		switch {
		case !e.Waiting():
		case err == nil:
			s.set(ctx, e, Undone)
		case !e.again:
			// The undo's own retry policy is without limit, so this is a refusal by the engine (a worker that does not
			// know the activity): wait a little and ask again rather than drop it.
			_ = workflow.Sleep(try, pause)
			pause = min(2*pause, longestPause)
		}
		if e.again {
			pause = firstPause
		}
		stop()
	}
}

// try carries an undo out, unless what it gives back is in use: then its chain ends here.
func (s *Saga[T]) try(ctx workflow.Context, e *Entry[T]) error {
	if s.InUse != nil {
		why, err := s.InUse(ctx, e.What)
		if err != nil || !e.Waiting() {
			return err
		}
		if why != "" {
			for _, other := range slices.Backward(s.entries) {
				if other.Chain == e.Chain && other.Waiting() {
					other.Why = why
					s.end(ctx, other, Skipped)
				}
			}
			return nil
		}
	}
	return s.Undo(ctx, e.What)
}

// Retry tries a waiting undo at once instead of after its pause.
func (s *Saga[T]) Retry(e *Entry[T]) {
	if e.Waiting() && e.stop != nil {
		e.again = true
		e.stop()
	}
}

// Skip gives a waiting undo up: what it would have given back stays where it is, and what waited for it goes on.
func (s *Saga[T]) Skip(ctx workflow.Context, e *Entry[T]) { s.end(ctx, e, Skipped) }

// HandOver ends what waits in the chains that the caller names and returns it in order of registration, for another run to
// take over. A try that runs at this moment may still take effect: every undo may be done twice.
func (s *Saga[T]) HandOver(ctx workflow.Context, chain func(string) bool) []*Entry[T] {
	var taken []*Entry[T]
	for _, e := range s.entries {
		if e.Waiting() && chain(e.Chain) {
			taken = append(taken, e)
		}
	}
	for _, e := range taken {
		s.end(ctx, e, HandedOver)
	}
	return taken
}

func (s *Saga[T]) end(ctx workflow.Context, e *Entry[T], as State) {
	if !e.Waiting() {
		return
	}
	s.set(ctx, e, as)
	if e.stop != nil {
		e.stop()
	}
}

// Wait returns when nothing that was unwound is left to undo.
func (s *Saga[T]) Wait(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(ctx, func() bool { return !waiting(s.entries) })
}

// Settled says whether nothing that was unwound is left to undo in the named chains, or in any.
func (s *Saga[T]) Settled(chains ...string) bool {
	return !slices.ContainsFunc(s.entries, func(e *Entry[T]) bool {
		return e.Waiting() && (len(chains) == 0 || slices.Contains(chains, e.Chain))
	})
}

// Entries lists what was registered, in order.
func (s *Saga[T]) Entries() []*Entry[T] { return s.entries }

func (s *Saga[T]) set(ctx workflow.Context, e *Entry[T], to State) {
	if e.State == to || e.State != Registered && !e.Waiting() {
		return
	}
	e.State = to
	if s.Observe != nil {
		s.Observe(ctx, e)
	}
}

// before lists what an entry has to wait for: undos that have begun and not ended. They were registered later.
func (s *Saga[T]) before(e *Entry[T]) []*Entry[T] {
	var list []*Entry[T]
	for _, other := range s.entries {
		if (e.Behind || other.Chain == e.Chain) && other.Waiting() {
			list = append(list, other)
		}
	}
	return list
}

func waiting[T any](entries []*Entry[T]) bool {
	return slices.ContainsFunc(entries, func(e *Entry[T]) bool { return e.Waiting() })
}
