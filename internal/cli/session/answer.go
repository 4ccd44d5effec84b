package session

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Doing says what a failed call was for; nil stays nil. A show.Error keeps its own words.
func Doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var failure *show.Error
	if errors.As(err, &failure) {
		return err
	}
	failure = Explain(err)
	if failure.Code == show.ExitInterrupted {
		failure.Reason = failure.What
	}
	failure.What = "cannot " + fmt.Sprintf(format, args...)
	return failure
}

// APIError is an answer of the API that is not a success.
type APIError struct {
	service   string
	Status    int
	message   string
	requestID string
}

func (e *APIError) Error() string {
	if e.requestID == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.message, e.Status)
	}
	return fmt.Sprintf("%s (HTTP %d, %s)", e.message, e.Status, e.requestID)
}

// IsStatus says whether err is the API's answer with this status.
func IsStatus(err error, status int) bool {
	var answer *APIError
	return errors.As(err, &answer) && answer.Status == status
}

// Explain finds the exit code and the hints of an error.
func Explain(err error) *show.Error {
	var failure *show.Error
	if errors.As(err, &failure) {
		return failure
	}
	result := &show.Error{Code: show.ExitFailed, What: "the command failed", Reason: err.Error(), Cause: err}
	var answer *APIError
	var network *url.Error
	var op *net.OpError
	switch {
	case errors.As(err, &answer):
		result.Reason = answer.Error()
		result.Code, result.Hints = answerMeans(answer)
	case errors.Is(err, context.Canceled):
		result.Code, result.What, result.Reason = show.ExitInterrupted, "interrupted", ""
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		result.Hints = []string{"the API did not answer in time: look at its logs, or try again"}
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS
		result.Hints = []string{"the API asks for a certificate, or refuses this one: OS_CERT and OS_KEY name the files (`slipway pki show` tells what was issued)"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op):
		result.Hints = []string{
			"is the API running? `slipway dev` starts one on this machine",
			"check OS_AUTH_URL (or the auth_url of your cloud in clouds.yaml)",
		}
	case errors.Is(err, http.ErrSchemeMismatch):
		result.Hints = []string{"what answers there speaks no TLS: is the address right? (OS_AUTH_URL, or the auth_url of your cloud in clouds.yaml)"}
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		result.Hints = []string{certificateMeans(err)}
	}
	return result
}

// certificateMeans says what to do about a certificate that is not believed.
func certificateMeans(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.HostnameError)):
		return "ask for the API by a name that its certificate is for, or have one issued that is for this name too"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "have the API's certificate renewed (`slipway pki renew`; a development stack renews its own when it starts), and look at this machine's clock"
	}
	return "give the CA's certificate with --os-cacert, OS_CACERT or cacert in clouds.yaml; the openrc of a development stack does (or, for a test only, --insecure)"
}

// Spoken is an error of a verb with its exit code and hints. One that no call's words went around keeps its own.
func Spoken(err error) error {
	if errors.As(err, new(*show.Error)) {
		return err
	}
	failure := Explain(err)
	if failure.Code == show.ExitFailed {
		failure.What, failure.Reason = err.Error(), ""
	}
	return failure
}

// answerMeans gives the exit code of an API's refusal and what to do about it.
func answerMeans(e *APIError) (code int, hints []string) {
	lower := strings.ToLower(e.message)
	switch {
	case e.Status == http.StatusBadRequest && strings.Contains(lower, "http request") && strings.Contains(lower, "https"):
		return show.ExitFailed, []string{"the API speaks https: source your openrc again, or have OS_AUTH_URL (auth_url in clouds.yaml) begin with https://"}
	case e.Status == http.StatusUnauthorized:
		return show.ExitRefused, []string{"source your openrc again, or check OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME (`slipway token issue` tries them)"}
	case e.Status == http.StatusNotFound:
		return show.ExitNotFound, nil
	case strings.Contains(lower, "quota"):
		return show.ExitRefused, []string{"slipway quota show"}
	case e.Status == http.StatusForbidden:
		return show.ExitRefused, []string{"this needs another role: `slipway token issue -o json` shows which roles you have"}
	case e.Status == http.StatusConflict:
		return show.ExitRefused, []string{"its state does not allow this now: look at it with `show`, then try again"}
	case e.Status == http.StatusNotAcceptable:
		return show.ExitRefused, []string{"the API is older than this command: use a slipway of the API's version"}
	case e.Status == http.StatusServiceUnavailable:
		return show.ExitFailed, []string{"something the API needs does not answer: try again in a moment"}
	case e.Status >= 500:
		if e.requestID != "" {
			return show.ExitFailed, []string{"look for " + e.requestID + " in the API's log"}
		}
		return show.ExitFailed, []string{"look into the API's log"}
	}
	return show.ExitRefused, nil
}
