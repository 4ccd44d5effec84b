package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Style is the form of a service's error bodies.
type Style int

// The services' styles. Plain is Slipway's own.
const (
	Plain Style = iota
	Nova
	Glance
	Keystone
	Neutron
	EC2
	STS // EC2's, with the body of Amazon's other services
)

// StatusError is an answer that no kind of fault stands for (405, 415, 416, 429 …). Text is for the user.
type StatusError struct {
	Code   int
	Text   string
	Header http.Header // added to the answer
	Cause  error
}

// Status makes a StatusError.
func Status(code int, format string, args ...any) *StatusError {
	return &StatusError{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (e *StatusError) Error() string {
	if e.Cause == nil {
		return e.Text
	}
	return e.Text + ": " + e.Cause.Error()
}

func (e *StatusError) Unwrap() error { return e.Cause }

// neutronError is an error with the class name that Neutron shows as its type.
type neutronError struct {
	kind string
	error
}

func (e *neutronError) Unwrap() error { return e.error }

// NeutronType is the class's name.
func (e *neutronError) NeutronType() string { return e.kind }

// NeutronType gives err the class name that Neutron's body shows as "type" ("NetworkNotFound", "IpAddressInUse" …).
func NeutronType(kind string, err error) error { return &neutronError{kind, err} }

// unexpected is an error with a status that its route did not declare.
type unexpected struct{ error }

func (e *unexpected) Unwrap() error { return e.error }

// everywhere are the statuses that any route may answer without saying so: they come from what all routes share
// (authentication, body and rate limits, a database that does not answer), not from a handler's own rules.
var everywhere = []int{
	http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// Expect declares the error statuses that a route may answer (Nova's wsgi.expected_errors). Any other error of its
// handler becomes a 500, with the whole cause in the log.
func Expect(statuses ...int) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			if err == nil {
				return nil
			}
			code, _ := statusAndText(styleOf(c), err)
			if slices.Contains(statuses, code) || slices.Contains(everywhere, code) {
				return err
			}
			return &unexpected{err}
		}
	}
}

// Fail is the middleware of a group: whatever error or panic comes up from below is answered in the style.
func Fail(style Style) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		next = recoverPanic(next)
		return func(c echo.Context) error {
			c.Set(keyStyle, style)
			if style == Nova {
				c.Response().Header().Set("X-Compute-Request-Id", RequestID(c))
			}
			if err := next(c); err != nil {
				writeError(c, style, err)
			}
			return nil
		}
	}
}

// SetStyle names the style of a request before its group is known (for paths that match no route).
func SetStyle(c echo.Context, style Style) { c.Set(keyStyle, style) }

func styleOf(c echo.Context) Style {
	s, _ := c.Get(keyStyle).(Style)
	return s
}

// statusAndText finds an error's status and the text that the user may see.
func statusAndText(style Style, err error) (int, string) {
	if style == EC2 {
		return ec2Status(err), ec2Text(err)
	}
	var (
		status *StatusError
		framed *echo.HTTPError
		f      *fault.Error
		tooBig *http.MaxBytesError
	)
	switch {
	case errors.As(err, new(*unexpected)), errors.As(err, new(*panicked)):
		return http.StatusInternalServerError, ""
	case errors.As(err, &status):
		return status.Code, status.Text
	case errors.As(err, &tooBig):
		return http.StatusRequestEntityTooLarge, "Request is too large."
	case errors.As(err, &f):
		if f.Kind == fault.OverQuota && style == Neutron {
			return http.StatusConflict, f.Text // Neutron: OverQuota is a Conflict
		}
		if f.Kind == fault.Internal {
			return http.StatusInternalServerError, ""
		}
		return f.Kind.Status(), f.Text
	case errors.As(err, &framed):
		switch framed.Code {
		case http.StatusNotFound:
			return framed.Code, "The resource could not be found."
		case http.StatusMethodNotAllowed:
			return framed.Code, "The method specified is not allowed for this resource."
		}
		return framed.Code, http.StatusText(framed.Code)
	default:
		if fault.KindOf(err) == fault.Unavailable {
			return http.StatusServiceUnavailable, "The service does not answer in time. Try again."
		}
		return http.StatusInternalServerError, ""
	}
}

// retryAfter is what a 503 or 429 advises where nothing more exact is known, in seconds.
const retryAfter = 5

// writeError writes an error's body; where the answer has begun already it can only be logged.
func writeError(c echo.Context, style Style, err error) {
	r := requestOf(c)
	code, text := statusAndText(style, err)
	gone := errors.Is(c.Request().Context().Err(), context.Canceled)
	if code >= 500 && code != http.StatusNotImplemented && !gone && !throttled(err) {
		r.failure = err
		attrs := []any{"method", c.Request().Method, "route", route(c), "status", code, "error", err.Error()}
		var p *panicked
		if errors.As(err, &p) {
			attrs = append(attrs, "stack", string(p.stack))
		}
		r.log.Error("request failed", attrs...)
	}
	if c.Response().Committed {
		return
	}
	if text == "" {
		text = "Unexpected API Error. Please report it to the operator of this cloud with the request id " + r.id + "."
	}
	h := c.Response().Header()
	var status *StatusError
	if errors.As(err, &status) {
		for k, v := range status.Header {
			h[k] = v
		}
	}
	if (code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests) && h.Get("Retry-After") == "" {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if code == http.StatusUnauthorized && style != Plain && style != EC2 {
		style = Keystone // every service answers 401 in Keystone's words, through keystonemiddleware
	}
	contentType, body := style.body(c, code, text, err)
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(body))) // whole as soon as it is sent, though the request may still come
	if werr := c.Blob(code, contentType, body); werr != nil {
		r.log.Debug("the client did not take the answer", "error", werr.Error())
	}
}

var novaNames = map[int]string{
	400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
	409: "conflictingRequest", 413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented",
	503: "serviceUnavailable",
}

const jsonType = "application/json"

func (s Style) body(c echo.Context, code int, text string, err error) (contentType string, body []byte) {
	title := http.StatusText(code)
	switch s {
	case Nova:
		name := novaNames[code]
		if name == "" {
			name = "computeFault"
		}
		inner := map[string]any{"code": code, "message": text}
		if code == http.StatusRequestEntityTooLarge || code == http.StatusTooManyRequests {
			inner["retryAfter"] = c.Response().Header().Get("Retry-After")
		}
		return jsonType, encode(map[string]any{name: inner})
	case Keystone:
		return jsonType, encode(map[string]any{"error": map[string]any{"code": code, "message": text, "title": title}})
	case EC2:
		return ec2Body(c, ec2CodeOf(err), text)
	case Neutron:
		var typed interface{ NeutronType() string }
		kind := "HTTP" + strings.ReplaceAll(title, " ", "")
		if errors.As(err, &typed) {
			kind = typed.NeutronType()
		}
		return jsonType, encode(map[string]any{"NeutronError": map[string]any{"type": kind, "message": text, "detail": ""}})
	case Glance:
		line := fmt.Sprintf("%d %s", code, title)
		// webob offers HTML first: JSON only for a client that asks for it.
		if accept := c.Request().Header.Get("Accept"); strings.Contains(accept, jsonType) {
			return jsonType, encode(map[string]any{"message": html.EscapeString(text) + "<br /><br />\n\n\n", "code": line, "title": title})
		}
		return "text/html; charset=UTF-8", fmt.Appendf(nil,
			"<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s<br /><br />\n\n\n\n </body>\n</html>",
			line, line, html.EscapeString(text))
	default:
		return jsonType, encode(map[string]any{"error": map[string]any{"code": code, "message": text, "request_id": RequestID(c)}})
	}
}

// encode is JSON without HTML escapes, as Python writes it.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // maps of strings and numbers
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
