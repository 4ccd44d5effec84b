package show

import (
	"fmt"
	"strings"
)

// Exit codes of the user's verbs. Scripts lean on them: they do not change.
const (
	ExitOK          = 0
	ExitFailed      = 1   // the work failed, or the API could not be reached
	ExitUsage       = 2   // the command line is wrong, or a name is ambiguous
	ExitNotFound    = 3   // what was named does not exist
	ExitRefused     = 4   // the API refused: credentials, permission, quota, state
	ExitInterrupted = 130 // Ctrl-C while waiting; the work itself goes on
)

// Error is a failure as the user sees it: what failed, the reason in the API's own words, and what to do next.
type Error struct {
	Code   int
	What   string   // "cannot delete server \"web\""
	Reason string   // may have several lines
	Hints  []string // commands or sentences, most useful first
	Cause  error
}

// Error is the failure in one line.
func (e *Error) Error() string {
	if e.Reason == "" {
		return e.What
	}
	return e.What + ": " + e.Reason
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Render is the failure as printed on standard error. One that says nothing is an exit code alone: its verb has spoken.
func (e *Error) Render() string {
	if e.What == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Error: %s\n", Printable(e.What))
	for line := range strings.Lines(e.Reason) {
		fmt.Fprintf(&b, "  %s\n", Printable(strings.TrimRight(line, "\r\n")))
	}
	for _, hint := range e.Hints {
		fmt.Fprintf(&b, "  → %s\n", hint)
	}
	return b.String()
}

// UsageError is a wrong command line.
func UsageError(format string, args ...any) *Error {
	return &Error{Code: ExitUsage, What: fmt.Sprintf(format, args...)}
}
