package network

import (
	"maps"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// mountQuotas adds how many networks, subnets and ports a project may have.
func (a *API) mountQuotas(g *echo.Group) {
	admin := a.admin("update_quota")
	g.GET("/quotas", a.listQuotas, rest.Expect(403))
	g.GET("/quotas/:id", a.showQuota, rest.Expect(403))
	g.GET("/quotas/:id/default", a.defaultQuota, rest.Expect(403))
	g.GET("/quotas/:id/details.json", a.quotaDetails, rest.Expect(403))
	g.GET("/quotas/:id/details", a.quotaDetails, rest.Expect(403))
	g.PUT("/quotas/:id", a.setQuota, admin, rest.Expect(400, 403, 404))
	g.DELETE("/quotas/:id", a.resetQuota, a.admin("delete_quota"), rest.Expect(403, 404))
}

func (a *API) listQuotas(c echo.Context) error {
	all, err := a.networksFor(c).Quotas(c.Request().Context())
	if err != nil {
		return err
	}
	rows := []object{}
	for _, project := range slices.Sorted(maps.Keys(all)) {
		row := object{"project_id": project, "tenant_id": project}
		for kind, limit := range all[project] {
			row[kind] = limit
		}
		rows = append(rows, row)
	}
	return c.JSON(http.StatusOK, object{"quotas": rows})
}

func (a *API) showQuota(c echo.Context) error {
	return answerQuota(c)(a.networksFor(c).Quota(c.Request().Context(), c.Param("id")))
}

func (a *API) defaultQuota(c echo.Context) error {
	return answerQuota(c)(a.networksFor(c).DefaultQuota(c.Param("id")))
}

func answerQuota(c echo.Context) func(models.NetworkQuota, error) error {
	return func(q models.NetworkQuota, err error) error {
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, object{"quota": q})
	}
}

func (a *API) quotaDetails(c echo.Context) error {
	r, ctx, project := a.networksFor(c), c.Request().Context(), c.Param("id")
	limits, err := r.Quota(ctx, project)
	if err != nil {
		return err
	}
	used, err := r.Usage(ctx, project)
	if err != nil {
		return err
	}
	details := object{}
	for kind, limit := range limits {
		details[kind] = object{"limit": limit, "used": used[kind], "reserved": 0}
	}
	return c.JSON(http.StatusOK, object{"quota": details})
}

// setQuota refuses a limit below what is used already, unless force says so.
func (a *API) setQuota(c echo.Context) error {
	body, err := rest.Document(c)
	if err != nil {
		return err
	}
	o, err := objectOf(body)
	if err != nil {
		return err
	}
	said, ok := o["quota"].(object)
	if !ok {
		return badRequest("Unable to find 'quota' in request body")
	}
	r, ctx, project := a.networksFor(c), c.Request().Context(), c.Param("id")
	there, err := r.Quota(ctx, project)
	if err != nil {
		return err
	}
	if err := known(said, func(name string) bool {
		_, is := there[name]
		return is || name == "force" || name == "check_limit" || name == "project_id" || name == "tenant_id"
	}); err != nil {
		return err
	}
	used, err := r.Usage(ctx, project)
	if err != nil {
		return err
	}
	limits := models.NetworkQuota{}
	for _, name := range sortedKeys(said) {
		if _, is := there[name]; !is {
			continue
		}
		v, err := integer(name, said[name])
		if err != nil {
			return err
		}
		n, _ := v.(int)
		switch {
		case n < models.Unlimited:
			return ipam.BadAttribute(name, "'%d' is too small - must be at least '%d'", n, models.Unlimited)
		case said["force"] != true && n >= 0 && n < used[name]:
			return badRequest("Quota limit %d for %s must be greater than or equal to already used %d", n, name, used[name])
		}
		limits[name] = n
	}
	return answerQuota(c)(r.SetQuota(ctx, project, limits))
}

func (a *API) resetQuota(c echo.Context) error {
	if err := a.networksFor(c).ResetQuota(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return rest.NoContent(c)
}
