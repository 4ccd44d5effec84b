// Package rest is what every protocol of the API shares: who calls, request ids and the request log, error bodies, request
// bodies, pages, links and streams. It knows HTTP and OpenStack's conventions, and no domain words.
package rest

import (
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/policy"
)

// Keys under which the middleware leaves things in an Echo context.
const (
	keyRequest = "rest.request"
	keyCaller  = "rest.caller"
	keyStyle   = "rest.style"
)

// request is what Begin notes about each request.
type request struct {
	id          string
	global      string
	publicURL   string
	identityURL string
	tokens      Tokens
	rules       *policy.Rules
	log         *slog.Logger
	failure     error // what was answered as a 5xx, for the log
}

func requestOf(c echo.Context) *request {
	if r, ok := c.Get(keyRequest).(*request); ok {
		return r
	}
	// Outside of Begin (a handler called alone) there is still an id to put into texts.
	r := &request{id: newRequestID(), log: slog.Default()}
	c.Set(keyRequest, r)
	return r
}

// RequestID is this request's own id, req-<uuid>.
func RequestID(c echo.Context) string { return requestOf(c).id }

// GlobalRequestID is the id that the client gave in X-OpenStack-Request-ID, "" if it gave none that is valid. As in
// Nova (oslo.middleware request_id) it never replaces the request's own id.
func GlobalRequestID(c echo.Context) string { return requestOf(c).global }

// Logger logs with this request's id.
func Logger(c echo.Context) *slog.Logger { return requestOf(c).log }

// Time is a time as Nova, Glance and Neutron write it in most places.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// TimePtr is Time, or nil for null.
func TimePtr(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := Time(*t)
	return &s
}

// Optional is a text, or nil for null where it is empty.
func Optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// TimeMicro is a time as Keystone writes it.
func TimeMicro(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// TimeNaive is a time as Nova writes it in OS-SRV-USG and os-instance-actions: UTC, microseconds, no zone.
func TimeNaive(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000") }

// TimeNaivePtr is TimeNaive, or nil for null.
func TimeNaivePtr(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := TimeNaive(*t)
	return &s
}
