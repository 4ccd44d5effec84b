package identity

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountGroups(g reading) {
	g.GET("/groups", list(a, allGroups, every((*identity.Repository).Groups)), rest.Expect(400, 403))
	g.POST("/groups", a.createGroup, a.keeper("create_group"), rest.Expect(400, 403, 404, 409))
	g.GET("/groups/:id", show(a, allGroups, (*identity.Repository).Group), rest.Expect(403, 404))
	g.PATCH("/groups/:id", a.updateGroup, a.keeper("update_group"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/groups/:id", a.remove((*identity.Repository).DeleteGroup), rest.Expect(403, 404))
	g.GET("/groups/:id/users", list(a, allUsers, those((*identity.Repository).Members)), rest.Expect(400, 403, 404))
	g.PUT("/groups/:id/users/:user", a.membership((*identity.Repository).Join), rest.Expect(403, 404))
	g.GET("/groups/:id/users/:user", a.membership((*identity.Repository).IsMember), rest.Expect(403, 404))
	g.DELETE("/groups/:id/users/:user", a.membership((*identity.Repository).Leave), rest.Expect(403, 404))
	g.GET("/users/:id/groups", list(a, allGroups, those((*identity.Repository).GroupsOf)), rest.Expect(400, 403, 404))
}

var allGroups = collection[models.Group]{
	one: "group", many: "groups",
	filters: filters{texts: []string{"name", "description"}, domain: true},
	view: func(c echo.Context, g models.Group) object {
		return shown(g.Extra, object{
			"id": g.ID, "name": g.Name, "domain_id": g.DomainID, "description": g.Description, "links": self(c, "groups", g.ID),
		})
	},
}

var (
	groupAttributes = []string{named(64), described, inDomain}
	newGroupSchema  = schemaOf("group", []string{"name"}, groupAttributes...)
	groupPatch      = schemaOf("group", nil, groupAttributes...)
)

func (a *API) createGroup(c echo.Context) error {
	in, err := bind(c, newGroupSchema, "group")
	if err != nil {
		return err
	}
	g, err := a.as(c).CreateGroup(c.Request().Context(), models.Group{
		Name: in.or("name"), DomainID: in.or("domain_id"), Description: in.or("description"), Extra: in.extra(),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allGroups, g)
}

func (a *API) updateGroup(c echo.Context) error {
	in, err := bind(c, groupPatch, "group")
	if err != nil {
		return err
	}
	g, err := a.as(c).UpdateGroup(c.Request().Context(), c.Param("id"), in.text("domain_id"), models.GroupPatch{
		Name: in.text("name"), Description: in.text("description"), Extra: in.extra(),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allGroups, g)
}

// membership is what is done, or asked, about a user in a group.
func (a *API) membership(do func(r *identity.Repository, ctx context.Context, groupID, userID string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := do(a.as(c), c.Request().Context(), c.Param("id"), c.Param("user")); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}
