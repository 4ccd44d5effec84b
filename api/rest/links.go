package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Region is where this API's own services are.
const Region = "RegionOne"

// Link is one entry of OpenStack's "links".
type Link struct {
	Rel  string `json:"rel"`
	Type string `json:"type,omitempty"`
	Href string `json:"href"`
}

// BaseURL is how the client reaches this API, without a trailing slash: the configured public URL, else the request's own
// scheme and host. Forwarding headers are not trusted: behind a proxy, configure the public URL.
func BaseURL(c echo.Context) string {
	if u := requestOf(c).publicURL; u != "" {
		return strings.TrimRight(u, "/")
	}
	scheme := "http"
	if c.Request().TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Request().Host
}

// URL is an address on this API: prefix as it is ("/compute/v2.1"), then the escaped elements.
func URL(c echo.Context, prefix string, elements ...string) string {
	var b strings.Builder
	b.WriteString(BaseURL(c))
	b.WriteString(prefix)
	for _, e := range elements {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	return b.String()
}

// Links are Nova's two links of an object: self with the version ("/compute", "v2.1", "servers", id), bookmark without.
func Links(c echo.Context, service, version, collection, id string) []Link {
	return []Link{
		{Rel: "self", Href: URL(c, service+"/"+version, collection, id)},
		{Rel: "bookmark", Href: URL(c, service, collection, id)},
	}
}

// MaxPage is the most that one page holds (Nova's and Neutron's max_limit, Glance's api_limit_max).
const MaxPage = 1000

// Page is what limit and marker of the query ask for.
type Page struct {
	Limit  int    // 1..MaxPage
	None   bool   // a limit of 0, which lists of servers take at its word
	Marker string // id of the last object of the page before, "" for the first
}

// PageOf reads limit and marker. defaultLimit is taken where there is no limit; a limit over MaxPage is cut to it. A limit
// of 0 is MaxPage, and None.
func PageOf(c echo.Context, defaultLimit int) (Page, error) {
	q := c.QueryParams()
	p := Page{Limit: defaultLimit, Marker: q.Get("marker")}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return p, fault.New(fault.Invalid, "Invalid input for query parameters limit. Value: %s. '%s' does not match '^[0-9]*$'", show(s), show(s))
		}
		p.Limit, p.None = n, n == 0
	}
	if p.Limit <= 0 || p.Limit > MaxPage {
		p.Limit = MaxPage
	}
	return p, nil
}

// Next is the address of the page after this one, with the rest of the query as the client wrote it; "" where the page is
// not full, so that nothing can follow.
func (p Page) Next(c echo.Context, count int, lastID string) string {
	if count < p.Limit || count == 0 {
		return ""
	}
	return BaseURL(c) + c.Request().URL.EscapedPath() + "?" + p.query(c, lastID)
}

// NextPath is Next at another path, without scheme and host: Glance's links are relative to its endpoint.
func (p Page) NextPath(c echo.Context, path string, count int, lastID string) string {
	if count < p.Limit || count == 0 {
		return ""
	}
	return path + "?" + p.query(c, lastID)
}

func (p Page) query(c echo.Context, marker string) string {
	q := url.Values{}
	for k, v := range c.QueryParams() {
		q[k] = v
	}
	q.Set("marker", marker)
	return q.Encode()
}

// NextLinks is Nova's "servers_links" and its like: nil where there is no next page.
func (p Page) NextLinks(c echo.Context, count int, lastID string) []Link {
	if u := p.Next(c, count, lastID); u != "" {
		return []Link{{Rel: "next", Href: u}}
	}
	return nil
}

// NoContent answers 204.
func NoContent(c echo.Context) error { return c.NoContent(http.StatusNoContent) }
