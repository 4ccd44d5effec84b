package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

var resetSchema = compile(wrapped("os-resetState", strict(object{"state": object{"type": "string", "enum": []any{"active", "error"}}}, "state")))

func (a *API) resetState(c echo.Context, asked asking) error {
	if err := rest.Check(resetSchema, map[string]any{"os-resetState": asked.raw}); err != nil {
		return err
	}
	var body struct {
		State lifecycle.VMState `json:"state"`
	}
	if err := json.Unmarshal(asked.raw, &body); err != nil {
		return invalid("Malformed request body")
	}
	if err := a.servers(c).ResetState(c.Request().Context(), asked.server, asked.rows[0], body.State); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

func (a *API) forceDelete(c echo.Context, asked asking) error {
	if err := a.servers(c).Remove(c.Request().Context(), asked.server); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}
