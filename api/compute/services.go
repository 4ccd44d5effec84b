package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

func (a *API) mountServices(g *echo.Group) {
	g.GET("/os-services", a.listServices, adminOnly("os_compute_api:os-services:list"), rest.Expect(400, 403))
}

// computeBinary is the name under which a host's own process is shown: Nova's, because tools look for it.
const computeBinary = "nova-compute"

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
		v := object{
			"id": oldOrNewID(minor, h.ID), "binary": computeBinary, "host": h.Hostname, "zone": h.AvailabilityZone,
			"status": "enabled", "state": "down", "disabled_reason": h.DisabledReason, "updated_at": nil,
		}
		if !h.SeenAt.IsZero() {
			v["updated_at"] = rest.TimeNaive(h.SeenAt)
		}
		if !h.Enabled {
			v["status"] = "disabled"
		}
		if a.up(h.Host) {
			v["state"] = "up"
		}
		if minor >= 11 {
			v["forced_down"] = false
		}
		views = append(views, v)
	}
	return c.JSON(http.StatusOK, object{"services": views})
}
