package run

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// Spec is what a row says of itself, whatever its table's state is.
type Spec struct {
	Name      string // the activity that does it
	Scope     Scope  // who runs it
	Undo      string // the activity that gives back what it took
	WhyNoUndo string // required where Undo is empty
	Phase     string // shown while it runs
	Beside    string // runs beside the rows that follow, until this one
	Counts    string // what it is done once for each of; "" for a row that is done once

	// Timeout is one try's deadline. Rows at a place heartbeat, so a long one is found dead soon.
	Timeout time.Duration
	// Patience bounds a control row in all, with its further tries.
	Patience time.Duration

	PerPlace    bool   // given back when the run leaves the place, not only when it ends
	Behind      string // the chain in which it is given back, once no place holds anything any more that may use it; "" is at once
	Apart       string // the chain in which it is given back at once, whatever waits; "" is none
	Where       string // of a row at another place than the chosen one: which, for the documents
	If          string // of a conditional row: what it depends on, where the table says so
	Conditional bool   // some runs do without it
	Tireless    bool   // tried until it succeeds, as an undo is
	Final       bool   // there is no way back behind it: what follows may fail, and what was made stays

	// since is the version of the table that added the row, until the one that took it out; 0 is always. A run goes on with
	// the version that it began with (docs/checklists/change-a-workflow.md).
	since, until workflow.Version
}

// Scope says which worker runs a row, and how.
type Scope string

// Scopes.
const (
	// Control rows are milliseconds of database work. They run inside the workflow task, as local activities: a round trip
	// through the engine would cost more than the row (docs/decisions/0001-one-workflow-per-server.md).
	Control Scope = "control"
	// Remote rows run on the control plane's queue, where they may take their time.
	Remote Scope = "worker"
	// Placed rows run on the queue of the place that the run has chosen.
	Placed Scope = "host"
)

// Row is one row of a table over the state S.
type Row[S any] struct {
	Spec
	wanted   func(S) bool
	count    func(S) int
	do       func(ctx workflow.Context, r *Run, row *Spec, at string, s S, n int) error
	chosen   func(S) string
	at       func(S) string // a place of its own; nil is the chosen one
	tells    func(S) string
	survived func(ctx workflow.Context, s S, n int, f *Failure) bool
	undoing  func(S) (input any, needed bool)
	undoOpts func(*workflow.ActivityOptions)
	accepts  bool
	leaves   func(S) []Spec

	detached    bool
	uncancelled bool
}

// None is the answer of an activity that has none.
type None struct{}

// Describe gives a row's input and what to do with its output (nil: nothing), the n-th time that it is done.
type Describe[S, I, O any] func(s S, n int) (I, func(O))

// OnControl is a row of the control plane. patience bounds it in all.
func OnControl[S, I, O any](name string, patience time.Duration, io Describe[S, I, O]) Row[S] {
	return Row[S]{
		Spec: Spec{Name: name, Scope: Control, Timeout: ControlTry, Patience: patience},
		do: func(ctx workflow.Context, r *Run, row *Spec, _ string, s S, n int) error {
			in, keep := io(s, n)
			// Not cancellable: the engine would not wait for it, and an undo must not overtake its do. It is short.
			ctx, _ = workflow.NewDisconnectedContext(ctx)
			ctx = workflow.WithLocalActivityOptions(ctx, r.controlOptions(row, in))
			return keepAnswer(ctx, workflow.ExecuteLocalActivity(ctx, name, in), keep)
		},
	}
}

// OnWorker is a row of the control plane that may take long; options bound it.
func OnWorker[S, I, O any](name string, options func(workflow.Context, S) (workflow.ActivityOptions, error), io Describe[S, I, O]) Row[S] {
	return Row[S]{
		Spec: Spec{Name: name, Scope: Remote},
		do: func(ctx workflow.Context, r *Run, _ *Spec, _ string, s S, n int) error {
			in, keep := io(s, n)
			o, err := options(ctx, s)
			if err != nil {
				return err
			}
			if o.Summary == "" {
				o.Summary = r.words(name, in)
			}
			return keepAnswer(ctx, workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), name, in), keep)
		},
	}
}

// AtPlace is a row on the chosen place. timeout is one try's deadline, beside its wait for a turn.
func AtPlace[S, I, O any](name string, timeout time.Duration, io Describe[S, I, O]) Row[S] {
	return Row[S]{
		Spec: Spec{Name: name, Scope: Placed, Timeout: timeout, PerPlace: true},
		do: func(ctx workflow.Context, r *Run, row *Spec, at string, s S, n int) error {
			in, keep := io(s, n)
			return keepAnswer(ctx, workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, r.placedOptions(row, at)), name, in), keep)
		},
	}
}

func keepAnswer[O any](ctx workflow.Context, running workflow.Future, keep func(O)) error {
	var out O
	if err := running.Get(ctx, &out); err != nil {
		return err
	}
	if keep != nil {
		keep(out)
	}
	return nil
}

// GivenBackBy names the undo.
func (r Row[S]) GivenBackBy(undo string) Row[S] { r.Undo = undo; return r }

// TakesNothing says why there is no undo.
func (r Row[S]) TakesNothing(why string) Row[S] { r.WhyNoUndo = why; return r }

// GivenBackWith gives the undo's input where it needs more than what a row took, as it stands when the undo begins; needed is
// false where there is nothing to give back.
func (r Row[S]) GivenBackWith(input func(S) (in any, needed bool)) Row[S] {
	r.undoing = input
	return r
}

// GivenBackWithin changes the options of the undo.
func (r Row[S]) GivenBackWithin(change func(*workflow.ActivityOptions)) Row[S] {
	r.undoOpts = change
	return r
}

// In is the phase that the row is a part of.
func (r Row[S]) In(phase string) Row[S] { r.Phase = phase; return r }

// ByPlace has the row's takings given back when the run leaves the place.
func (r Row[S]) ByPlace() Row[S] { r.PerPlace = true; return r }

// BehindPlaces has them given back behind everything on places, in a chain of that name.
func (r Row[S]) BehindPlaces(chain string) Row[S] { r.Behind = chain; return r }

// GivenBackApart has them given back in a chain of that name, which waits for nothing else.
func (r Row[S]) GivenBackApart(chain string) Row[S] { r.Apart = chain; return r }

// BesideUntil runs the row beside those that follow it, until the one of that name.
func (r Row[S]) BesideUntil(row string) Row[S] { r.Beside = row; return r }

// From and Gone are the table's versions that brought the row and took it out.
func (r Row[S]) From(v workflow.Version) Row[S] { r.since = v; return r }

// Gone is the version that took the row out.
func (r Row[S]) Gone(v workflow.Version) Row[S] { r.until = v; return r }

// Within bounds one try of a row of the control plane that asks others than the database.
func (r Row[S]) Within(timeout time.Duration) Row[S] { r.Timeout = timeout; return r }

// When makes the row conditional. It is asked before each time that the row is done.
func (r Row[S]) When(wanted func(S) bool) Row[S] {
	r.wanted, r.Conditional = wanted, true
	return r
}

// Depending is When with what it depends on in words, so that what derives from the table tells the ways through it apart.
func (r Row[S]) Depending(depends string, wanted func(S) bool) Row[S] {
	r = r.When(wanted)
	r.If = depends
	return r
}

// On has the row done at another place than the chosen one, which stays what it is where this row fails: no other can do it instead.
func (r Row[S]) On(where string, place func(S) string) Row[S] {
	r.Where, r.at = where, place
	return r
}

// Each has the row done once for each of what is counted.
func (r Row[S]) Each(what string, count func(S) int) Row[S] {
	r.Counts, r.count = what, count
	return r
}

// Chooses says that the row's answer is the place of those that follow. Where one of them fails for the place's own reasons,
// what was taken there is given back, and the row is done again for another.
func (r Row[S]) Chooses(place func(S) string) Row[S] { r.chosen = place; return r }

// Tells shows what the row's answer says to the user, beside the row.
func (r Row[S]) Tells(detail func(S) string) Row[S] { r.tells = detail; return r }

// Accepts says that what was asked for is accepted when the row is done.
func (r Row[S]) Accepts() Row[S] { r.accepts = true; return r }

// UntilDone has a row at a place tried until it succeeds, however long the place is away.
func (r Row[S]) UntilDone() Row[S] { r.Tireless = true; return r }

// Leaves has everything given back, when the row is done, that the rows of a table may hold at the place, in the order of their undos
// and whatever becomes of the run: of what it did before only that is given back which waits for all places. What the place does not
// give back in time is left to another run (Frame.HandOver).
func (r Row[S]) Leaves(rows func(S) []Spec) Row[S] {
	r.leaves, r.Final = rows, true
	return r
}

// Detached does the row although the run was cancelled meanwhile: what was begun has to be said, or ended.
func (r Row[S]) Detached() Row[S] { r.detached = true; return r }

// Uncancelled lets the row end once it has begun.
func (r Row[S]) Uncancelled() Row[S] { r.uncancelled = true; return r }

// Survives lets the run go on after some failures of the row.
func (r Row[S]) Survives(failure func(ctx workflow.Context, s S, n int, f *Failure) bool) Row[S] {
	r.survived = failure
	return r
}
