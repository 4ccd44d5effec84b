package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServices(g *echo.Group) {
	g.GET("/os-services", a.listServices, adminOnly("os_compute_api:os-services:list"), rest.Expect(400, 403))
}

// computeBinary is the name under which a host's own process is shown: Nova's, because tools look for it.
const computeBinary = "nova-compute"

// serviceStatus is a host's in Nova's words. One that is suspended shows as Nova's that disabled itself after too many build
// failures (its consecutive_build_service_disable_threshold).
func serviceStatus(h models.Host) (status string, reason *string) {
	switch {
	case !h.Enabled:
		return "disabled", h.DisabledReason
	case h.Suspended:
		_, why := h.CanTake()
		return "disabled", &why
	}
	return "enabled", nil
}

// listServices shows each host as the service that runs on it (services.py).
func (a *API) listServices(c echo.Context) error {
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	minor := minorOf(c)
	views := []object{}
	for _, h := range hosts {
		if host := c.QueryParam("host"); host != "" && host != h.Hostname {
			continue
		}
		if b := c.QueryParam("binary"); b != "" && b != computeBinary {
			continue
		}
		status, reason := serviceStatus(h.Host)
		v := object{
			"id": oldOrNewID(minor, h.ID), "binary": computeBinary, "host": h.Hostname, "zone": h.AvailabilityZone,
			"status": status, "state": "down", "disabled_reason": reason, "updated_at": nil,
		}
		if !h.SeenAt.IsZero() {
			v["updated_at"] = rest.TimeNaive(h.SeenAt)
		}
		if a.isUp(h.Host) {
			v["state"] = "up"
		}
		if minor >= 11 {
			v["forced_down"] = false
		}
		views = append(views, v)
	}
	return c.JSON(http.StatusOK, object{"services": views})
}
