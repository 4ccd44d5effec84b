package workflows

import (
	"errors"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Step is a row of the build table.
type Step struct {
	Name      string         // the activity that does it
	Scope     Scope          // who runs it
	Undo      string         // the activity that gives back what it took
	WhyNoUndo string         // required where Undo is empty
	Phase     contract.Phase // the task_state shown while it runs
	Beside    string         // runs beside the rows that follow, until this one

	// Timeout is one try's deadline. Host steps heartbeat (workers/ sees to it), so a long one is found dead soon.
	Timeout time.Duration
	// Patience bounds a control step in all, with its further tries.
	Patience time.Duration

	// since is the version of the table that added the row, until the one that took it out; 0 is always. A build goes on with
	// the version that it began with (docs/checklists/change-a-workflow.md).
	since, until workflow.Version

	perHostChain bool // given back when the build leaves the host, not only when it ends
	behindHosts  bool // given back only when no host holds anything any more that may use it
	repeat       func(*build) int
	wanted       func(*build) bool
	execute      func(ctx workflow.Context, b *build, s *Step, i int) error
}

// Scope says which worker runs a step, and how.
type Scope string

// Scopes.
const (
	// Control steps are milliseconds of database work. They run inside the workflow task, as local activities: a round trip
	// through the engine would cost more than the step (docs/decisions/0001-one-workflow-per-server.md).
	Control Scope = "control"
	OnHost  Scope = "host"
)

// none is the answer of an activity that has none.
type none struct{}

// describe gives a step's input and what to do with its output (nil: nothing).
type describe[I, O any] func(b *build, i int) (I, func(O))

func row[I, O any](name string, scope Scope, timeout time.Duration, io describe[I, O]) Step {
	return Step{
		Name: name, Scope: scope, Timeout: timeout, Phase: contract.PhaseScheduling,
		execute: func(ctx workflow.Context, b *build, s *Step, i int) error {
			in, keep := io(b, i)
			var out O
			var running workflow.Future
			if s.Scope == Control {
				// Not cancellable: the engine would not wait for it, and an undo must not overtake its do. It is short.
				ctx, _ = workflow.NewDisconnectedContext(ctx)
				running = workflow.ExecuteLocalActivity(workflow.WithLocalActivityOptions(ctx, s.controlOptions(b, in)), name, in)
			} else {
				running = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, s.hostOptions(b)), name, in)
			}
			if err := running.Get(ctx, &out); err != nil {
				return err
			}
			if keep != nil {
				keep(out)
			}
			return nil
		},
	}
}

// admission steps are the submission's: the user waits for them.
func admission[I, O any](name string, io describe[I, O]) Step {
	s := row(name, Control, controlStep, io)
	s.Patience = admissionPatience
	return s
}

func control[I, O any](name string, io describe[I, O]) Step {
	s := row(name, Control, controlStep, io)
	s.Patience = controlPatience
	return s
}

func host[I, O any](name string, io describe[I, O], timeout time.Duration) Step {
	s := row(name, OnHost, timeout, io)
	s.Phase, s.perHostChain = contract.PhaseSpawning, true
	return s
}

func (s Step) undo(name string) Step              { s.Undo = name; return s }
func (s Step) noUndo(why string) Step             { s.WhyNoUndo = why; return s }
func (s Step) phase(p contract.Phase) Step        { s.Phase = p; return s }
func (s Step) perHost() Step                      { s.perHostChain = true; return s }
func (s Step) behind() Step                       { s.behindHosts = true; return s }
func (s Step) beside(until string) Step           { s.Beside = until; return s }
func (s Step) from(v workflow.Version) Step       { s.since = v; return s }
func (s Step) gone(v workflow.Version) Step       { s.until = v; return s }
func (s Step) when(wanted func(*build) bool) Step { s.wanted = wanted; return s }
func (s Step) each(n func(*build) int) Step       { s.repeat = n; return s }

// Deadlines of control steps: database work of milliseconds, tried again while Postgres is away.
const (
	controlStep       = 10 * time.Second // one try
	admissionPatience = 20 * time.Second // a submission's step in all: the user is waiting
	controlPatience   = 10 * time.Minute // a control step in all
)

// retryFor is the retry policy of every do. Which failures are worth another try, the application error itself says
// (fault.Kind.Retryable). The number of tries is bounded, not the time in all, so that a long download is not cut short by
// the patience with a host that does not answer.
func retryFor(patience time.Duration) *temporal.RetryPolicy {
	p := temporal.RetryPolicy{
		InitialInterval:    200 * time.Millisecond,
		BackoffCoefficient: 2,
		MaximumInterval:    5 * time.Second,
		MaximumAttempts:    1,
	}
	interval := p.InitialInterval
	for waited := time.Duration(0); waited < patience; waited += interval {
		p.MaximumAttempts++
		interval = min(2*interval, p.MaximumInterval)
	}
	return &p
}

// undoRetry never gives up: an operator sees the pending activity with its last failure and its number of tries.
var undoRetry = temporal.RetryPolicy{
	InitialInterval:    200 * time.Millisecond,
	BackoffCoefficient: 2,
	MaximumInterval:    time.Minute,
}

// summaryBytes keeps a summary, encrypted, below the 400 bytes that the engine allows; one more fails the workflow's task.
const summaryBytes = 150

func summary(text string) string {
	if len(text) <= summaryBytes {
		return text
	}
	return strings.ToValidUTF8(text[:summaryBytes], "") + "…"
}

// timeout is one try's deadline in this build.
func (s *Step) timeout(b *build) time.Duration {
	if d, ok := b.in.Deadlines.Steps[s.Name]; ok {
		return d
	}
	return s.Timeout
}

func (s *Step) controlOptions(b *build, in any) workflow.LocalActivityOptions {
	words := ""
	if describing, ok := in.(interface{ Summary() string }); ok {
		words = summary(describing.Summary())
	}
	return workflow.LocalActivityOptions{
		StartToCloseTimeout:    s.timeout(b),
		ScheduleToCloseTimeout: s.Patience,
		RetryPolicy:            retryFor(s.Patience),
		Summary:                words,
	}
}

func (s *Step) hostOptions(b *build) workflow.ActivityOptions {
	silent := b.in.Deadlines.HostLost / 3
	return workflow.ActivityOptions{
		TaskQueue:              contract.HostQueue(b.host.Hostname),
		HeartbeatTimeout:       silent,
		ScheduleToStartTimeout: b.in.Deadlines.HostLost - silent,
		StartToCloseTimeout:    s.timeout(b) + contract.HostTurn,
		RetryPolicy:            retryFor(b.in.Deadlines.HostUnavailable),
		WaitForCancellation:    true,
		Summary:                summary("on " + b.host.Hostname + ": " + b.in.Name),
	}
}

// undoOptions are every undo's: no deadline in all, no limit of tries. hostname is empty for the control plane's, which do not
// heartbeat: the engine learns of a dead worker by the deadline of the try.
func undoOptions(serverID, hostname string) workflow.ActivityOptions {
	o := workflow.ActivityOptions{StartToCloseTimeout: controlStep, RetryPolicy: &undoRetry, Summary: "for " + serverID}
	if hostname != "" {
		o.TaskQueue = contract.HostQueue(hostname)
		o.StartToCloseTimeout, o.HeartbeatTimeout = time.Minute, 10*time.Second
		o.Summary += " on " + hostname
	}
	return o
}

// lost says whether a step failed because its host was not heard of.
func lost(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.As(err, &timeout) &&
		(timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START || timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_HEARTBEAT)
}

// tryElsewhere says whether another host may do what this one could not. Internal is loud instead: it is a bug, and would
// be one on the next host too.
func tryElsewhere(s *Step, f *fault.Error) bool {
	return s.Scope == OnHost && (f.Kind == fault.HostUnfit || f.Kind == fault.Unavailable)
}
