package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// shelve takes anything, as nova/api/openstack/compute/shelve.py does.
func (a *API) shelve(c echo.Context, asked asking) error {
	if err := a.servers(c).Shelve(c.Request().Context(), asked.server, asked.rows[0], asked.rows[1]); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

// What is said to an unshelve since 2.77, where it has to be said, and since 2.91 (schemas/shelve.py).
var (
	unshelveSchema = compile(wrapped("unshelve", object{
		"type": []string{"object", "null"}, "properties": object{"availability_zone": nameSchema}, "required": []string{"availability_zone"},
		"additionalProperties": false,
	}))
	unshelveAnywhereSchema = compile(wrapped("unshelve", object{"oneOf": []any{
		strict(object{"availability_zone": object{"type": []string{"string", "null"}}, "host": object{"type": "string"}}), object{"type": "null"},
	}}))
)

// unshelve takes anything before 2.77, and obeys nothing of it.
func (a *API) unshelve(c echo.Context, asked asking) error {
	var to servers.Target
	if minor := minorOf(c); minor >= 77 {
		schema := unshelveSchema
		if minor >= 91 {
			schema = unshelveAnywhereSchema
		}
		if err := rest.Check(schema, object{"unshelve": asked.raw}); err != nil {
			return err
		}
		var said map[string]*string
		if err := json.Unmarshal(asked.raw, &said); err != nil {
			return invalid("Malformed request body")
		}
		if zone, is := said["availability_zone"]; is {
			if to.Zone = zone; zone == nil {
				to.Zone = new("")
			}
		}
		if host := said["host"]; host != nil {
			to.Host = *host
		}
	}
	if err := a.servers(c).Unshelve(c.Request().Context(), asked.server, asked.rows[0], asked.rows[1], to); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}
