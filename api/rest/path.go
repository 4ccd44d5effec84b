package rest

import (
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// CanonicalPath comes before the router: it writes each part of the path in one encoding, so that a character and its
// escape are the same to every route (RFC 3986, 6.2.2.2), and a slash within a part stays one of the part's. Parameters,
// comes after the router, decodes what the routes took out of it.
func CanonicalPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if u.Path == "" {
			u.Path = "/"
		}
		parts := strings.Split(u.EscapedPath(), "/")
		for i, part := range parts {
			if text, err := url.PathUnescape(part); err == nil { // what is no escape gets no further than net/http: 400
				parts[i] = url.PathEscape(text)
			}
		}
		u.RawPath = strings.Join(parts, "/")
		return next(c)
	}
}

// OnePart says whether each parameter of the route, as the router took it out of the path, is one part of it, and not empty. The router gives
// the last parameter of a route all that follows.
func OnePart(c echo.Context) bool {
	names, values := c.ParamNames(), c.ParamValues()
	for i, value := range values {
		if i < len(names) && names[i] != "*" && (value == "" || strings.Contains(value, "/")) {
			return false
		}
	}
	return true
}

// Parameters decodes the parameters of the route, once, for every handler. A route whose parameter has several parts, or none, is none.
func Parameters(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !OnePart(c) {
			c.SetPath("")
		}
		values := c.ParamValues()
		for i, value := range values {
			if text, err := url.PathUnescape(value); err == nil {
				values[i] = text
			}
		}
		c.SetParamValues(values...)
		return next(c)
	}
}
