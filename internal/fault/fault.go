// Package fault is the one vocabulary of failure: a closed set of kinds, a text that is safe and useful to show to the
// user, and the internal cause. Two mappers turn it into other forms and no others exist: Temporal application errors
// (internal/fault/failure, both ways) and the fault bodies of OpenStack and of EC2 (api/rest).
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Kind says what sort of failure happened and so decides, everywhere, what follows: the HTTP status, whether a step is
// tried again here, on another host, or refused.
type Kind string

// The closed set of kinds. Add one only together with its row in kinds.
const (
	Invalid      Kind = "Invalid"      // the request is wrong; 400
	Unauthorized Kind = "Unauthorized" // no or bad credentials; 401
	Forbidden    Kind = "Forbidden"    // known who, not allowed; 403
	NotFound     Kind = "NotFound"     // absent, or not the asker's to see; 404
	Conflict     Kind = "Conflict"     // the object's state does not allow it now; 409
	OverQuota    Kind = "OverQuota"    // the project's quota is used up; 403 in Nova
	TooLarge     Kind = "TooLarge"     // the body is larger than allowed; 413
	NoValidHost  Kind = "NoValidHost"  // no hypervisor can take the server
	HostUnfit    Kind = "HostUnfit"    // this hypervisor cannot do it, another may
	Unavailable  Kind = "Unavailable"  // something needed does not answer now; 503
	Internal     Kind = "Internal"     // a bug or an unknown error: loud, never "try elsewhere"
)

type traits struct {
	status    int
	retryable bool
}

// kinds is exhaustive; a test holds that every Kind above has its row.
var kinds = map[Kind]traits{
	Invalid:      {http.StatusBadRequest, false},
	Unauthorized: {http.StatusUnauthorized, false},
	Forbidden:    {http.StatusForbidden, false},
	NotFound:     {http.StatusNotFound, false},
	Conflict:     {http.StatusConflict, false},
	OverQuota:    {http.StatusForbidden, false},
	TooLarge:     {http.StatusRequestEntityTooLarge, false},
	NoValidHost:  {http.StatusInternalServerError, false},
	HostUnfit:    {http.StatusInternalServerError, false},
	Unavailable:  {http.StatusServiceUnavailable, true},
	Internal:     {http.StatusInternalServerError, false},
}

// Kinds lists the closed set.
func Kinds() []Kind {
	return []Kind{Invalid, Unauthorized, Forbidden, NotFound, Conflict, OverQuota, TooLarge, NoValidHost, HostUnfit, Unavailable, Internal}
}

// Retryable says whether the same attempt at the same place may succeed later.
func (k Kind) Retryable() bool { return kinds[k].retryable }

// Status is the HTTP status of the kind; an unknown kind is a 500.
func (k Kind) Status() int {
	if t, ok := kinds[k]; ok {
		return t.status
	}
	return http.StatusInternalServerError
}

// Error is a failure of a known kind. Text is shown to users; Cause is for logs and operators.
type Error struct {
	Kind  Kind
	Text  string
	Cause error

	// Blameless says of a step's fault on a host that it does not count against the host: the image store is away, or the
	// image asks for what this host has not. A user's choices must not take hosts out of service.
	Blameless bool
}

// NotTheHosts makes the fault Blameless.
func (e *Error) NotTheHosts() *Error {
	e.Blameless = true
	return e
}

// Error is the operator's view: the text and, where there is one, the cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Text
	}
	return e.Text + ": " + e.Cause.Error()
}

// Unwrap gives the internal cause.
func (e *Error) Unwrap() error { return e.Cause }

// New makes a fault whose text is shown to the user: say what is wrong and what to do.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault with an internal cause that users do not see.
func Wrap(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), Cause: cause}
}

// KindOf finds the kind of an error: the outermost fault's; a cancelled or overdue context is Unavailable; anything
// unknown is Internal.
func KindOf(err error) Kind {
	var f *Error
	switch {
	case errors.As(err, &f):
		return f.Kind
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable
	default:
		return Internal
	}
}

// Is says whether err is a fault of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Absent gives a NotFound the kind and the words of whoever asked for more than the thing itself; any other error stays as it is.
func Absent(err error, kind Kind, format string, args ...any) error {
	if Is(err, NotFound) {
		return Wrap(kind, err, format, args...)
	}
	return err
}

// Public is the text a user may see: the outermost fault's own, or a general sentence for anything unknown.
func Public(err error) string {
	var f *Error
	if errors.As(err, &f) {
		return f.Text
	}
	return "An unexpected error prevented the server from fulfilling your request."
}
