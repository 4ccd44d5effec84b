// Package identity answers the Keystone v3 API as far as clients of a cloud ask it: tokens, the catalog, and what a token
// stands for. Bodies and texts follow Keystone's API reference (docs.openstack.org/api-ref/identity/v3).
package identity

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// DomainID is the only domain.
const (
	DomainID   = "default"
	domainName = "Default"
	regionID   = "RegionOne"
)

// Config of the identity API.
type Config struct {
	TokenTTL time.Duration // how long a token lives
}

// API serves the identity endpoints.
type API struct {
	store    *models.Store
	ttl      time.Duration
	throttle *throttle
	now      func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, config Config) *API {
	return &API{store: store, ttl: config.TokenTTL, throttle: newThrottle(), now: time.Now}
}

// Mount adds the routes: the list of versions at /, the rest below /v3.
func (a *API) Mount(e *echo.Echo) {
	open := rest.Fail(rest.Keystone)
	e.GET("/", a.versions, open)
	e.GET("/v3", a.version, open)
	e.POST("/v3/auth/tokens", a.createToken, open, rest.Expect(http.StatusBadRequest))

	g := e.Group("/v3", rest.Fail(rest.Keystone), rest.RequireToken(a.store, rest.Keystone))
	g.GET("/auth/tokens", a.showToken, rest.Expect(http.StatusForbidden, http.StatusNotFound))
	g.HEAD("/auth/tokens", a.showToken, rest.Expect(http.StatusForbidden, http.StatusNotFound))
	g.DELETE("/auth/tokens", a.deleteToken, rest.Expect(http.StatusForbidden, http.StatusNotFound))
	g.GET("/auth/catalog", a.showCatalog, rest.Expect())
	g.GET("/auth/projects", a.listOwnProjects, rest.Expect())
	g.GET("/auth/domains", a.listDomains, rest.Expect())
	a.mountNames(g)
}

// versions lists what is spoken: 300, as Keystone answers at its root.
func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusMultipleChoices, map[string]any{
		"versions": map[string]any{"values": []any{versionDocument(c)}},
	})
}

func (a *API) version(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"version": versionDocument(c)})
}

func versionDocument(c echo.Context) map[string]any {
	return map[string]any{
		"id":      "v3.14",
		"status":  "stable",
		"updated": "2020-04-07T00:00:00Z",
		"links":   []rest.Link{{Rel: "self", Href: rest.URL(c, "/v3/")}},
		"media-types": []map[string]string{
			{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
		},
	}
}

// service is one entry of the catalog. Where clients append the version themselves (image, network) the path is without.
type service struct {
	kind, name, path string
}

var services = []service{
	{"compute", "nova", "/compute/v2.1"},
	{"identity", "keystone", "/v3"},
	{"image", "glance", "/image"},
	{"network", "neutron", "/network"},
}

var interfaces = []string{"admin", "internal", "public"}

func catalog(c echo.Context) []any {
	list := make([]any, 0, len(services))
	for _, s := range services {
		endpoints := make([]any, 0, len(interfaces))
		for _, i := range interfaces {
			endpoints = append(endpoints, map[string]any{
				"id": ids.Identity("endpoint", s.kind+"/"+i), "interface": i,
				"region": regionID, "region_id": regionID, "url": rest.URL(c, s.path),
			})
		}
		list = append(list, map[string]any{
			"id": ids.Identity("service", s.kind), "type": s.kind, "name": s.name, "endpoints": endpoints,
		})
	}
	return list
}

// collection is Keystone's frame of a list.
func collection(c echo.Context, name string, items []any) map[string]any {
	return map[string]any{
		name:    items,
		"links": map[string]any{"self": rest.BaseURL(c) + c.Request().URL.RequestURI(), "next": nil, "previous": nil},
	}
}

func self(c echo.Context, name, id string) map[string]any {
	return map[string]any{"self": rest.URL(c, "/v3/"+name, id)}
}
