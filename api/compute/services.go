package compute

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServices(g *echo.Group) {
	rule := "os_compute_api:os-services:"
	g.GET("/os-services", a.listServices, adminOnly(rule+"list"), rest.Expect(400, 403))
	g.PUT("/os-services/:id", a.updateService, adminOnly(rule+"update"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/os-services/:id", a.deleteService, adminOnly(rule+"delete"), rest.Expect(400, 403, 404, 409))
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

// serviceView shows a host as the service that runs on it (services.py).
func (a *API) serviceView(minor int, h models.Host) object {
	status, reason := serviceStatus(h)
	v := object{
		"id": oldOrNewID(minor, h.ID), "binary": computeBinary, "host": h.Hostname, "zone": h.AvailabilityZone,
		"status": status, "state": "down", "disabled_reason": reason, "updated_at": nil,
	}
	if !h.SeenAt.IsZero() {
		v["updated_at"] = rest.TimeNaive(h.SeenAt)
	}
	if a.isUp(h) {
		v["state"] = "up"
	}
	if minor >= 11 {
		v["forced_down"] = h.ForcedDown
	}
	return v
}

func (a *API) listServices(c echo.Context) error {
	if err := strictQuery(c, "host", "binary"); err != nil {
		return err
	}
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	views := []object{}
	for _, h := range hosts {
		if host := c.QueryParam("host"); host != "" && host != h.Hostname {
			continue
		}
		if b := c.QueryParam("binary"); b != "" && b != computeBinary {
			continue
		}
		views = append(views, a.serviceView(minorOf(c), h.Host))
	}
	return c.JSON(http.StatusOK, object{"services": views})
}

// serviceOf is the host that the route names by its service's id.
func (a *API) serviceOf(c echo.Context) (models.Host, error) {
	id, minor := c.Param("id"), minorOf(c)
	if minor >= 53 && uuid.Validate(id) != nil {
		return models.Host{}, invalid("Invalid uuid %s", id)
	}
	hosts, err := a.hosts(c)
	if err != nil {
		return models.Host{}, err
	}
	i := slices.IndexFunc(hosts, func(h models.HostUsage) bool { return fmt.Sprint(oldOrNewID(minor, h.ID)) == id })
	if i < 0 {
		return models.Host{}, fault.New(fault.NotFound, "Service %s could not be found.", id)
	}
	return hosts[i].Host, nil
}

var serviceReason = text(1, 255)

var (
	serviceSchema = compile(strict(object{
		"status": object{"type": "string", "enum": []any{"enabled", "disabled"}}, "disabled_reason": serviceReason, "forced_down": booleanSchema,
	}))
	oldServiceSchemas = byVersion("PUT /os-services/{act}", func(minor int) object {
		p := object{"host": fqdnSchema, "binary": text(1, 255), "disabled_reason": serviceReason}
		if minor >= 11 {
			p["forced_down"] = booleanSchema
		}
		return strict(p, "host", "binary")
	})
)

// updateService enables and disables a host, and says that it is down. Before 2.53 the path has a word instead of an id.
func (a *API) updateService(c echo.Context) error {
	if minorOf(c) < 53 {
		return a.actOnService(c)
	}
	var body struct {
		Status     *string  `json:"status"`
		Reason     *string  `json:"disabled_reason"`
		ForcedDown *Boolean `json:"forced_down"`
	}
	if err := rest.Bind(c, serviceSchema, &body); err != nil {
		return err
	}
	disabled := body.Status != nil && *body.Status == "disabled"
	switch {
	case body.Status == nil && body.ForcedDown == nil:
		return invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	case body.Reason != nil && !disabled:
		return invalid("Specifying 'disabled_reason' requires that 'status' is 'disabled'.")
	}
	h, err := a.serviceOf(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if body.Status != nil {
		err = a.store.SetHostEnabled(ctx, h.ID, !disabled, body.Reason)
	}
	if err == nil && body.ForcedDown != nil {
		err = a.store.ForceHostDown(ctx, h.ID, bool(*body.ForcedDown))
	}
	if err == nil {
		h, err = a.store.Host(ctx, h.ID)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"service": a.serviceView(minorOf(c), h)})
}

// actOnService is updateService until 2.52: a host by its name, and the answer tells what was asked for alone.
func (a *API) actOnService(c echo.Context) error {
	var body struct {
		Host       string   `json:"host"`
		Binary     string   `json:"binary"`
		Reason     *string  `json:"disabled_reason"`
		ForcedDown *Boolean `json:"forced_down"`
	}
	act := c.Param("id")
	if !slices.Contains([]string{"enable", "disable", "disable-log-reason"}, act) && (act != "force-down" || minorOf(c) < 11) {
		return fault.New(fault.NotFound, "Unknown action")
	}
	if err := rest.Bind(c, oldServiceSchemas.at(minorOf(c)), &body); err != nil {
		return err
	}
	v := object{"host": body.Host, "binary": body.Binary}
	switch {
	case act == "disable-log-reason" && body.Reason == nil:
		return invalid("Missing disabled reason field")
	case act == "force-down" && body.ForcedDown == nil:
		return invalid("Missing forced_down field")
	}
	ctx := c.Request().Context()
	h, err := a.store.HostByName(ctx, body.Host)
	if err == nil && body.Binary != computeBinary {
		err = fault.New(fault.NotFound, "no such service")
	}
	if err != nil {
		return fault.Absent(err, fault.NotFound, "Could not find binary %s on host %s.", body.Binary, body.Host)
	}
	switch act {
	case "force-down":
		v["forced_down"] = bool(*body.ForcedDown)
		err = a.store.ForceHostDown(ctx, h.ID, bool(*body.ForcedDown))
	case "enable":
		v["status"] = "enabled"
		err = a.store.SetHostEnabled(ctx, h.ID, true, nil)
	default:
		v["status"] = "disabled"
		if act == "disable" {
			body.Reason = nil
		} else {
			v["disabled_reason"] = *body.Reason
		}
		err = a.store.SetHostEnabled(ctx, h.ID, false, body.Reason)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"service": v})
}

// deleteService forgets a host that holds nothing.
func (a *API) deleteService(c echo.Context) error {
	h, err := a.serviceOf(c)
	if err != nil {
		return err
	}
	err = a.store.DeleteHost(c.Request().Context(), h.ID)
	if fault.Is(err, fault.Conflict) {
		return fault.Wrap(fault.Conflict, err, "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
