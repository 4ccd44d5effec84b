// Package workflows holds the durable workflows: the build (boot.go runs the table in steps.go), the teardown and the
// small ones beside them. Workflow code is deterministic: no clock, randomness, I/O, map iteration or goroutine of Go's
// own; the replay tests hold it.
package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// BootServer builds one server. It answers the submit update as soon as the submission is accepted or refused, builds,
// and gives everything back if it cannot finish. A delete that arrives at any moment cancels the build, undoes it and
// removes the server. What a lost host still holds goes to a clean-up of its own, which waits for the host.
func (w Workflows) BootServer(ctx workflow.Context, in contract.BootInput) error {
	b := w.newBuild(ctx, in)
	if err := b.serve(ctx); err != nil {
		return err
	}
	running, cancel := workflow.WithCancel(ctx)
	deletes := workflow.GetSignalChannel(ctx, contract.SignalDelete)
	workflow.Go(ctx, func(ctx workflow.Context) {
		// It waits beside the channel, not in it: a signal handed to a waiting receiver is in nobody's hands until that
		// coroutine runs, and the build could complete meanwhile.
		if workflow.Await(ctx, func() bool { return b.asked(deletes) }) == nil {
			cancel()
		}
	})
	b.watch(ctx, cancel)

	err := b.run(running)
	b.failure, b.settled = err, true
	if err != nil {
		b.saga.Unwind(ctx, b.in.Deadlines.UndoPatience)
	}
	b.handOver(ctx)
	// What waits for the control plane keeps the workflow open. A delete takes over: its teardown asks for the same undos,
	// and more. A message that arrived with the last workflow task is handled before the workflow may complete.
	outlasting, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(outlasting, func() bool { return b.saga.Settled() || b.deletion != nil })
	_ = workflow.Await(outlasting, func() bool { return workflow.AllHandlersFinished(ctx) })
	if b.asked(deletes) {
		return b.teardown(ctx)
	}
	if err != nil {
		b.showPhase(ctx, phaseFailed)
		return fault.ToTemporal(err)
	}
	return nil
}

// build is one run of the table.
type build struct {
	in       contract.BootInput
	table    table // the rows of this build
	ever     table // and those that may have built the server that is torn down
	saga     saga.Saga[taking]
	progress []contract.StepProgress
	undoIDs  []string // of each line of progress: the saga's entry that undoes it, "" where none does
	acts     []contract.OperatorAct
	started  time.Time

	phase   string    // what runs, as the phase search attribute says it
	since   time.Time // when that began
	shown   string    // the phase that the search attribute names
	overdue bool

	// What the steps found out.
	image contract.ResolvedImage
	host  *contract.HostSelection // of the running attempt; empty until SelectHost has answered
	ports []contract.Port

	attempts []attempt // hosts that failed this build
	accepted bool      // the server's row exists
	settled  bool      // run has ended
	stuckAt  string    // what ran when the build was ended by its deadline; "" where it was not
	failure  *fault.Error
	deletion *contract.DeleteInput
}

// attempt is one host's failure.
type attempt struct {
	host, step string
	fault      *fault.Error
}

func (w Workflows) newBuild(ctx workflow.Context, in contract.BootInput) *build {
	version := w.table.versionOf(ctx)
	b := &build{
		in: in, table: w.table.at(version), ever: w.table.until(version), started: workflow.Now(ctx),
		host: &contract.HostSelection{}, ports: make([]contract.Port, len(in.Networks)),
	}
	b.saga = saga.Saga[taking]{Undo: b.undo, Observe: b.observeUndo}
	b.enter(ctx, string(contract.PhaseScheduling))
	return b
}

// asked says whether somebody has asked for the server's end. The first request counts.
func (b *build) asked(deletes workflow.ReceiveChannel) bool {
	var d contract.DeleteInput
	if b.deletion == nil && deletes.ReceiveAsync(&d) {
		b.deletion = &d
	}
	return b.deletion != nil
}

// serve answers the submission, the progress query and operators.
func (b *build) serve(ctx workflow.Context) error {
	if err := b.serveOperators(ctx); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(ctx workflow.Context) error {
		if err := workflow.Await(ctx, func() bool { return b.accepted || b.settled }); err != nil {
			return err
		}
		if b.accepted {
			return nil
		}
		return fault.ToTemporal(b.failure)
	})
}

// run does the table's rows: the admission, then the placement on one host after another, then the end.
func (b *build) run(ctx workflow.Context) *fault.Error {
	place, finish := b.table.index(contract.SelectHost), b.table.index(contract.Activate)
	if b.in.Reserved {
		// The reservation took what the admission takes. The rows find it there; whatever they answer, it is given back.
		b.accepted = true
		for i := range b.table[:place] {
			b.registerUndo(&b.table[i], 0)
		}
	}
	if f := b.rows(ctx, b.table[:place]); f != nil {
		return b.explain(f.fault)
	}
	for {
		f := b.rows(ctx, b.table[place:finish])
		if f == nil {
			break
		}
		if f.step == contract.SelectHost && b.waitForRoom(ctx, f.fault) {
			continue
		}
		if ctx.Err() != nil || !f.elsewhere {
			return b.explain(f.fault)
		}
		chain, patience := b.attemptChain(), b.in.Deadlines.UndoPatience
		if f.lost {
			patience = 0 // nobody is there who could undo it now
		}
		b.attempts = append(b.attempts, attempt{host: b.host.Hostname, step: f.step, fault: f.fault})
		b.saga.Unwind(ctx, patience, chain)
		b.host = &contract.HostSelection{}
		if len(b.attempts) >= max(1, b.in.MaxHosts) {
			return b.explain(nil)
		}
	}
	if f := b.rows(ctx, b.table[finish:]); f != nil {
		return b.explain(f.fault)
	}
	b.showPhase(ctx, phaseActive)
	return nil
}

// How often a build that waits for room looks again.
const (
	firstLook = 2 * time.Second
	laterLook = 30 * time.Second
)

// waitForRoom pauses a build that found no host, where the configuration lets it wait, and says whether to look again.
func (b *build) waitForRoom(ctx workflow.Context, f *fault.Error) bool {
	waited := workflow.Now(ctx).Sub(b.started)
	if f.Kind != fault.NoValidHost || waited >= b.in.Deadlines.Capacity {
		return false
	}
	// The pause grows with what was waited. One line of the progress tells of all the looks.
	pause := min(max(firstLook, waited/2), laterLook, b.in.Deadlines.Capacity-waited)
	line := &b.progress[len(b.progress)-1]
	line.State, line.Detail, line.Finished = contract.StepRunning, "Waiting for a host with room.", nil
	if workflow.Sleep(ctx, pause) != nil {
		now := workflow.Now(ctx)
		line.State, line.Detail, line.Finished = contract.StepFailed, "", &now
		line.Error = f.Text + " The wait for a host with room was cancelled."
		return false
	}
	b.progress, b.undoIDs = b.progress[:len(b.progress)-1], b.undoIDs[:len(b.undoIDs)-1]
	return true
}

// failed is a row that did not succeed.
type failed struct {
	step      string
	fault     *fault.Error
	elsewhere bool // another host may do better
	lost      bool // its host was not heard of
}

// rows does rows in order, those that run beside others in coroutines of their own. It returns when all of them have
// ended, with the first failure.
func (b *build) rows(ctx workflow.Context, rows []Step) *failed {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var first *failed
	running := map[string][]workflow.Future{} // read by key only
	keep := func(f *failed) {
		if f != nil && first == nil {
			first = f
			cancel()
		}
	}
	for i := range rows {
		s := &rows[i]
		for _, beside := range running[s.Name] {
			_ = beside.Get(ctx, nil)
		}
		if first != nil {
			break
		}
		if s.wanted != nil && !s.wanted(b) {
			continue
		}
		times := 1
		if s.repeat != nil {
			times = s.repeat(b)
		}
		for n := 0; n < times && first == nil; n++ {
			if s.Beside == "" {
				keep(b.step(ctx, s, n))
				continue
			}
			ended, settle := workflow.NewFuture(ctx)
			running[s.Beside] = append(running[s.Beside], ended)
			workflow.Go(ctx, func(ctx workflow.Context) {
				keep(b.step(ctx, s, n))
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

// step registers a row's undo and does it.
func (b *build) step(ctx workflow.Context, s *Step, n int) *failed {
	if err := ctx.Err(); err != nil {
		return &failed{step: s.Name, fault: fault.FromTemporal(err)}
	}
	b.registerUndo(s, n)
	p := b.begin(ctx, s, n)
	err := s.execute(ctx, b, s, n)
	if lost(err) && b.seen(ctx) {
		// The host reports: it was the engine that was away, and its clocks went on. Once more, then.
		err = s.execute(ctx, b, s, n)
	}
	now := workflow.Now(ctx)
	line := &b.progress[p]
	line.Finished = &now
	if err == nil {
		line.State = contract.StepDone
		if s.Name == contract.SelectHost {
			line.Host = b.host.Hostname
			b.shown = string(contract.PhaseSpawning)
			_ = workflow.UpsertTypedSearchAttributes(ctx, attrHost.ValueSet(b.host.Hostname), attrPhase.ValueSet(b.shown))
		}
		return nil
	}
	f := fault.FromTemporal(err)
	line.State, line.Error = contract.StepFailed, f.Text
	workflow.GetLogger(ctx).Error("A step of a build failed.",
		"server_id", b.in.ServerID, "request_id", b.in.RequestID, "step", s.Name, "host", line.Host, "kind", f.Kind, "error", err)
	return &failed{step: s.Name, fault: f, elsewhere: tryElsewhere(s, f), lost: lost(err)}
}

// seen says whether the host of this attempt has reported to the API of late.
func (b *build) seen(ctx workflow.Context) bool {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: controlStep, ScheduleToCloseTimeout: admissionPatience, RetryPolicy: retryFor(admissionPatience),
		Summary: b.host.Hostname,
	})
	var seen bool
	in := contract.HostSeenInput{Hostname: b.host.Hostname, Within: b.in.Deadlines.HostLost / 2}
	return workflow.ExecuteLocalActivity(ctx, contract.HostSeen, in).Get(ctx, &seen) == nil && seen
}

func (b *build) begin(ctx workflow.Context, s *Step, n int) int {
	b.enter(ctx, string(s.Phase))
	now := workflow.Now(ctx)
	line := contract.StepProgress{Step: s.Name, Index: n, State: contract.StepRunning, Phase: s.Phase, Started: &now}
	if s.Scope == OnHost {
		line.Host = b.host.Hostname
	}
	undo := ""
	if s.Undo != "" {
		undo = (&saga.Entry[taking]{Chain: b.chainOf(s), Name: undoName(s.Undo, n)}).ID()
	}
	b.progress, b.undoIDs = append(b.progress, line), append(b.undoIDs, undo)
	return len(b.progress) - 1
}

func (b *build) hostsTried() []string {
	var hosts []string
	for _, a := range b.attempts {
		hosts = append(hosts, a.host)
	}
	return hosts
}

// explain makes the build's one failure: the first error, whole, with what happened on each host that was tried. last is
// nil when the allowed number of hosts has failed.
func (b *build) explain(last *fault.Error) *fault.Error {
	if b.stuckAt != "" {
		last = fault.Wrap(fault.Unavailable, last, "The build did not end within %s; it was at %s.", b.in.Deadlines.Build, b.stuckAt)
	}
	if len(b.attempts) == 0 {
		return last
	}
	var tried []string
	for _, a := range b.attempts {
		tried = append(tried, fmt.Sprintf("%s: %s: %s", a.host, a.step, a.fault.Text))
	}
	text := fmt.Sprintf("No valid host was found. Tried %s", strings.Join(tried, "; "))
	if last != nil {
		text += "; then: " + last.Text
	}
	return fault.Wrap(fault.NoValidHost, b.attempts[0].fault, "%s", text)
}
