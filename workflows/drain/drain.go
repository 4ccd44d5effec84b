// Package drain empties hosts: their servers move to others.
package drain

import (
	"cmp"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
)

var steps = run.Table[*drain]{
	run.OnControl(contract.BeginDrain, run.AdmissionPatience, begin).Accepts().When(first).
		GivenBackBy(contract.AbandonDrain).GivenBackWith(abandon),
}

// DrainHost empties a host that gets no servers any more, by cold migrations of those that are on it, a few at a time. It answers its
// submission when the host is disabled, and ends when nothing is left there, or nothing that can be moved. A server that no other host
// takes runs on. Each move is the workflow of an action, under its server's lock: whatever becomes of this workflow, it ends as it would
// have. When the history has grown long it goes on in another run, once no move is under way.
func DrainHost(ctx workflow.Context, in contract.DrainInput) error {
	d := &drain{in: in, pause: firstPause, acts: workflow.GetSignalChannel(ctx, contract.SignalDrain), cancelled: func() bool { return ctx.Err() != nil }}
	d.state = contract.DrainState{
		HostID: in.HostID, Hostname: in.Hostname, Zone: in.Zone, AtOnce: in.AtOnce, UserID: in.UserID, RequestID: in.RequestID,
		Phase: contract.DrainRuns, StartedAt: workflow.Now(ctx), Since: workflow.Now(ctx),
	}
	if in.Before != nil {
		d.state = *in.Before
		d.stops = d.state.Phase == contract.DrainStopping
	}
	d.run = run.New(ctx, d.frame())
	if err := d.serve(ctx); err != nil {
		return err
	}
	if !first(d) {
		d.run.Accept()
	}
	if err := run.Drive(ctx, d.run, steps, d); err != nil || !d.goesOn {
		return err
	}
	d.listen(ctx) // for the last time: what has come meanwhile is not the next run's to hear
	d.in.Before = &d.state
	return workflow.NewContinueAsNewError(ctx, contract.WorkflowDrain, d.in)
}

// drain is the state of one.
type drain struct {
	in        contract.DrainInput
	run       *run.Run
	state     contract.DrainState
	acts      workflow.ReceiveChannel
	cancelled func() bool

	stops   bool
	goesOn  bool                   // in another run
	over    string                 // why nothing more is begun; "" is no reason
	ends    int                    // how many moves have ended, in this run
	refused []contract.DrainServer // on which something else was begun since they were looked at
	waited  int                    // how many were waited for at the last look
	pause   time.Duration          // before the next
}

func first(d *drain) bool { return d.in.Before == nil }

func begin(d *drain, _ int) (contract.DrainInput, func(run.None)) { return d.in, nil }

func abandon(d *drain) (any, bool) { return d.in, true }

func (d *drain) frame() run.Frame {
	return run.Frame{
		About: d.in.HostID, Log: d.log(),
		Limits: run.Limits{UndoPatience: d.in.Deadlines.UndoPatience},
		Phase:  d.state.Phase, Failed: attributes.PhaseFailed,
		Shown: func(ctx workflow.Context, phase string) {
			_ = workflow.UpsertTypedSearchAttributes(ctx, attributes.Phase.ValueSet(phase))
		},
		Words:    contract.Summary,
		Finished: d.empty,

		RefusesLast: true,
	}
}

func (d *drain) log(more ...any) []any {
	return append([]any{"host", d.in.Hostname, "host_id", d.in.HostID, "request_id", d.in.RequestID}, more...)
}

// serve answers the submission, and tells how far the drain is.
func (d *drain) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryDrain, func() (contract.DrainState, error) { return d.state, nil }); err != nil {
		return err
	}
	// As a validator it leaves nothing of a refusal in the history.
	ours := func(_ workflow.Context, requestID string) error {
		if requestID != d.in.RequestID {
			return failure.Of(fault.New(fault.Conflict, "Host %s is being drained already, as request %s has asked. Stop that first.", d.in.Hostname, d.in.RequestID))
		}
		return nil
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateDrain, func(ctx workflow.Context, _ string) error {
		return d.run.Submitted(ctx)
	}, workflow.UpdateHandlerOptions{Validator: ours})
}

// How long a drain waits for what others do, while nothing comes of it: for what is done to servers on the host, and for clean-ups there.
const (
	busyPatience      = time.Hour
	leftoversPatience = 5 * time.Minute
	// firstPause and longestPause are between two looks.
	firstPause   = 5 * time.Second
	longestPause = 30 * time.Second
)

// empty moves servers until nothing is left to move, or somebody stops it. Who cancels it stops it: what is under way ends first.
func (d *drain) empty(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	d.state.Begun = true
	d.run.Show(ctx, d.state.Phase)
	for {
		d.listen(ctx)
		ends, long := d.ends, workflow.GetInfo(ctx).GetContinueAsNewSuggested()
		looks := func() bool { return !long && d.begins() && len(d.state.Moving) < d.in.AtOnce }
		if looks() {
			d.look(ctx)
		}
		switch {
		case len(d.state.Moving) > 0:
		case d.stops:
			d.end(ctx, contract.DrainStopped)
			return
		case d.over != "":
			d.end(ctx, contract.DrainIncomplete)
			return
		case d.ends == ends && looks() && d.nothingToWaitFor(): // what has ended since is looked for again
			d.end(ctx, d.ending())
			return
		case long:
			d.goesOn = true
			return
		}
		d.wait(ctx, ends, looks())
	}
}

// begins says whether more is to be moved.
func (d *drain) begins() bool { return !d.stops && d.over == "" && d.state.Phase == contract.DrainRuns }

// wait waits for an operator's word, or the end of a move beyond those that had ended; where it looks again, not for longer than a pause.
func (d *drain) wait(ctx workflow.Context, ends int, looks bool) {
	news := func() bool { return d.acts.Len() > 0 || d.cancelled() && !d.stops || d.ends != ends }
	if !looks {
		_ = workflow.Await(ctx, news)
		return
	}
	came, _ := workflow.AwaitWithTimeout(ctx, d.pause, news)
	if !came {
		d.pause, d.refused = min(d.pause*3/2, longestPause), nil
	}
}

// listen takes the words of operators that have come.
func (d *drain) listen(ctx workflow.Context) {
	if d.cancelled() && !d.stops {
		d.stops = true
		d.show(ctx, contract.DrainStopping)
	}
	for act := (contract.DrainAct{}); d.acts.ReceiveAsync(&act); {
		workflow.GetLogger(ctx).Info("An operator's word to a drain.", d.log("act", act.Act, "user_id", act.UserID, "asked_by", act.RequestID)...)
		switch {
		case d.stops:
		case act.Act == contract.DrainPause:
			d.show(ctx, contract.DrainPaused)
		case act.Act == contract.DrainResume:
			d.state.Failed = nil
			d.progressed(ctx)
			d.show(ctx, contract.DrainRuns)
		case act.Act == contract.DrainStop:
			d.stops = true
			d.show(ctx, contract.DrainStopping)
		}
	}
}

func (d *drain) show(ctx workflow.Context, phase string) {
	d.state.Phase = phase
	d.run.Show(ctx, phase)
}

// progressed begins the patience with others anew.
func (d *drain) progressed(ctx workflow.Context) {
	d.state.Since, d.pause = workflow.Now(ctx), firstPause
}

// end says how it ended. What is left stays in what the drain tells of itself.
func (d *drain) end(ctx workflow.Context, phase string) {
	now := workflow.Now(ctx)
	d.state.EndedAt = &now
	if d.over != "" {
		d.state.WaitsFor = d.over
	}
	d.show(ctx, phase)
	workflow.GetLogger(ctx).Info("A drain has ended.", d.log("phase", phase, "moved", d.state.Moved, "failed", len(d.state.Failed),
		"stay", len(d.state.Stays), "busy", len(d.state.Busy), "why", d.state.WaitsFor)...)
}

// nothingToWaitFor says whether the last look found nothing that may become movable, or go.
func (d *drain) nothingToWaitFor() bool {
	return d.state.WaitsFor == "" && len(d.state.Busy) == 0 && d.state.Leftovers == 0
}

func (d *drain) ending() string {
	if len(d.state.Failed)+len(d.state.Stays) > 0 {
		return contract.DrainIncomplete
	}
	return contract.DrainDone
}

// look finds what is on the host, and begins to move as many as there is a place for.
func (d *drain) look(ctx workflow.Context) {
	in := contract.LookToDrainInput{HostID: d.in.HostID, Limit: d.in.AtOnce - len(d.state.Moving)}
	for _, s := range slices.Concat(d.state.Moving, d.state.Failed, d.refused) {
		in.Except = append(in.Except, s.ServerID)
	}
	var found contract.DrainLook
	looking := workflow.WithActivityOptions(ctx, run.UndoOptions(d.in.HostID, "", "")) // while the database is away it waits
	if err := workflow.ExecuteActivity(looking, contract.LookToDrain, in).Get(ctx, &found); err != nil {
		d.over = failure.Fault(err).Text
		return
	}
	d.state.Failed = slices.DeleteFunc(d.state.Failed, func(s contract.DrainServer) bool { return slices.Contains(found.Gone, s.ServerID) })
	d.state.Busy = append(found.Busy, d.refused...)
	d.state.Waiting, d.state.Stays, d.state.More, d.state.Leftovers, d.state.WaitsFor = found.Waiting, found.Stays, found.More, found.Leftovers, found.Silent
	waited := len(found.Busy) + found.More[contract.DrainBusy] + found.Leftovers
	if waited < d.waited {
		d.progressed(ctx) // others are getting on
	}
	d.waited = waited
	idle := workflow.Now(ctx).Sub(d.state.Since)
	switch {
	case found.Enabled:
		d.over = "The host was enabled, and gets servers again."
	case len(d.state.Moving) > 0:
	case idle >= busyPatience:
		d.over = cmp.Or(found.Silent, "What is left was waited for in vain for "+busyPatience.String()+".")
	case idle >= leftoversPatience && found.Leftovers > 0 && len(found.Move)+len(d.state.Busy) == 0 && found.Silent == "":
		d.over = "What clean-ups have to remove from the host is still there."
	}
	d.listen(ctx) // what was said meanwhile
	if !d.begins() || found.Silent != "" {
		d.state.Waiting += len(found.Move)
		return
	}
	for _, s := range found.Move {
		d.move(ctx, s)
	}
}
