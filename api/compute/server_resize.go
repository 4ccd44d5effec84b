package compute

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// resizeSchema is what is said to a resize (schemas/servers.py).
var resizeSchema = compile(wrapped("resize", strict(object{
	"flavorRef":         object{"type": []string{"string", "integer"}, "minLength": 1},
	"OS-DCF:diskConfig": diskConfigSchema,
}, "flavorRef")))

// resize answers as nova/api/openstack/compute/servers.py _resize.
func (a *API) resize(c echo.Context, asked asking) error {
	var r struct {
		FlavorRef  json.RawMessage `json:"flavorRef"`
		DiskConfig string          `json:"OS-DCF:diskConfig"`
	}
	if err := rest.Check(resizeSchema, object{"resize": asked.raw}); err != nil {
		return err
	}
	if err := json.Unmarshal(asked.raw, &r); err != nil {
		return invalid("Malformed request body")
	}
	flavor, err := scalar(r.FlavorRef)
	if err != nil {
		return invalid("Malformed request body")
	}
	var auto *bool
	if r.DiskConfig != "" {
		auto = new(r.DiskConfig == diskConfig(true))
	}
	if err := a.servers(c).Resize(c.Request().Context(), asked.server, asked.rows[0], flavor, auto); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

// confirmResize answers 204, as Nova does, although it goes on.
func (a *API) confirmResize(c echo.Context, asked asking) error {
	if err := a.servers(c).EndResize(c.Request().Context(), asked.server, asked.rows[0]); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *API) revertResize(c echo.Context, asked asking) error {
	if err := a.servers(c).EndResize(c.Request().Context(), asked.server, asked.rows[0]); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

// migrateSchema is what is said to a cold migration since 2.56 (schemas/migrate_server.py).
var migrateSchema = compile(wrapped("migrate", object{
	"type": []string{"object", "null"}, "additionalProperties": false,
	"properties": object{"host": object{"type": []string{"string", "null"}, "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-._]*$"}},
}))

// migrate answers as migrate_server.py _migrate.
func (a *API) migrate(c echo.Context, asked asking) error {
	var r struct {
		Host string `json:"host"`
	}
	if minorOf(c) >= 56 {
		if err := rest.Check(migrateSchema, object{"migrate": asked.raw}); err != nil {
			return err
		}
		if err := json.Unmarshal(asked.raw, &r); err != nil {
			return fmt.Errorf("read a migrate: %w", err)
		}
	}
	if err := a.servers(c).Migrate(c.Request().Context(), asked.server, asked.rows[0], r.Host); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}
