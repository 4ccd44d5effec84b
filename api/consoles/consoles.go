// Package consoles is where a user's browser or terminal comes to a console: a websocket that whoever holds the token of an address
// opens, once.
package consoles

import (
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
)

// API serves /console.
type API struct {
	service *consoles.Service
	origins []string
}

// New makes the API; Mount puts it under a path. Pages of origins may open consoles as those of the API do.
func New(service *consoles.Service, origins []string) *API {
	return &API{service: service, origins: origins}
}

// Mount adds the routes to g, which is the group "/console".
func (a *API) Mount(g *echo.Group) {
	g.GET("", a.open, rest.Fail(rest.Plain), rest.Expect(426))
}

// open takes the token as websocket proxies of Nova do, in the query. What is wrong is told as the reason of a close, which a page
// can read, as it cannot a refused handshake.
func (a *API) open(c echo.Context) error {
	user, err := rest.Upgrade(c, a.origins)
	if err != nil {
		return err
	}
	a.service.Serve(c.Request().Context(), c.QueryParam("token"), user)
	return nil
}
