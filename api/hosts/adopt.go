package hosts

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

var adoptSchema = rest.Schema(`{
	"type": "object", "required": ["server_id"], "additionalProperties": false,
	"properties": {"server_id": {"type": "string", "format": "uuid"}}
}`)

// adopt makes a guest that lies on a host, and of which the database does not know, a server again. It answers when it is one.
func (a *API) adopt(c echo.Context) error {
	var body struct {
		ServerID string `json:"server_id"`
	}
	if err := rest.Bind(c, adoptSchema, &body); err != nil {
		return err
	}
	host, err := a.find(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	caller := servers.Caller{Caller: rest.CallerOf(c).Caller, RequestID: rest.RequestID(c)}
	s, err := a.servers.For(caller).Adopt(c.Request().Context(), body.ServerID, host.ID)
	if err != nil {
		return err
	}
	rest.Logger(c).Info("guest adopted", "server_id", s.ID, "host", host.Hostname)
	return c.JSON(http.StatusOK, map[string]any{"server": map[string]any{
		"id": s.ID, "name": s.Name, "project_id": s.ProjectID, "status": lifecycle.Status(s.VMState, s.Task()), "hostname": host.Hostname,
	}})
}
