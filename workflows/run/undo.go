package run

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/workflows/saga"
)

// Chains of undos: what a place holds is given back when the run leaves the place, the rest when the run ends, what places may
// still use behind them. Their names are recorded. What waits in any but the first can be handed over.
const (
	ownChain   = "server"
	placeChain = "host/" // and the place's name: where no attempt of this run took it
)

func (r *Run) attemptChain() string { return fmt.Sprintf("attempt/%d", len(r.tried)+1) }

// Taken is what an undo is told of what its row took.
type Taken struct {
	Index int
	Place string // "" for what belongs to no place
	// Except, of a row whose answer is lost and that belongs to a place, are the places that other undos look after.
	Except []string
}

// Undo is one undo: the activity, what it gives back, and the place on whose queue it runs ("" is the control plane's).
type Undo struct {
	Activity string
	Place    string
	Input    any
}

// Pending is an undo that another run takes over, with its place in the order.
type Pending struct {
	Undo
	Index  int
	Name   string
	Chain  string
	Behind bool

	Batch int       // the hand-over that it came with, where this run has taken it over itself
	Since time.Time // and when its undo began
}

// taking is what may have been taken.
type taking struct {
	undo  string
	index int
	// what is asked for when the undo begins: by then the place is known. needed is false where there is nothing to do.
	what    func() (u Undo, needed bool)
	where   func() string // whose queue it runs on, as far as that is known; "" is the control plane's
	options func(*workflow.ActivityOptions)
	asRow   bool     // the undo is what the run does, and is shown as a row of its own
	line    *Line    // of asRow, once it has begun
	from    *Pending // what it was taken over as
}

// register makes sure that what the row may take is given back. A row that is done again at another place keeps the undo that
// it has, where what it takes does not belong to the place.
func register[S any](r *Run, row *Row[S], at *place, s S, n int) *saga.Entry[*taking] {
	if row.Undo == "" {
		return nil
	}
	tried := r.tried
	t := &taking{undo: row.Undo, index: n, options: row.undoOpts, where: func() string { return "" }}
	if row.Scope == Placed {
		t.where = func() string { return at.name }
	}
	t.what = func() (Undo, bool) {
		u := Undo{Activity: row.Undo, Place: t.where()}
		if row.undoing != nil {
			input, needed := row.undoing(s)
			u.Input = input
			return u, needed
		}
		taken := Taken{Index: n}
		if row.PerPlace {
			taken.Place = at.name
			if row.Scope != Placed && at.name == "" {
				for _, other := range tried {
					taken.Except = append(taken.Except, other.Place)
				}
			}
		}
		u.Input = r.frame.UndoInput(taken)
		return u, true
	}
	chain := ownChain
	switch {
	case row.PerPlace && row.Apart == "":
		chain = r.attemptChain()
	case row.Behind != "":
		chain = row.Behind
	case row.Apart != "":
		chain = row.Apart
	}
	return r.saga.Register(saga.Entry[*taking]{Name: undoName(row.Undo, n), Chain: chain, Behind: row.Behind != "", What: t})
}

func undoName(activity string, n int) string { return fmt.Sprintf("%s/%d", activity, n) }

// undo carries one out.
func (r *Run) undo(ctx workflow.Context, t *taking) error {
	u, needed := t.what()
	if !needed {
		return nil
	}
	queue := ""
	if u.Place != "" {
		queue = r.frame.Queue(u.Place)
	}
	o := UndoOptions(r.frame.About, queue, u.Place)
	if t.options != nil {
		t.options(&o)
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), u.Activity, u.Input).Get(ctx, nil)
}

// lineStates say how an undo's state shows on the row that it gives back, and on the undo that is a row itself.
var (
	lineStates = map[saga.State]State{
		saga.Undoing: Undoing, saga.Parked: Parked, saga.HandedOver: Parked, saga.Undone: Undone, saga.Skipped: Skipped,
	}
	asRowStates = map[saga.State]State{
		saga.Undoing: Running, saga.Parked: Parked, saga.HandedOver: Parked, saga.Undone: Done, saga.Skipped: Skipped,
	}
)

// observe shows how an undo goes.
func (r *Run) observe(ctx workflow.Context, e *saga.Entry[*taking]) {
	if e.What.asRow {
		r.observeAsRow(ctx, e)
	}
	for _, line := range r.lines {
		if line.undo == e {
			line.State = lineStates[e.State]
		}
	}
	if e.Why != "" {
		workflow.GetLogger(ctx).Warn("An undo is not done: what it would give back is in use.",
			append([]any{"undo", e.ID(), "why", e.Why}, r.frame.Log...)...)
	}
	if e.State == saga.Parked {
		r.Show(ctx, phaseParked)
		workflow.GetLogger(ctx).Warn("An undo does not succeed; it goes on trying while the others run.",
			append([]any{"undo", e.ID()}, r.frame.Log...)...)
	}
}

func (r *Run) observeAsRow(ctx workflow.Context, e *saga.Entry[*taking]) {
	t, now := e.What, workflow.Now(ctx)
	if t.line == nil {
		t.line = &Line{Row: t.undo, Place: t.where(), Index: t.index, Phase: r.phase, Started: now}
		r.lines = append(r.lines, t.line)
	}
	t.line.State = asRowStates[e.State]
	if e.State == saga.Undone || e.State == saga.Skipped {
		t.line.Finished = &now
	}
}

// Restart makes the run a run of something else: of what it did nothing is left to do. What was recorded of it stays.
func (r *Run) Restart(f Frame) {
	r.frame, r.lines = f, nil
	r.saga = r.undos()
}

// undos is the list of a run that has taken nothing yet.
func (r *Run) undos() saga.Saga[*taking] {
	s := saga.Saga[*taking]{Undo: r.undo, Observe: r.observe}
	if r.frame.InUse != nil {
		s.InUse = r.inUse
	}
	return s
}

func (r *Run) inUse(ctx workflow.Context, t *taking) (why string, err error) {
	u, needed := t.what()
	if !needed {
		return "", nil
	}
	return r.frame.InUse(ctx, u)
}

// Owe registers an undo that is a row of its own, done after everything else.
func (r *Run) Owe(activity string, input func() any) {
	r.saga.Register(saga.Entry[*taking]{Name: activity, Chain: ownChain, What: &taking{
		undo: activity, asRow: true, where: func() string { return "" },
		what: func() (Undo, bool) { return Undo{Activity: activity, Input: input()}, true },
	}})
}

// OweAll registers every undo of a table, wherever what its rows take may lie: at the places, and as many times as counts
// says by what rows are repeated for. Each is a row of its own.
func (r *Run) OweAll(rows []Spec, places []string, counts map[string]int) {
	for _, row := range rows {
		if row.Undo == "" {
			continue
		}
		times, at := 1, []string{""}
		if row.Counts != "" {
			times = counts[row.Counts]
		}
		if row.PerPlace {
			at = places
		}
		for _, name := range at {
			chain := ownChain
			switch {
			case name != "":
				chain = placeChain + name
			case row.Behind != "":
				chain = row.Behind
			}
			for n := range times {
				u := Undo{Activity: row.Undo, Input: r.frame.UndoInput(Taken{Index: n, Place: name})}
				if row.Scope == Placed {
					u.Place = name
				}
				r.saga.Register(saga.Entry[*taking]{Name: undoName(row.Undo, n), Chain: chain, Behind: row.Behind != "", What: &taking{
					undo: row.Undo, index: n, asRow: true,
					where: func() string { return u.Place }, what: func() (Undo, bool) { return u, true },
				}})
			}
		}
	}
}

// HeldAt are the undos of all that the rows of a table may hold at one place, for another run to take over.
func HeldAt(rows []Spec, place string, input func(Taken) any) []Pending {
	var all []Pending
	for _, row := range rows {
		if row.Undo == "" || !row.PerPlace || row.Counts != "" { // what there may be several of goes with the others
			continue
		}
		u := Undo{Activity: row.Undo, Input: input(Taken{Place: place})}
		if row.Scope == Placed {
			u.Place = place
		}
		all = append(all, Pending{Undo: u, Name: undoName(row.Undo, 0), Chain: placeChain + place})
	}
	return all
}

// leave gives back what rows may hold at the place that was chosen. There is no way back from here.
func (r *Run) leave(ctx workflow.Context, rows []Spec) {
	r.saga.Keep(func(e *saga.Entry[*taking]) bool { return !e.Behind })
	here := slices.DeleteFunc(slices.Clone(rows), func(row Spec) bool { return !row.PerPlace })
	r.OweAll(here, []string{r.place.name}, nil)
	chain := placeChain + r.place.name
	r.saga.Unwind(ctx, r.frame.Limits.UndoPatience, chain)
	r.handOver(ctx, func(c string) bool { return c == chain })
}

// TakeOver registers undos that another run handed over, in the same order. batch sets their chains apart from those of an
// earlier one.
func (r *Run) TakeOver(batch int, pending []Pending) {
	for _, p := range pending {
		chain := p.Chain
		if batch > 1 {
			chain = fmt.Sprintf("%d/%s", batch, chain)
		}
		p.Batch = batch
		r.saga.Register(saga.Entry[*taking]{Name: p.Name, Chain: chain, Behind: p.Behind, Since: p.Since, What: &taking{
			undo: p.Activity, index: p.Index, from: &p,
			where: func() string { return p.Place }, what: func() (Undo, bool) { return p.Undo, true },
		}})
	}
}

// Left is what was taken over and still waits, in order, for another run that goes on with this one's work: taken over again
// batch by batch, each undo has the id and the place that it has here.
func (r *Run) Left() []Pending {
	var left []Pending
	for _, e := range r.saga.Entries() {
		if e.Waiting() && e.What.from != nil {
			p := *e.What.from
			p.Since = e.Since
			left = append(left, p)
		}
	}
	return left
}

// GiveBack undoes all that is registered. patience is how long one undo may hold up the others.
func (r *Run) GiveBack(ctx workflow.Context, patience time.Duration) { r.saga.Unwind(ctx, patience) }

// GivenBack says whether nothing is left to undo.
func (r *Run) GivenBack() bool { return r.saga.Settled() }

// Wait returns when nothing is left to undo.
func (r *Run) Wait(ctx workflow.Context) { r.saga.Wait(ctx) }

// HandOver gives what waits for a place, and for what places hold, to another run, and lets this one go on.
func (r *Run) HandOver(ctx workflow.Context) {
	r.handOver(ctx, func(chain string) bool { return chain != ownChain && (r.frame.Hands == nil || r.frame.Hands(chain)) })
}

func (r *Run) handOver(ctx workflow.Context, chain func(string) bool) {
	if r.frame.HandOver == nil {
		return
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	var pending []Pending
	for _, e := range r.saga.HandOver(ctx, chain) {
		u, _ := e.What.what()
		pending = append(pending, Pending{Undo: u, Index: e.What.index, Name: e.Name, Chain: e.Chain, Behind: e.Behind})
	}
	if len(pending) > 0 {
		r.frame.HandOver(ctx, pending)
	}
}
