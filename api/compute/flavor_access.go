package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// flavorAccess lists the projects that may use a flavor which is not public.
func (a *API) flavorAccess(c echo.Context) error {
	f, err := a.flavorOf(c, c.Param("id"))
	if err != nil {
		return err
	}
	if f.Public {
		return fault.New(fault.NotFound, "Access list not available for public flavors.")
	}
	return a.showFlavorAccess(c, f.ID)
}

func (a *API) showFlavorAccess(c echo.Context, id string) error {
	projects, err := a.store.FlavorProjects(c.Request().Context(), id)
	if err != nil {
		return err
	}
	list := make([]object, len(projects))
	for i, p := range projects {
		list[i] = object{"flavor_id": id, "tenant_id": p}
	}
	return c.JSON(http.StatusOK, object{"flavor_access": list})
}

// tenant is the argument of both actions on a flavor.
type tenant struct {
	Project string `json:"tenant"`
}

var flavorActionSchema = compile(object{
	"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	"properties": object{
		"addTenantAccess":    strict(object{"tenant": text(1, 255)}, "tenant"),
		"removeTenantAccess": strict(object{"tenant": text(1, 255)}, "tenant"),
	},
})

// changeFlavorAccess gives a flavor to a project, or takes it away (flavor_access.py).
func (a *API) changeFlavorAccess(c echo.Context) error {
	var body struct {
		Add    *tenant `json:"addTenantAccess"`
		Remove *tenant `json:"removeTenantAccess"`
	}
	admin := rest.CallerOf(c).Admin()
	if err := allow(admin, "os_compute_api:os-flavor-access:add_tenant_access"); err != nil {
		return err // whatever the body says: who may do neither learns nothing of it
	}
	if err := rest.Bind(c, flavorActionSchema, &body); err != nil {
		return err
	}
	ctx, id := c.Request().Context(), c.Param("id")
	asked, change := body.Add, a.store.GiveFlavor
	if asked == nil {
		asked, change = body.Remove, a.store.TakeFlavor
	}
	if err := a.knownProject(c, asked.Project); err != nil {
		return err
	}
	f, err := a.flavorOf(c, id)
	if err != nil {
		return err
	}
	if f.Public && body.Add != nil && minorOf(c) >= 7 {
		return fault.New(fault.Conflict, "Can not add access to a public flavor.")
	}
	if err := change(ctx, f.ID, asked.Project); err != nil {
		return err
	}
	return a.showFlavorAccess(c, f.ID)
}

// knownProject is Nova's verify_project_id.
func (a *API) knownProject(c echo.Context, id string) error {
	_, err := a.store.Project(c.Request().Context(), id)
	return fault.Absent(err, fault.Invalid, "Project ID %s is not a valid project.", id)
}
