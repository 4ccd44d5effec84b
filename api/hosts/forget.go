package hosts

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

var forgetSchema = rest.Schema(`{
	"type": "object", "required": ["reason"], "additionalProperties": false,
	"properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 255}}
}`)

// forgetView is a host that was given up. It outlives the host's row.
type forgetView struct {
	HostID    string  `json:"host_id"`
	Hostname  string  `json:"hostname"`
	Reason    string  `json:"reason"`
	UserID    string  `json:"user_id"`
	RequestID string  `json:"request_id"`
	At        string  `json:"at"`
	DoneAt    *string `json:"done_at"`   // nothing is left of it, its row neither
	Servers   int     `json:"servers"`   // that lost their guest with it
	Undos     int     `json:"undos"`     // that were ended
	WaitsFor  *string `json:"waits_for"` // what is not given up yet
}

func viewOfForgotten(f models.ForgottenHost) map[string]any {
	v := forgetView{
		HostID: f.HostID, Hostname: f.Hostname, Reason: f.Reason, UserID: f.UserID, RequestID: f.RequestID, At: rest.Time(f.At),
		DoneAt: rest.TimePtr(f.DoneAt), Servers: f.Servers, Undos: f.Undos,
		WaitsFor: rest.Optional(f.WaitsFor),
	}
	return map[string]any{"forget": v}
}

// forget gives a host up for good. It answers when that has begun: the host's token has ended by then.
func (a *API) forget(c echo.Context) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := rest.Bind(c, forgetSchema, &body); err != nil {
		return err
	}
	host, err := a.find(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	caller := servers.Caller{Caller: rest.CallerOf(c).Caller, RequestID: rest.RequestID(c)}
	given, err := a.servers.For(caller).ForgetHost(c.Request().Context(), host.ID, body.Reason)
	if err != nil {
		return err
	}
	rest.Logger(c).Info("host given up for good", "host", host.Hostname, "host_id", host.ID, "reason", given.Reason)
	return c.JSON(http.StatusAccepted, viewOfForgotten(given))
}

// forgotten tells how far giving a host up is, or was; by a name, of the last host that had it.
func (a *API) forgotten(c echo.Context) error {
	given, err := a.store.ForgottenHost(c.Request().Context(), c.Param("id"))
	if err != nil {
		return fault.Absent(err, fault.NotFound, "Host %s was not given up.", c.Param("id"))
	}
	return c.JSON(http.StatusOK, viewOfForgotten(given))
}
