// Package run drives workflows that are tables: rows that are done in order, each with an undo that is registered before it
// is done, on one place after another where places fail. It has no domain words: what a table builds, and what a place is,
// its owner says (Frame).
//
// A workflow of this kind is a state, a table over it and a frame. Submission, progress, deadlines, operators' acts, the end
// that somebody asks for, unwinding and the hand-over of what cannot be undone now are here, once.
package run

import (
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// Frame is what surrounds a table: whom it is about, its limits, and how it tells the engine of itself. A nil function is
// one that the workflow does without.
type Frame struct {
	About string // what it is about, shown beside its undos
	Title string // and in its user's words, shown beside what runs at a place
	Log   []any  // attributes of its lines in the log

	Limits Limits
	Phase  string // that it begins with
	Failed string // that it ends with where it fails
	Ended  string // and where it does not; "" leaves the one that Finished has shown

	Queue     func(place string) string                                        // that a place polls
	Words     func(row string, in any) string                                  // what a row is given, in a few words
	Shown     func(ctx workflow.Context, phase string)                         // tells the engine of a phase, for searches
	Overdue   func(ctx workflow.Context, phase string)                         // and of one that takes too long; "" of none
	Chosen    func(ctx workflow.Context, place string) (phase string)          // and of a place, with the phase that it told of
	Seen      func(ctx workflow.Context, place string) bool                    // whether the place was heard of lately
	Waits     func(ctx workflow.Context, line *Line, failed *fault.Error) bool // whether to choose a place again, after a pause
	Stands    func(ctx workflow.Context) bool                                  // whether another run has finished it: then nothing is given back
	InUse     func(ctx workflow.Context, u Undo) (why string, err error)       // why what an undo would give back stays, with the rest of its chain; "" where it does not
	Left      func(ctx workflow.Context, left Attempt)                         // a place failed; nothing is undone there yet
	Finished  func(ctx workflow.Context)                                       // all rows are done
	Explain   func(last *fault.Error) *fault.Error                             // makes the one failure; last is nil where Tries places failed
	GivesBack func() bool                                                      // whether a run that succeeded has something to give back
	UndoInput func(Taken) any                                                  // of an undo that needs no more than what the row took
	HandOver  func(ctx workflow.Context, pending []Pending)                    // gives undos that wait to another run
	Hands     func(chain string) bool                                          // which chains of those are given; nil is all that may be
	Stop      func() bool                                                      // whether somebody has asked for the end
	Stopped   func(ctx workflow.Context, r *Run) error                         // follows the run that was asked to end

	// RefusesLast answers a submission that fails only when everything was given back: then it can be asked for again at once.
	RefusesLast bool

	Since time.Time // when Phase began, of a run that goes on with another's; zero is now
}

// Limits bound a run's waits.
type Limits struct {
	Silence      time.Duration // a place that says nothing for so long is lost
	Unavailable  time.Duration // a row is tried again for so long at a place that does not answer
	UndoPatience time.Duration // one undo may hold up the others for so long before it is parked
	Turn         time.Duration // a row may wait for its turn at a place for so long
	Whole        time.Duration // the run in all; 0: no limit
	Tries        int           // how many places it may try
	Phases       []PhaseLimit
	Rows         map[string]time.Duration // other deadlines of a row's tries than the table's
}

// PhaseLimit is how long a phase may take before it is shown as overdue; 0 is as long as it likes.
type PhaseLimit struct {
	Phase string
	Limit time.Duration
}

// phaseParked is shown while an undo does not succeed, or waits for a place: an operator may have to look.
const phaseParked = "parked"

// State of a line.
type State string

// States of a line.
const (
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
	Skipped State = "skipped" // its undo was given up
	Undoing State = "undoing"
	Undone  State = "undone"
	Parked  State = "parked" // its undo keeps failing
)

// Line is how far one row is at one place, with the undo of what it may have taken.
type Line struct {
	Row      string
	Place    string
	Index    int
	State    State
	Phase    string
	Started  time.Time
	Finished *time.Time
	Error    string // for the user
	Detail   string

	undo *saga.Entry[*taking]
}

// Run is one run of a table. It belongs to one workflow and needs no lock.
type Run struct {
	frame Frame
	saga  saga.Saga[*taking]
	lines []*Line

	started time.Time
	phase   string    // what runs
	since   time.Time // when that began
	shown   string    // the phase that the engine was told of
	overdue bool

	place *place // of the running attempt
	tried []Attempt

	accepted bool // what was asked for is on its way
	ended    bool // the table has
	settled  bool // and a refusal may be answered
	stuckAt  string
	stands   bool // it failed, and is in use all the same
	failure  *fault.Error
}

// place is where an attempt's rows run. Its name is filled in when the row that chooses has answered; a place that is given
// up is still the one that its own undos go to.
type place struct{ name string }

// Attempt is a place that failed.
type Attempt struct {
	Place string
	Row   string
	Fault *fault.Error
}

// New makes a run, before anything is done.
func New(ctx workflow.Context, f Frame) *Run {
	r := &Run{frame: f, started: workflow.Now(ctx), place: &place{}}
	r.saga = r.undos()
	r.Enter(ctx, f.Phase)
	if !f.Since.IsZero() {
		r.since = f.Since
	}
	return r
}

// At says where the placed rows run, for a table that chooses no place.
func (r *Run) At(place string) { r.place.name = place }

// Began is when the run began.
func (r *Run) Began() time.Time { return r.started }

// Lines are the rows that were begun, in order.
func (r *Run) Lines() []*Line { return r.lines }

// Tried are the places that failed.
func (r *Run) Tried() []Attempt { return r.tried }

// StuckAt is what ran when the run was ended because it took too long; "" where it was not.
func (r *Run) StuckAt() string { return r.stuckAt }

// Failure is why it failed, once that is known.
func (r *Run) Failure() *fault.Error { return r.failure }

// Phase tells what runs, since when, and whether that takes longer than it should.
func (r *Run) Phase() (phase string, since time.Time, overdue bool) {
	return r.phase, r.since, r.overdue
}

// Settled says whether the table has ended, whatever is still to be given back.
func (r *Run) Settled() bool { return r.settled }

// Accept says that what was asked for is on its way.
func (r *Run) Accept() { r.accepted = true }

// Submitted waits until what was asked for is accepted (nil) or refused (a fault): the handler of a submission.
func (r *Run) Submitted(ctx workflow.Context) error {
	if err := workflow.Await(ctx, func() bool { return r.accepted || r.settled }); err != nil {
		return err
	}
	if r.accepted {
		return nil
	}
	return failure.Of(r.failure)
}

// Show enters a phase and tells the engine, so that it can be searched for.
func (r *Run) Show(ctx workflow.Context, phase string) {
	r.Enter(ctx, phase)
	if phase == r.shown {
		return
	}
	r.shown = phase
	if r.frame.Shown != nil {
		r.frame.Shown(ctx, phase)
	}
}

// Enter begins a phase and its deadline.
func (r *Run) Enter(ctx workflow.Context, phase string) {
	if phase == r.phase {
		return
	}
	r.phase, r.since = phase, workflow.Now(ctx)
	if r.overdue {
		r.overdue = false
		r.frame.Overdue(ctx, "")
	}
}

// Drive does the table and everything around it. What it answers is the workflow's own end.
func Drive[S any](ctx workflow.Context, r *Run, t Table[S], s S) error {
	running, end := workflow.WithCancel(ctx)
	defer end()
	if r.frame.Stop != nil {
		workflow.Go(ctx, func(ctx workflow.Context) {
			// It waits beside the message, not in its channel: a signal handed to a waiting receiver is in nobody's hands
			// until that coroutine runs, and the run could complete meanwhile.
			if workflow.Await(ctx, r.frame.Stop) == nil {
				end()
			}
		})
	}
	if r.frame.Overdue != nil {
		r.Watch(ctx, end)
	}
	r.failure = r.explain(t.do(running, r, s))
	r.ended = true
	if r.failure == nil && r.frame.Finished != nil {
		r.frame.Finished(ctx)
	}
	if r.frame.RefusesLast && r.failure != nil {
		r.Show(ctx, r.frame.Failed)
	}
	r.settled = !r.frame.RefusesLast
	if r.failure != nil && r.keeps(ctx) {
		r.failure = fault.Wrap(fault.Conflict, r.failure, "Another run has finished this already, and it is in use: nothing was given back.")
		workflow.GetLogger(ctx).Error("A run failed whose work another one has finished: nothing is given back.",
			append([]any{"error", r.failure}, r.frame.Log...)...)
	} else if r.failure != nil || r.frame.GivesBack != nil && r.frame.GivesBack() {
		r.saga.Unwind(ctx, r.frame.Limits.UndoPatience)
	}
	r.HandOver(ctx)
	// What waits for the control plane keeps the workflow open, unless somebody asks for the end: that asks for the same
	// undos, and more. A message that arrived with the last workflow task is handled before the workflow may complete.
	outlasting, _ := workflow.NewDisconnectedContext(ctx)
	stopped := func() bool { return r.frame.Stop != nil && r.frame.Stop() }
	_ = workflow.Await(outlasting, func() bool { return r.saga.Settled() || stopped() })
	r.settled = true
	_ = workflow.Await(outlasting, func() bool { return workflow.AllHandlersFinished(ctx) })
	if stopped() {
		return r.frame.Stopped(ctx, r)
	}
	if r.failure != nil {
		r.Show(ctx, r.frame.Failed)
		return failure.Of(r.failure)
	}
	if r.frame.Ended != "" {
		r.Show(ctx, r.frame.Ended)
	}
	return nil
}

// keeps asks, before anything is given back, whether another run has finished what this one gives up: the engine may have been
// put back to before that.
func (r *Run) keeps(ctx workflow.Context) bool {
	if !r.stands && r.frame.Stands != nil {
		ctx, _ = workflow.NewDisconnectedContext(ctx)
		r.stands = r.frame.Stands(ctx)
	}
	return r.stands
}

func (r *Run) explain(f *ended) *fault.Error {
	switch {
	case f == nil:
		return nil
	case r.frame.Explain == nil:
		return f.last
	}
	return r.frame.Explain(f.last)
}

// lateness is how far the phase is beyond its deadline; negative while there is time. ok is false for one without.
func (r *Run) lateness(now time.Time) (late time.Duration, ok bool) {
	for _, p := range r.frame.Limits.Phases {
		if p.Phase == r.phase {
			return now.Sub(r.since) - p.Limit, p.Limit > 0
		}
	}
	return 0, false
}

// Bounds of the watch's sleep while there is no deadline ahead: what is watched may change meanwhile. It grows from the first to
// the last.
const (
	firstPause   = 10 * time.Minute
	longestPause = time.Hour
)

// Watch shows a phase that takes too long as overdue, and ends a run that takes too long in all (end is nil where nothing
// ends it). It looks from time to time, not at each change of phase: an ordinary run costs one timer that never fires, and
// one that is overdue for days one an hour.
func (r *Run) Watch(ctx workflow.Context, end func()) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for rest := firstPause; ; {
			pause := rest
			if late, ok := r.lateness(workflow.Now(ctx)); ok && late < 0 {
				pause, rest = min(r.shortestPhase(), -late), firstPause // the next phase may have less time than this one
			} else {
				rest = min(2*rest, longestPause)
			}
			whole := r.frame.Limits.Whole - workflow.Now(ctx).Sub(r.started)
			if end != nil && whole > 0 {
				pause = min(pause, whole)
			}
			_ = workflow.Sleep(ctx, pause)
			now := workflow.Now(ctx)
			if late, ok := r.lateness(now); ok && late >= 0 && !r.overdue {
				r.overdue = true
				r.frame.Overdue(ctx, r.phase)
				workflow.GetLogger(ctx).Warn("A phase is overdue.", append([]any{"phase", r.phase, "since", r.since}, r.frame.Log...)...)
			}
			if limit := r.frame.Limits.Whole; end != nil && limit > 0 && !r.ended && r.stuckAt == "" && now.Sub(r.started) >= limit {
				r.stuckAt = r.runs()
				end()
			}
		}
	})
}

// shortestPhase is the shortest deadline of a phase.
func (r *Run) shortestPhase() time.Duration {
	shortest := firstPause
	for _, p := range r.frame.Limits.Phases {
		if p.Limit > 0 {
			shortest = min(shortest, p.Limit)
		}
	}
	return shortest
}

// runs names the rows that run.
func (r *Run) runs() string {
	var names []string
	for _, line := range r.lines {
		if line.State == Running {
			name := line.Row
			if line.Place != "" {
				name += " on " + line.Place
			}
			names = append(names, name)
		}
	}
	if names == nil {
		return "the undo of a failed attempt"
	}
	return strings.Join(names, ", ")
}
