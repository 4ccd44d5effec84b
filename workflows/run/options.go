package run

import (
	"errors"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Deadlines of control rows: database work of milliseconds, tried again while Postgres is away.
const (
	ControlTry        = 10 * time.Second // one try
	AdmissionPatience = 20 * time.Second // a submission's row in all: the user is waiting
	ControlPatience   = 10 * time.Minute // any other control row in all
)

// RetryFor is the retry policy of every do. Which failures are worth another try, the application error itself says
// (fault.Kind.Retryable). The number of tries is bounded, not the time in all, so that a long download is not cut short by
// the patience with a place that does not answer.
func RetryFor(patience time.Duration) *temporal.RetryPolicy {
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

// Tireless never gives up: an operator sees the pending activity with its last failure and its number of tries.
func Tireless() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Minute}
}

// UndoOptions are every undo's: no deadline in all, no limit of tries. What runs on the control plane does not heartbeat: the
// engine learns of a dead worker by the deadline of the try. queue is a place's, or "".
func UndoOptions(about, queue, place string) workflow.ActivityOptions {
	o := workflow.ActivityOptions{StartToCloseTimeout: ControlTry, RetryPolicy: Tireless(), Summary: "for " + about}
	if queue != "" {
		o.TaskQueue = queue
		o.StartToCloseTimeout, o.HeartbeatTimeout = time.Minute, 10*time.Second
		o.Summary += " on " + place
	}
	return o
}

// timeout is one try's deadline in this run.
func (r *Run) timeout(row *Spec) time.Duration {
	if d, ok := r.frame.Limits.Rows[row.Name]; ok {
		return d
	}
	return row.Timeout
}

func (r *Run) controlOptions(row *Spec, in any) workflow.LocalActivityOptions {
	return workflow.LocalActivityOptions{
		StartToCloseTimeout:    r.timeout(row),
		ScheduleToCloseTimeout: row.Patience,
		RetryPolicy:            RetryFor(row.Patience),
		Summary:                r.words(row.Name, in),
	}
}

func (r *Run) placedOptions(row *Spec, at string) workflow.ActivityOptions {
	if row.Tireless {
		return UndoOptions(r.frame.About, r.frame.Queue(at), at)
	}
	silent := r.frame.Limits.Silence / 3
	return workflow.ActivityOptions{
		TaskQueue:              r.frame.Queue(at),
		HeartbeatTimeout:       silent,
		ScheduleToStartTimeout: r.frame.Limits.Silence - silent,
		StartToCloseTimeout:    r.timeout(row) + r.frame.Limits.Turn,
		RetryPolicy:            RetryFor(r.frame.Limits.Unavailable),
		WaitForCancellation:    true,
		Summary:                Summary("on " + at + ": " + r.frame.Title),
	}
}

// lost says whether a row failed because its place was not heard of.
func lost(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.As(err, &timeout) &&
		(timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START || timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_HEARTBEAT)
}

// summaryBytes keeps a summary, encrypted, below the 400 bytes that the engine allows; one more fails the workflow's task.
const summaryBytes = 150

// Summary is a text cut to what the engine takes beside an activity or a workflow.
func Summary(text string) string {
	if len(text) <= summaryBytes {
		return text
	}
	return strings.ToValidUTF8(text[:summaryBytes], "") + "…"
}

// words are what a row is given, in a few words.
func (r *Run) words(row string, in any) string {
	if r.frame.Words == nil {
		return ""
	}
	return Summary(r.frame.Words(row, in))
}
