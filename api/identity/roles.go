package identity

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountRoles(g reading) {
	g.GET("/roles", list(a, allRoles, every((*identity.Repository).Roles)), rest.Expect(400))
	g.POST("/roles", a.createRole, a.keeper("create_role"), rest.Expect(400, 403, 409))
	g.GET("/roles/:id", show(a, allRoles, (*identity.Repository).Role), rest.Expect(404))
	g.PATCH("/roles/:id", a.updateRole, a.keeper("update_role"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/roles/:id", a.remove((*identity.Repository).DeleteRole), rest.Expect(403, 404))
	g.GET("/roles/:id/implies", a.listImplied, rest.Expect(404))
	g.GET("/roles/:id/implies/:implied", a.showImplied, rest.Expect(404))
	g.GET("/role_inferences", a.listInferences, rest.Expect())
}

var allRoles = collection[models.Role]{
	one: "role", many: "roles",
	filters: filters{texts: []string{"name", "description"}},
	view: func(c echo.Context, r models.Role) object {
		options := object{}
		if identity.Fixed(r) {
			options["immutable"] = true
		}
		return shown(r.Extra, object{
			"id": r.ID, "name": r.Name, "domain_id": nil, "description": r.Description, "options": options, "links": self(c, "roles", r.ID),
		})
	},
}

var (
	roleAttributes = []string{named(255), described, withoutFlags, `"domain_id": {"type": "null"}`} // none is a domain's own
	newRoleSchema  = schemaOf("role", []string{"name"}, roleAttributes...)
	rolePatch      = schemaOf("role", nil, roleAttributes...)
)

func (a *API) createRole(c echo.Context) error {
	in, err := bind(c, newRoleSchema, "role")
	if err != nil {
		return err
	}
	role, err := a.as(c).CreateRole(c.Request().Context(), models.Role{Name: in.or("name"), Description: in.text("description"), Extra: in.extra()})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allRoles, role)
}

func (a *API) updateRole(c echo.Context) error {
	in, err := bind(c, rolePatch, "role")
	if err != nil {
		return err
	}
	role, err := a.as(c).UpdateRole(c.Request().Context(), c.Param("id"), models.RolePatch{
		Name: in.text("name"), Description: in.text("description"), Extra: in.extra(),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allRoles, role)
}

// What a role implies is one line that nobody changes: admin, member, reader.

func roleRef(c echo.Context, name string) object {
	id := ids.Identity("role", name)
	return object{"id": id, "name": name, "links": self(c, "roles", id)}
}

// inference is a role with what it implies at once: the one below it.
func inference(c echo.Context, name string) (object, bool) {
	all := auth.Implied([]string{name})
	if len(all) < 2 {
		return nil, false
	}
	return object{"prior_role": roleRef(c, name), "implies": []any{roleRef(c, all[1])}}, true
}

func (a *API) listInferences(c echo.Context) error {
	inferences := []any{}
	for _, name := range auth.Roles() {
		if one, implies := inference(c, name); implies {
			inferences = append(inferences, one)
		}
	}
	return c.JSON(http.StatusOK, listing(c, "role_inferences", inferences, nil))
}

func (a *API) listImplied(c echo.Context) error {
	role, err := a.as(c).Role(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	one, implies := inference(c, role.Name)
	if !implies {
		one = object{"prior_role": object{"id": role.ID, "name": role.Name, "links": self(c, "roles", role.ID)}, "implies": []any{}}
	}
	return c.JSON(http.StatusOK, object{"role_inference": one, "links": object{"self": rest.URL(c, "/v3/roles", role.ID, "implies")}})
}

func (a *API) showImplied(c echo.Context) error {
	prior, implied := c.Param("id"), c.Param("implied")
	for i, name := range auth.Roles()[1:] {
		if before := auth.Roles()[i]; ids.Identity("role", before) == prior && ids.Identity("role", name) == implied {
			return c.JSON(http.StatusOK, object{"role_inference": object{"prior_role": roleRef(c, before), "implies": roleRef(c, name)}})
		}
	}
	return fault.New(fault.NotFound, "%s does not imply %s.", prior, implied)
}
