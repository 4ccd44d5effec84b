// Package consoles is where a user's browser or terminal comes to a console: a websocket that whoever holds the token of an address
// opens, once, and the page that shows a screen.
package consoles

import (
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
)

// Config of the consoles. A zero field is what is said beside it.
type Config struct {
	Origins []string // whose pages may open consoles, as those of the API do; none
	NoVNC   string   // folder of noVNC, with core/ and vendor/; none: the page says that it is not there
}

// API serves /console.
type API struct {
	service *consoles.Service
	config  Config
}

// New makes the API; Mount puts it under a path.
func New(service *consoles.Service, config Config) *API {
	return &API{service: service, config: config}
}

// Mount adds the routes to g, which is the group "/console".
func (a *API) Mount(g *echo.Group) {
	fail := rest.Fail(rest.Plain)
	g.GET("", a.open, fail, rest.Expect(400, 403, 426))
	a.mountPage(g, fail)
}

// open takes the token as websocket proxies of Nova do, in the query. What is wrong is told as the reason of a close, which a page
// can read, as it cannot a refused handshake.
func (a *API) open(c echo.Context) error {
	user, err := rest.Upgrade(c, a.config.Origins)
	if err != nil {
		return err
	}
	a.service.Serve(c.Request().Context(), c.QueryParam("token"), user)
	return nil
}
