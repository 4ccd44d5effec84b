// Package failure turns faults into what Temporal records of a failure, an application error, and back. It is the one place
// where the two vocabularies meet; histories hold its output.
package failure

import (
	"context"
	"errors"
	"slices"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Of turns a fault into a Temporal application error: the type is the kind, the message the public text, the cause stays the
// cause, and a kind that is not worth retrying is marked so. Activities return nothing else.
func Of(err error) error { return of(err, false) }

// Retryable is Of for undos and for what was promised: whatever the kind, the error is worth another try.
func Retryable(err error) error { return of(err, true) }

func of(err error, again bool) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return temporal.NewCanceledError()
	}
	kind := fault.KindOf(err)
	var f *fault.Error
	if !errors.As(err, &f) {
		// The engine's own errors stay what they are. Within a fault they are only its cause: what an activity answered comes
		// back with every cause turned into one of them.
		if errors.As(err, new(*temporal.ApplicationError)) || errors.As(err, new(*temporal.CanceledError)) {
			return err
		}
		// Unknown: the operator needs the whole text, the user a general sentence (Fault restores both).
		f = &fault.Error{Kind: kind, Text: fault.Public(err), Cause: err}
	}
	o := temporal.ApplicationErrorOptions{NonRetryable: !again && !f.Kind.Retryable(), Cause: f.Cause}
	if f.Blameless {
		o.Details = []any{details{Blameless: true}}
	}
	return temporal.NewApplicationErrorWithOptions(f.Text, string(f.Kind), o)
}

// details is what a fault has beyond its kind, text and cause. Histories hold it: fields are added, never changed.
type details struct {
	Blameless bool `json:"blameless,omitempty"`
}

// Fault finds the fault in what a workflow gets back from an activity, a child or an update. A timeout is
// Unavailable; anything that is not ours is Internal with the error as its cause.
func Fault(err error) *fault.Error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		if kind := fault.Kind(app.Type()); slices.Contains(fault.Kinds(), kind) {
			var more details
			if app.HasDetails() {
				_ = app.Details(&more) // of another version's making, it says nothing
			}
			return &fault.Error{Kind: kind, Text: app.Message(), Cause: app.Unwrap(), Blameless: more.Blameless}
		}
		return &fault.Error{Kind: fault.Internal, Text: fault.Public(nil), Cause: err}
	}
	if errors.As(err, new(*temporal.CanceledError)) {
		return &fault.Error{Kind: fault.Unavailable, Text: "The request was cancelled before it was done.", Cause: err}
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return &fault.Error{Kind: fault.Unavailable, Text: overdue(timeout.TimeoutType()), Cause: err}
	}
	return &fault.Error{Kind: fault.Internal, Text: fault.Public(nil), Cause: err}
}

// overdue says to the user what a timeout means.
func overdue(kind enumspb.TimeoutType) string {
	switch kind {
	case enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START:
		return "No worker took the step up in time: it is down or cannot be reached."
	case enumspb.TIMEOUT_TYPE_HEARTBEAT:
		return "The worker that did the step was not heard of any more."
	default:
		return "The step did not finish in time."
	}
}
