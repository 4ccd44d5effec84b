package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
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

// render is the failure as printed on standard error. One that says nothing is an exit code alone: its verb has spoken.
func (e *Error) render() string {
	if e.What == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Error: %s\n", printable(e.What))
	for line := range strings.Lines(e.Reason) {
		fmt.Fprintf(&b, "  %s\n", printable(strings.TrimRight(line, "\r\n")))
	}
	for _, hint := range e.Hints {
		fmt.Fprintf(&b, "  → %s\n", hint)
	}
	return b.String()
}

func usage(format string, args ...any) *Error {
	return &Error{Code: ExitUsage, What: fmt.Sprintf(format, args...)}
}

func usageOf(cmd *cobra.Command, err error) error {
	var failure *Error
	if errors.As(err, &failure) {
		return err
	}
	return &Error{Code: ExitUsage, What: err.Error(), Hints: []string{cmd.CommandPath() + " --help"}, Cause: err}
}

// doing says what a failed call was for; nil stays nil. An Error keeps its own words.
func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var failure *Error
	if errors.As(err, &failure) {
		return err
	}
	failure = explain(err)
	if failure.Code == ExitInterrupted {
		failure.Reason = failure.What
	}
	failure.What = "cannot " + fmt.Sprintf(format, args...)
	return failure
}

// apiError is an answer of the API that is not a success.
type apiError struct {
	service   string
	status    int
	message   string
	requestID string
}

func (e *apiError) Error() string {
	if e.requestID == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.message, e.status)
	}
	return fmt.Sprintf("%s (HTTP %d, %s)", e.message, e.status, e.requestID)
}

// isStatus says whether err is the API's answer with this status.
func isStatus(err error, status int) bool {
	var answer *apiError
	return errors.As(err, &answer) && answer.status == status
}

// explain finds the exit code and the hints of an error.
func explain(err error) *Error {
	var failure *Error
	if errors.As(err, &failure) {
		return failure
	}
	result := &Error{Code: ExitFailed, What: "the command failed", Reason: err.Error(), Cause: err}
	var answer *apiError
	var network *url.Error
	var op *net.OpError
	switch {
	case errors.As(err, &answer):
		result.Reason = answer.Error()
		result.Code, result.Hints = answerMeans(answer)
	case errors.Is(err, context.Canceled):
		result.Code, result.What, result.Reason = ExitInterrupted, "interrupted", ""
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		result.Hints = []string{"the API did not answer in time: look at its logs, or try again"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op):
		result.Hints = []string{
			"is the API running? `slipway dev` starts one on this machine",
			"check OS_AUTH_URL (or the auth_url of your cloud in clouds.yaml)",
		}
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		result.Hints = []string{"give the CA's certificate with --os-cacert or OS_CACERT (or, for a test only, --insecure)"}
	}
	return result
}

// spoken is an error of a verb with its exit code and hints. One that no call's words went around keeps its own.
func spoken(err error) error {
	if errors.As(err, new(*Error)) {
		return err
	}
	failure := explain(err)
	if failure.Code == ExitFailed {
		failure.What, failure.Reason = err.Error(), ""
	}
	return failure
}

// stoppedWatching is the end of a wait before the end of the work: by Ctrl-C, or because ctx's time was up. last is the error
// of the last poll, if there was one.
func stoppedWatching(ctx context.Context, goesOn string, last error, hints ...string) *Error {
	result := &Error{Code: ExitInterrupted, What: "stopped watching; " + goesOn, Hints: hints}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		result.Code, result.What = ExitFailed, "gave up waiting; "+goesOn
	}
	if last != nil {
		result.Reason = "the last answer was: " + last.Error()
	}
	return result
}

// answerMeans gives the exit code of an API's refusal and what to do about it.
func answerMeans(e *apiError) (code int, hints []string) {
	lower := strings.ToLower(e.message)
	switch {
	case e.status == http.StatusUnauthorized:
		return ExitRefused, []string{"source your openrc again, or check OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME (`slipway token issue` tries them)"}
	case e.status == http.StatusNotFound:
		return ExitNotFound, nil
	case strings.Contains(lower, "quota"):
		return ExitRefused, []string{"slipway quota show"}
	case e.status == http.StatusForbidden:
		return ExitRefused, []string{"this needs another role: `slipway token issue -o json` shows which roles you have"}
	case e.status == http.StatusConflict:
		return ExitRefused, []string{"its state does not allow this now: look at it with `show`, then try again"}
	case e.status == http.StatusNotAcceptable:
		return ExitRefused, []string{"the API is older than this command: use a slipway of the API's version"}
	case e.status == http.StatusServiceUnavailable:
		return ExitFailed, []string{"something the API needs does not answer: try again in a moment"}
	case e.status >= 500:
		if e.requestID != "" {
			return ExitFailed, []string{"look for " + e.requestID + " in the API's log"}
		}
		return ExitFailed, []string{"look into the API's log"}
	}
	return ExitRefused, nil
}

// notFound is the failure to find what the user named.
func (k *kind) notFound(ref string) *Error {
	return &Error{Code: ExitNotFound, What: fmt.Sprintf("there is no %s with the name or id %q", k.noun, ref),
		Hints: []string{k.listHint}}
}
