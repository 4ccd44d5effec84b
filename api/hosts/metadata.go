package hosts

import (
	"net/http"
	"net/netip"
	"strconv"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
)

// metadata is what a guest of the host is told that has an address on a network. A host learns of nothing but servers that are placed on it.
func (a *API) metadata(c echo.Context) error {
	network := c.QueryParam("network")
	if uuid.Validate(network) != nil {
		return fault.New(fault.Invalid, "'%s' is no network's id.", network)
	}
	address, err := netip.ParseAddr(c.QueryParam("address"))
	if err != nil || address.Zone() != "" {
		return fault.New(fault.Invalid, "'%s' is no address.", c.QueryParam("address"))
	}
	told, err := a.servers.Metadata(c.Request().Context(), hostOf(c), network, address.Unmap())
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, told)
}

var guestPasswordSchema = rest.Schema(`{
	"type": "object", "required": ["password"], "additionalProperties": false,
	"properties": {"password": {"type": "string", "minLength": 1, "maxLength": ` + strconv.Itoa(metadata.MostPassword) + `}}
}`)

// keepPassword takes what the guest behind a port of the host has posted.
func (a *API) keepPassword(c echo.Context) error {
	port := c.Param("id")
	if uuid.Validate(port) != nil {
		return fault.New(fault.NotFound, "Port %s could not be found.", port)
	}
	var body struct {
		Password string `json:"password"`
	}
	if err := rest.Bind(c, guestPasswordSchema, &body); err != nil {
		return err
	}
	if err := a.servers.KeepGuestPassword(c.Request().Context(), hostOf(c), port, body.Password); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
