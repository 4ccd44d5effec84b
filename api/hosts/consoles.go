package hosts

import (
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// console is where a host brings the console that a session waits for.
func (a *API) console(c echo.Context) error {
	session, err := a.consoles.Expect(hostOf(c).ID, c.Param("session"))
	if err != nil {
		return err
	}
	host, err := rest.Upgrade(c, nil)
	if err != nil {
		return err
	}
	session.Join(host)
	return nil
}
