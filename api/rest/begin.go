package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/policy"
)

// Options of Begin.
type Options struct {
	Logger *slog.Logger
	// PublicURL is what links and the catalog begin with, e.g. "https://cloud.example.org"; "" takes each request's own
	// scheme and host.
	PublicURL string
	// Tokens knows whose tokens are.
	Tokens Tokens
	// IdentityURL is where clients log in; "" is /v3 below PublicURL.
	IdentityURL string
	// Rules are what the operator's file says of named rules; nil is nothing.
	Rules *policy.Rules
	// Observe is called after each request; route is the template ("/compute/v2.1/servers/:id"), never the path itself.
	Observe func(route, method string, status int, took time.Duration)

	linger lingering
}

var validRequestID = regexp.MustCompile(`^req-[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}$`)

func newRequestID() string { return "req-" + uuid.NewString() }

// Begin is the outermost middleware: it gives the request its id, catches panics, sees to it that every error becomes an
// answer that arrives, and writes one log line for each request. Tokens, queries and bodies are never logged.
func Begin(o Options) echo.MiddlewareFunc {
	limits := o.linger.withDefaults()
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			start := time.Now()
			r := &request{id: newRequestID(), publicURL: o.PublicURL, identityURL: o.IdentityURL, tokens: o.Tokens, rules: o.Rules}
			attrs := []any{"request_id", r.id}
			if g := c.Request().Header.Get("X-OpenStack-Request-ID"); validRequestID.MatchString(g) {
				r.global = g
				attrs = append(attrs, "global_request_id", g)
			}
			r.log = o.Logger.With(attrs...)
			c.Set(keyRequest, r)
			c.Response().Header().Set("X-Openstack-Request-Id", r.id)

			observe := func() {
				if o.Observe != nil {
					o.Observe(route(c), c.Request().Method, c.Response().Status, time.Since(start))
				}
			}
			c.Response().Before(func() {
				if c.Response().Status == http.StatusSwitchingProtocols { // what follows is no request, and may take hours
					observe()
				}
			})
			linger := limits.watch(c)
			handle := recoverPanic(next)
			if !cleanText(c.Request().URL) {
				handle = func(echo.Context) error {
					return fault.New(fault.Invalid, "The request's path or query is not UTF-8 text.")
				}
			}
			if err := handle(c); err != nil {
				writeError(c, styleOf(c), err)
			}

			took := time.Since(start)
			status := c.Response().Status
			caller := CallerOf(c)
			level := slog.LevelInfo
			if status >= 500 {
				level = slog.LevelWarn
			}
			r.log.LogAttrs(context.WithoutCancel(c.Request().Context()), level, "request",
				slog.String("method", c.Request().Method),
				slog.String("path", c.Request().URL.Path),
				slog.Int("status", status),
				slog.Int64("bytes", c.Response().Size),
				slog.Duration("duration", took),
				slog.String("from", c.Request().RemoteAddr),
				slog.String("project", caller.ProjectID),
				slog.String("user", caller.UserID))
			if status != http.StatusSwitchingProtocols {
				observe()
			}
			linger()
			return nil
		}
	}
}

// cleanText says whether the path and query can be kept and compared by Postgres: UTF-8 without null characters.
func cleanText(u *url.URL) bool {
	clean := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
	if !clean(u.Path) {
		return false
	}
	query, err := url.QueryUnescape(strings.ReplaceAll(u.RawQuery, ";", "%3B"))
	return err == nil && clean(query)
}

// route is the template that matched, or one word for everything that matched none, so that metrics stay few.
func route(c echo.Context) string {
	if p := c.Path(); p != "" {
		return p
	}
	return "unmatched"
}

// panicked is a panic turned into an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// recoverPanic turns a panic below it into an error.
func recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(v) // net/http's own way to cut an answer off
			}
			err = &panicked{value: v, stack: debug.Stack()}
		}()
		return next(c)
	}
}
