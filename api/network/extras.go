package network

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// mountExtras adds what clients read before they create servers: extensions, the security group, quotas.
func (a *API) mountExtras(g *echo.Group) {
	g.GET("/extensions", a.listExtensions)
	g.GET("/extensions/:alias", a.showExtension, rest.Expect(404))
	g.GET("/security-groups", list(a, allGroups), rest.Expect(400))
	g.GET("/security-groups/:id", show(a, allGroups), rest.Expect(400, 404))
	g.GET("/security-group-rules", a.listRules)
	g.GET("/quotas/:id", a.showQuota, rest.Expect(403))
	g.GET("/quotas/:id/default", a.showQuota, rest.Expect(403))
	g.GET("/quotas/:id/details.json", a.showQuota, rest.Expect(403))
}

// extensions are those whose attributes are really there.
var extensions = []object{
	extension("binding", "Port Binding", "Expose port bindings of a virtual port to external application"),
	extension("ip_allocation", "IP Allocation", "IP allocation extension."),
	extension("net-mtu", "Network MTU", "Provides MTU attribute for a network resource."),
	extension("net-mtu-writable", "Network MTU (writable)", "Provides a writable MTU attribute for a network resource."),
	extension("project-id", "project_id field enabled", "Extension that indicates that project_id field is enabled."),
	extension("quotas", "Quota management support", "Expose functions for quotas management per tenant"),
	extension("security-group", "security-group", "The security groups extension."),
	extension("sorting", "Sorting support", "Extension that indicates that sorting is enabled."),
	extension("pagination", "Pagination support", "Extension that indicates that pagination is enabled."),
	extension("standard-attr-timestamp", "Resource timestamps", "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes."),
}

func extension(alias, name, description string) object {
	return object{"alias": alias, "name": name, "description": description, "links": []any{}, "updated": "2015-03-25T10:00:00-00:00"}
}

func (a *API) listExtensions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"extensions": extensions})
}

func (a *API) showExtension(c echo.Context) error {
	alias := c.Param("alias")
	for _, e := range extensions {
		if e["alias"] == alias {
			return c.JSON(http.StatusOK, object{"extension": e})
		}
	}
	return rest.NeutronType("HTTPNotFound", fault.New(fault.NotFound, "Extension with alias %s does not exist", alias))
}

var allGroups = collection[networks.SecurityGroup]{
	one: "security_group", many: "security_groups",
	sorts:   []string{"name", "id"},
	matched: []string{"id", "name", "project_id", "tenant_id"},
	unpaged: true,
	list: func(_ context.Context, r *networks.Repository, _ query) ([]networks.SecurityGroup, error) {
		return r.SecurityGroups(), nil
	},
	find: func(r *networks.Repository, _ context.Context, id string) (networks.SecurityGroup, error) {
		return r.SecurityGroup(id)
	},
	view: groupView,
}

func groupView(g networks.SecurityGroup) object {
	return object{
		"id": g.ID, "name": g.Name, "description": g.Description, "project_id": g.ProjectID, "tenant_id": g.ProjectID,
		"security_group_rules": []any{}, "stateful": true, "tags": []string{},
		"shared": false, "revision_number": 1, "created_at": nil, "updated_at": nil,
	}
}

func (a *API) listRules(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"security_group_rules": []any{}})
}

func (a *API) showQuota(c echo.Context) error {
	quota, err := a.networksFor(c).Quota(c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"quota": quota})
}
