package run

import (
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// Failure is a row that did not succeed.
type Failure struct {
	Row       string
	Fault     *fault.Error
	elsewhere bool   // another place may do better
	lost      bool   // its place was not heard of
	apart     string // the chain of what it, and others, may have taken at a place of their own
}

// ended is how a table failed. last is nil where as many places failed as may be tried.
type ended struct{ last *fault.Error }

// do does the table's rows: those before a place is chosen, those that belong to it on one place after another, and the rest.
func (t Table[S]) do(ctx workflow.Context, r *Run, s S) *ended {
	from, to := t.section()
	if f := rows(ctx, r, s, t[:from]); f != nil {
		return &ended{f.Fault}
	}
	for from < to {
		f := rows(ctx, r, s, t[from:to])
		if f == nil {
			break
		}
		if f.Row == t[from].Name && r.waits(ctx, f.Fault) {
			continue
		}
		if f.lost && f.apart != "" && !r.keeps(ctx) {
			r.saga.Unwind(ctx, 0, f.apart) // nobody is there who could undo it now, and the chosen place waits to be put back
		}
		if ctx.Err() != nil || !f.elsewhere {
			return &ended{f.Fault}
		}
		if r.keeps(ctx) {
			return &ended{f.Fault}
		}
		chain, patience := r.attemptChain(), r.frame.Limits.UndoPatience
		if f.lost {
			patience = 0 // nobody is there who could undo it now
		}
		left := Attempt{Place: r.place.name, Row: f.Row, Fault: f.Fault}
		r.tried = append(r.tried, left)
		if r.frame.Left != nil {
			r.frame.Left(ctx, left)
		}
		r.saga.Unwind(ctx, patience, chain)
		r.place = &place{}
		if len(r.tried) >= max(1, r.frame.Limits.Tries) {
			return &ended{}
		}
	}
	if f := rows(ctx, r, s, t[to:]); f != nil {
		return &ended{f.Fault}
	}
	return nil
}

// waits asks whether a choice of a place that failed is to be made again. One line tells of all the tries.
func (r *Run) waits(ctx workflow.Context, f *fault.Error) bool {
	last := len(r.lines) - 1
	if r.frame.Waits == nil || !r.frame.Waits(ctx, r.lines[last], f) {
		return false
	}
	r.lines = r.lines[:last]
	return true
}

// TakenBefore registers the undos of the rows before a place is chosen: another run has taken what they take. The rows find
// it there; whatever they answer, it is given back.
func (t Table[S]) TakenBefore(r *Run, s S) {
	from, _ := t.section()
	for i := range t[:from] {
		register(r, &t[i], r.place, s, 0)
	}
}

// rows does rows in order, those that run beside others in coroutines of their own. It returns when all of them have
// ended, with the first failure.
func rows[S any](ctx workflow.Context, r *Run, s S, rows []Row[S]) *Failure {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var first *Failure
	running := map[string][]workflow.Future{} // read by key only
	keep := func(f *Failure) {
		if f != nil && first == nil {
			first = f
			cancel()
		}
	}
	for i := range rows {
		row := &rows[i]
		for _, beside := range running[row.Name] {
			_ = beside.Get(ctx, nil)
		}
		times := 1
		if first == nil && row.count != nil {
			times = row.count(s)
		}
		for n := 0; n < times && first == nil && (row.wanted == nil || row.wanted(s)); n++ {
			if row.Beside == "" {
				keep(step(ctx, r, row, s, n))
				continue
			}
			ended, settle := workflow.NewFuture(ctx)
			running[row.Beside] = append(running[row.Beside], ended)
			workflow.Go(ctx, func(ctx workflow.Context) {
				keep(step(ctx, r, row, s, n))
				settle.SetValue(nil)
			})
		}
	}
	// Nothing is left running behind: an undo must not overtake its do. Waiting is on a context that the failure above
	// does not cancel.
	waiting, _ := workflow.NewDisconnectedContext(ctx)
	for i := range rows {
		for _, beside := range running[rows[i].Name] {
			_ = beside.Get(waiting, nil)
		}
	}
	return first
}

// step registers a row's undo and does the row.
func step[S any](ctx workflow.Context, r *Run, row *Row[S], s S, n int) *Failure {
	if err := ctx.Err(); err != nil && !row.detached {
		return &Failure{Row: row.Name, Fault: failure.Fault(err)}
	}
	if row.detached || row.uncancelled {
		ctx, _ = workflow.NewDisconnectedContext(ctx)
	}
	at := r.place
	if row.at != nil {
		at = &place{row.at(s)}
	}
	line := r.begin(ctx, &row.Spec, at.name, n)
	line.undo = register(r, row, at, s, n)
	err := row.do(ctx, r, &row.Spec, at.name, s, n)
	if lost(err) && r.frame.Seen != nil && r.frame.Seen(ctx, at.name) {
		// The place reports: it was the engine that was away, and its clocks went on. Once more, then.
		err = row.do(ctx, r, &row.Spec, at.name, s, n)
	}
	now := workflow.Now(ctx)
	line.Finished = &now
	if err == nil {
		line.State = Done
		r.accepted = r.accepted || row.accepts
		if row.tells != nil {
			line.Detail = row.tells(s)
		}
		if row.chosen != nil {
			r.choose(ctx, line, row.chosen(s))
		}
		if row.leaves != nil {
			r.leave(ctx, row.leaves(s))
		}
		return nil
	}
	f := &Failure{Row: row.Name, Fault: failure.Fault(err), lost: lost(err), apart: row.Apart}
	f.elsewhere = row.Scope == Placed && row.at == nil && tryElsewhere(f.Fault)
	survived := row.survived != nil && row.survived(ctx, s, n, f)
	line.State, line.Error = Failed, f.Fault.Text
	workflow.GetLogger(ctx).Error("A step failed.",
		append([]any{"step", row.Name, "host", line.Place, "kind", f.Fault.Kind, "error", err}, r.frame.Log...)...)
	if survived {
		return nil
	}
	return f
}

// tryElsewhere says whether another place may do what this one could not. Internal is loud instead: it is a bug, and would
// be one at the next place too.
func tryElsewhere(f *fault.Error) bool {
	return f.Kind == fault.HostUnfit || f.Kind == fault.Unavailable
}

func (r *Run) choose(ctx workflow.Context, line *Line, name string) {
	r.place.name, line.Place = name, name
	if r.frame.Chosen != nil {
		r.shown = r.frame.Chosen(ctx, name)
	}
}

func (r *Run) begin(ctx workflow.Context, row *Spec, at string, n int) *Line {
	r.Enter(ctx, row.Phase)
	line := &Line{Row: row.Name, Index: n, State: Running, Phase: row.Phase, Started: workflow.Now(ctx)}
	if row.Scope == Placed {
		line.Place = at
	}
	r.lines = append(r.lines, line)
	return line
}
