// Package identity answers the Keystone v3 API: tokens and the catalog, and who there is and may do what. Bodies and texts follow Keystone's API reference (docs.openstack.org/api-ref/identity/v3).
package identity

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the identity API.
type Config struct {
	TokenTTL time.Duration // how long a token lives
}

// API serves the identity endpoints.
type API struct {
	store    *models.Store
	service  *identity.Service
	ttl      time.Duration
	throttle *throttle
	now      func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, service *identity.Service, config Config) *API {
	return &API{store: store, service: service, ttl: config.TokenTTL, throttle: newThrottle(), now: time.Now}
}

// Mount adds the routes: the list of versions at /, the rest below /v3.
func (a *API) Mount(e *echo.Echo) {
	open := rest.Fail(rest.Keystone)
	e.GET("/", a.versions, open)
	e.GET("/v3", a.version, open)
	e.POST("/v3/auth/tokens", a.createToken, open, rest.Expect(http.StatusBadRequest))

	g := reading{e.Group("/v3", rest.Fail(rest.Keystone), rest.RequireToken(rest.Keystone))}
	g.GET("/auth/tokens", a.showToken, rest.Expect(http.StatusForbidden, http.StatusNotFound))
	g.DELETE("/auth/tokens", a.deleteToken, rest.Expect(http.StatusForbidden, http.StatusNotFound))
	e.POST("/v3/users/:id/password", a.changeOwnPassword, open, rest.Expect(http.StatusBadRequest, http.StatusNotFound))
	g.POST("/ec2tokens", a.exchangeSignature, rest.Expect(http.StatusBadRequest, http.StatusForbidden))
	a.mountCatalog(g)
	a.mountDomains(g)
	a.mountProjects(g)
	a.mountUsers(g)
	a.mountGroups(g)
	a.mountRoles(g)
	a.mountGrants(g)
	a.mountCredentials(g)
	a.mountApplications(g)
	a.mountUnserved(g)
}

// reading is a group whose GETs answer HEAD, too, as Keystone's do.
type reading struct{ *echo.Group }

// GET adds both.
func (g reading) GET(path string, h echo.HandlerFunc, m ...echo.MiddlewareFunc) *echo.Route {
	g.HEAD(path, h, m...)
	return g.Group.GET(path, h, m...)
}

// versions lists what is spoken: 300, as Keystone answers at its root.
func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusMultipleChoices, versionList(versionDocument(rest.URL(c, "/v3/"))))
}

func (a *API) version(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"version": versionDocument(rest.URL(c, "/v3/"))})
}

func versionList(of object) object { return object{"versions": object{"values": []any{of}}} }

func versionDocument(at string) object {
	return object{
		"id":      "v3.14",
		"status":  "stable",
		"updated": "2020-04-07T00:00:00Z",
		"links":   []rest.Link{{Rel: "self", Href: at}},
		"media-types": []map[string]string{
			{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
		},
	}
}
