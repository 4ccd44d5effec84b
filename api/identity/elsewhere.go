package identity

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// MountElsewhere takes the place of the API where another identity service issues the tokens: discovery names that one, where some
// clients go on by themselves, and everything else says where to ask: keystoneauth takes a path from discovery, and no host.
// Nothing is redirected: what was meant for here would show passwords there.
func MountElsewhere(e *echo.Echo) {
	open := rest.Fail(rest.Keystone)
	at := func(c echo.Context) object { return versionDocument(rest.IdentityURL(c) + "/") }
	e.GET("/", func(c echo.Context) error { return c.JSON(http.StatusMultipleChoices, versionList(at(c))) }, open)
	e.GET("/v3", func(c echo.Context) error { return c.JSON(http.StatusOK, object{"version": at(c)}) }, open)
	e.Match(anyMethod, "/v3/*", func(c echo.Context) error {
		return rest.Status(http.StatusNotImplemented,
			"Users, projects, roles, credentials, tokens and the catalog of this cloud are kept by the identity service at %s: set OS_AUTH_URL to that.", rest.IdentityURL(c))
	}, open, rest.Expect(http.StatusNotImplemented))
}
