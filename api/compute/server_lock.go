package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// lockSchemas are what is said to a lock (schemas/lock_server.py): anything, and since 2.73 a reason or nothing.
var lockSchemas = byVersion("POST /servers/:id/action lock", func(minor int) object {
	if minor < 73 {
		return object{}
	}
	reason := strict(object{"locked_reason": text(1, 255)})
	reason["type"] = []string{"object", "null"}
	return wrapped("lock", reason)
})

func (a *API) lock(c echo.Context, asked asking) error {
	if err := rest.Check(lockSchemas.at(minorOf(c)), map[string]any{"lock": asked.raw}); err != nil {
		return err
	}
	var body struct {
		Reason string `json:"locked_reason"`
	}
	if minorOf(c) >= 73 {
		if err := json.Unmarshal(asked.raw, &body); err != nil {
			return invalid("Malformed request body")
		}
	}
	if err := a.servers(c).Lock(c.Request().Context(), asked.server, asked.rows[0], body.Reason); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

func (a *API) unlock(c echo.Context, asked asking) error {
	if err := a.servers(c).Unlock(c.Request().Context(), asked.server, asked.rows[0]); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}
