package hosts

import (
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

var resumeSchema = rest.Schema(`{
	"type": "object", "required": ["servers"], "additionalProperties": false,
	"properties": {"servers": {"type": "array", "maxItems": 10000, "items": {"type": "string", "format": "uuid"}}}
}`)

// resume starts the guests that a host found off and that should run, each under its server's lock, as after a reboot of the
// machine (Nova's resume_guests_state_on_host_boot). Which those are the database says: a server that was stopped stays so.
func (a *API) resume(c echo.Context) error {
	var body struct {
		Servers []string `json:"servers"`
	}
	if err := rest.Bind(c, resumeSchema, &body); err != nil {
		return err
	}
	ctx, action, begun := c.Request().Context(), lifecycle.ResumeGuest, []string{}
	for _, id := range body.Servers {
		s, err := a.store.Server(ctx, id)
		switch {
		case fault.Is(err, fault.NotFound):
			continue
		case err != nil:
			return fmt.Errorf("look up server %s, whose guest is off: %w", id, err)
		case s.HostID == nil || *s.HostID != hostOf(c).ID:
			continue
		}
		// In its owner's name: nobody has asked.
		owner := servers.Caller{Caller: auth.Caller{UserID: s.UserID, ProjectID: s.ProjectID}, RequestID: "req-" + uuid.NewString()}
		err = a.servers.For(owner).Act(ctx, s, action, contract.ActionArguments{})
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) { // it should not run, or something is being done to it
			continue
		}
		if err != nil {
			return fmt.Errorf("resume the guest of server %s: %w", id, err)
		}
		begun = append(begun, id)
	}
	return c.JSON(http.StatusAccepted, map[string]any{"servers": begun})
}
