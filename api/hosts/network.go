package hosts

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// network tells what switches a host's guests where networks stand on OVN: the host is asked for it.
func (a *API) network(c echo.Context) error {
	ctx := c.Request().Context()
	host, err := a.find(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	caller := servers.Caller{Caller: rest.CallerOf(c).Caller, RequestID: rest.RequestID(c)}
	found, err := a.servers.For(caller).HostNetwork(ctx, host.Hostname)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"network": found})
}
