package hosts

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// guests tells a host what is known of its guests. It looks at them after that, and says what is otherwise (sightings).
func (a *API) guests(c echo.Context) error {
	all, err := a.store.Guests(c.Request().Context(), hostOf(c).ID)
	if err != nil {
		return err
	}
	known := make([]hostapi.Guest, 0, len(all))
	for _, g := range all {
		known = append(known, hostapi.Guest{
			ServerID: g.ServerID, Active: slices.Contains(lifecycle.WentDown.From, g.VMState), PowerState: g.PowerState, AsOf: g.AsOf,
			EndsAtShutdown: g.EndsAtShutdown,
		})
	}
	return c.JSON(http.StatusOK, map[string]any{"guests": known})
}

var sightingsSchema = rest.Schema(`{
	"type": "object", "required": ["guests"], "additionalProperties": false,
	"properties": {"guests": {"type": "array", "maxItems": 1000, "items": {
		"type": "object", "required": ["server_id", "as_of", "power_state"], "additionalProperties": false,
		"properties": {
			"server_id": {"type": "string", "format": "uuid"}, "as_of": {"type": "string", "format": "date-time"},
			"power_state": {"type": "integer", "enum": [0, 1, 3, 4, 6]}, "by_guest": {"type": "boolean"}
		}
	}}}
}`)

// happened is what is recorded of a guest that went down by itself.
var happened = map[int]string{
	lifecycle.Shutdown: "The guest is off: it shut down by itself, or its host did.",
	lifecycle.Crashed:  "The guest crashed: its QEMU ended. The host's log of the domain may say why.",
}

// became is what is logged of it.
var became = map[servers.Seen]string{
	servers.SawStopped: "A guest went down; its server is stopped.",
	servers.SawEnded:   "A guest shut itself down; its server ends with it, as was asked for.",
}

// sightings writes what a host saw of its guests (Nova's sync of power states, nova/compute/manager.py). One that is older
// than the last thing that was done to the server says nothing, and no server is touched that is not placed on the host.
func (a *API) sightings(c echo.Context) error {
	var body struct {
		Guests []hostapi.Sighting `json:"guests"`
	}
	if err := rest.Bind(c, sightingsSchema, &body); err != nil {
		return err
	}
	host := hostOf(c)
	for _, g := range body.Guests {
		seen, err := a.servers.SawGuest(c.Request().Context(), host.ID, models.Sighting{
			ServerID: g.ServerID, AsOf: g.AsOf, PowerState: g.PowerState, Hostname: host.Hostname, What: happened[g.PowerState],
		}, g.ByGuest)
		if err != nil {
			return err
		}
		if text := became[seen]; text != "" {
			rest.Logger(c).Info(text, "server_id", g.ServerID, "host", host.Hostname, "what", happened[g.PowerState])
		}
	}
	return c.NoContent(http.StatusNoContent)
}
