package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

func (a *API) mountZones(g *echo.Group) {
	g.GET("/os-availability-zone", a.listZones, rest.Expect())
	g.GET("/os-availability-zone/detail", a.detailZones, adminOnly("os_compute_api:os-availability-zone:detail"), rest.Expect(403))
}

func (a *API) listZones(c echo.Context) error   { return a.zones(c, false) }
func (a *API) detailZones(c echo.Context) error { return a.zones(c, true) }

// zones shows the availability zones that have hosts; one is available while a host of it is enabled (availability_zone.py).
func (a *API) zones(c echo.Context, detail bool) error {
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	type zone struct {
		available bool
		hosts     object
	}
	byName := map[string]*zone{}
	for _, h := range hosts {
		z := byName[h.AvailabilityZone]
		if z == nil {
			z = &zone{hosts: object{}}
			byName[h.AvailabilityZone] = z
		}
		active := h.Enabled && !h.Suspended
		z.available = z.available || active
		seen := object{"active": active, "available": a.isUp(h.Host), "updated_at": nil}
		if !h.SeenAt.IsZero() {
			seen["updated_at"] = rest.TimeNaive(h.SeenAt)
		}
		z.hosts[h.Hostname] = object{computeBinary: seen}
	}
	views := []object{}
	for _, name := range sortedKeys(byName) {
		z := byName[name]
		v := object{"zoneName": name, "zoneState": object{"available": z.available}, "hosts": nil}
		if detail {
			v["hosts"] = z.hosts
		}
		views = append(views, v)
	}
	return c.JSON(http.StatusOK, object{"availabilityZoneInfo": views})
}
