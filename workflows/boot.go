// Package workflows holds the durable workflows: the build (boot.go runs the table in steps.go), the teardown and the
// small ones beside them. Workflow code is deterministic: no clock, randomness, I/O, map iteration or goroutine of Go's
// own; the replay tests hold it.
package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

var (
	attrHost  = temporal.NewSearchAttributeKeyKeyword(contract.AttrHost)
	attrPhase = temporal.NewSearchAttributeKeyKeyword(contract.AttrPhase)
)

// What the phase search attribute says when no step runs.
const (
	phaseActive  = "active"
	phaseFailed  = "failed"
	phaseParked  = "parked" // an undo keeps failing: an operator has to look
	phaseDeleted = "deleted"
)

// BootServer builds one server. It answers the submit update as soon as the submission is accepted or refused, builds,
// and gives everything back if it cannot finish. A delete that arrives at any moment cancels the build, undoes it and
// removes the server.
func BootServer(ctx workflow.Context, in contract.BootInput) error {
	b := newBuild(ctx, in)
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

	err := b.run(running)
	b.failure, b.settled = err, true
	if err != nil {
		b.saga.Unwind(ctx)
	}
	// What is parked keeps the workflow open, after a build that moved to another host too. A delete takes over: its
	// teardown asks for the same undos, and more.
	outlasting, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(outlasting, func() bool { return b.saga.Settled() || b.deletion != nil })
	// A signal that arrived with the last workflow task is handled before the workflow may complete.
	answering, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(answering, func() bool { return workflow.AllHandlersFinished(ctx) })
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
	saga     saga.Saga
	progress []contract.StepProgress
	chains   []string // of each line of progress: where its undo is registered
	started  time.Time

	// What the steps found out.
	image contract.ResolvedImage
	host  *contract.HostSelection // of the running attempt; empty until SelectHost has answered
	ports []contract.Port

	attempts []attempt // hosts that failed this build
	accepted bool      // the server's row exists
	settled  bool      // run has ended
	failure  *fault.Error
	deletion *contract.DeleteInput
}

// attempt is one host's failure.
type attempt struct {
	host, step string
	fault      *fault.Error
}

func newBuild(ctx workflow.Context, in contract.BootInput) *build {
	b := &build{in: in, started: workflow.Now(ctx), host: &contract.HostSelection{}, ports: make([]contract.Port, len(in.Networks))}
	b.saga = saga.Saga{Patience: in.Deadlines.UndoPatience, Observe: b.observeUndo}
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

// serve answers the submission and the progress query.
func (b *build) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() ([]contract.StepProgress, error) {
		return b.progress, nil
	}); err != nil {
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
	place, finish := indexOf(contract.SelectHost), indexOf(contract.Activate)
	if f := b.rows(ctx, steps[:place]); f != nil {
		return f.fault
	}
	for {
		chain := b.attemptChain()
		f := b.rows(ctx, steps[place:finish])
		if f == nil {
			break
		}
		if ctx.Err() != nil || !f.elsewhere {
			return b.explain(f.fault)
		}
		b.attempts = append(b.attempts, attempt{host: b.host.Hostname, step: f.step, fault: f.fault})
		b.saga.Unwind(ctx, chain)
		b.host = &contract.HostSelection{}
		if len(b.attempts) >= max(1, b.in.MaxHosts) {
			return b.explain(nil)
		}
	}
	if f := b.rows(ctx, steps[finish:]); f != nil {
		return b.explain(f.fault)
	}
	b.showPhase(ctx, phaseActive)
	return nil
}

// failed is a row that did not succeed.
type failed struct {
	step      string
	fault     *fault.Error
	elsewhere bool // another host may do better
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
	now := workflow.Now(ctx)
	line := &b.progress[p]
	line.Finished = &now
	if err == nil {
		line.State = contract.StepDone
		if s.Name == contract.SelectHost {
			line.Host = b.host.Hostname
			_ = workflow.UpsertTypedSearchAttributes(ctx, attrHost.ValueSet(b.host.Hostname), attrPhase.ValueSet(string(contract.PhaseSpawning)))
		}
		return nil
	}
	f := fault.FromTemporal(err)
	line.State, line.Error = contract.StepFailed, f.Text
	workflow.GetLogger(ctx).Error("A step of a build failed.",
		"server_id", b.in.ServerID, "request_id", b.in.RequestID, "step", s.Name, "host", line.Host, "kind", f.Kind, "error", err)
	return &failed{step: s.Name, fault: f, elsewhere: tryElsewhere(s, f)}
}

func (b *build) begin(ctx workflow.Context, s *Step, n int) int {
	now := workflow.Now(ctx)
	line := contract.StepProgress{Step: s.Name, Index: n, State: contract.StepRunning, Phase: s.Phase, Started: &now}
	if s.Scope == OnHost {
		line.Host = b.host.Hostname
	}
	b.progress = append(b.progress, line)
	b.chains = append(b.chains, b.chainOf(s))
	return len(b.progress) - 1
}

// Chains of undos: what a host holds is given back when the build leaves the host, the rest when the build ends, the
// network behind the hosts.
const (
	ownChain     = "server"
	networkChain = "network"
)

func (b *build) attemptChain() string { return fmt.Sprintf("attempt/%d", len(b.attempts)+1) }

// chainOf is the chain of a step's undo, in the running attempt.
func (b *build) chainOf(s *Step) string {
	switch {
	case s.perHostChain:
		return b.attemptChain()
	case s.behindHosts:
		return networkChain
	}
	return ownChain
}

// register adds a step's undo to the saga.
func (b *build) register(s *Step, name, chain string, undo func(workflow.Context) error) {
	if s.behindHosts {
		b.saga.RegisterBehind(name, chain, undo)
		return
	}
	b.saga.Register(name, chain, undo)
}

// registerUndo makes sure that what the step may take is given back. A step that is done again for another host keeps the
// undo that it has, where what it takes is the server's and not the host's.
func (b *build) registerUndo(s *Step, n int) {
	if s.Undo == "" {
		return
	}
	chain := b.chainOf(s)
	name := undoName(s.Undo, n)
	for _, e := range b.saga.Entries() {
		if e.Name == name && e.Chain == chain && e.State == saga.Registered {
			return
		}
	}
	// The selection is filled in when SelectHost answers, and belongs to this attempt: a host that is given up is still
	// the one that its own undos go to.
	selection, tried := b.host, b.hostsTried()
	b.register(s, name, chain, func(ctx workflow.Context) error {
		if s.Undo == contract.FailServer {
			return b.failServer(ctx)
		}
		in := contract.Undo{ServerID: b.in.ServerID, Index: n}
		queueOf := ""
		if s.perHostChain {
			in.Hostname = selection.Hostname
			if s.Scope == OnHost {
				queueOf = selection.Hostname
			} else if in.Hostname == "" {
				in.Except = tried // the answer was lost: whatever is held, but for what other attempts' undos hold
			}
		}
		return undo(ctx, s.Undo, in, queueOf)
	})
}

func undoName(activity string, n int) string { return fmt.Sprintf("%s/%d", activity, n) }

func undo(ctx workflow.Context, activity string, in contract.Undo, hostname string) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(in.ServerID, hostname)), activity, in).Get(ctx, nil)
}

func (b *build) hostsTried() []string {
	var hosts []string
	for _, a := range b.attempts {
		hosts = append(hosts, a.host)
	}
	return hosts
}

// observeUndo shows in the progress how the undo of a step goes.
func (b *build) observeUndo(ctx workflow.Context, e *saga.Entry) {
	activity, _, _ := strings.Cut(e.Name, "/")
	for i := range b.progress {
		line := &b.progress[i]
		s := &steps[indexOf(line.Step)]
		if s.Undo != activity || undoName(activity, line.Index) != e.Name || b.chains[i] != e.Chain {
			continue
		}
		switch e.State {
		case saga.Undoing:
			line.State = contract.StepUndoing
		case saga.Parked:
			line.State = contract.StepParked
		case saga.Undone:
			line.State = contract.StepUndone
		}
	}
	if e.State == saga.Parked {
		b.showPhase(ctx, phaseParked)
		workflow.GetLogger(ctx).Warn("An undo does not succeed; it goes on trying while the others run.",
			"server_id", b.in.ServerID, "request_id", b.in.RequestID, "undo", e.Name, "chain", e.Chain)
	}
}

// failServer is the undo of RecordServer: the row becomes ERROR and says why. A server that is being deleted needs no
// fault: its row goes.
func (b *build) failServer(ctx workflow.Context) error {
	if b.deletion != nil {
		return nil
	}
	in := contract.FailServerInput{
		ServerID:  b.in.ServerID,
		RequestID: b.in.RequestID,
		Code:      b.failure.Kind.Status(),
		Message:   b.failure.Text,
		Details:   b.failure.Error(),
		Steps:     b.progress,
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(b.in.ServerID, "")), contract.FailServer, in).Get(ctx, nil)
}

// explain makes the build's one failure: the first error, whole, with what happened on each host that was tried. last is
// nil when the allowed number of hosts has failed.
func (b *build) explain(last *fault.Error) *fault.Error {
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

func (b *build) showPhase(ctx workflow.Context, phase string) {
	_ = workflow.UpsertTypedSearchAttributes(ctx, attrPhase.ValueSet(phase))
}

// indexOf finds a row of the table by name.
func indexOf(step string) int {
	for i := range steps {
		if steps[i].Name == step {
			return i
		}
	}
	panic("no step " + step + " in the build table")
}
