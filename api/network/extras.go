package network

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// mountExtras adds what clients read before they create servers: extensions, the security group, quotas.
func (a *API) mountExtras(g *echo.Group) {
	g.GET("/extensions", a.listExtensions)
	g.GET("/extensions/:alias", a.showExtension, rest.Expect(404))
	g.GET("/security-groups", a.listGroups, rest.Expect(400))
	g.GET("/security-groups/:id", a.showGroup, rest.Expect(404))
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

// group is read-only: packets are not filtered yet, and a rule that nothing enforces would be a lie.
func group(projectID string) object {
	return object{
		"id": ids.SecurityGroup(projectID), "name": "default", "description": "Default security group: all traffic passes",
		"project_id": projectID, "tenant_id": projectID, "security_group_rules": []any{}, "stateful": true, "tags": []string{},
		"shared": false, "revision_number": 1, "created_at": nil, "updated_at": nil,
	}
}

func (a *API) listGroups(c echo.Context) error {
	q, err := listQuery(c, map[string]string{"name": "name", "id": "id"})
	if err != nil {
		return err
	}
	rows := q.keep([]object{group(rest.CallerOf(c).ProjectID)}, "id", "name", "project_id", "tenant_id")
	return q.answer(c, "security_groups", rows, 0, "")
}

func (a *API) showGroup(c echo.Context) error {
	project := rest.CallerOf(c).ProjectID
	if id := c.Param("id"); id != ids.SecurityGroup(project) {
		return rest.NeutronType("SecurityGroupNotFound", fault.New(fault.NotFound, "Security group %s does not exist", id))
	}
	return c.JSON(http.StatusOK, object{"security_group": group(project)})
}

func (a *API) listRules(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"security_group_rules": []any{}})
}

// showQuota says that networks, subnets and ports are not limited, and that the rest does not exist.
func (a *API) showQuota(c echo.Context) error {
	if !see(c, c.Param("id")) {
		return forbidden("get_quota")
	}
	return c.JSON(http.StatusOK, object{"quota": map[string]int{
		"network": -1, "subnet": -1, "port": -1, "subnetpool": 0, "router": 0, "floatingip": 0, "rbac_policy": 0,
		"security_group": 1, "security_group_rule": 0,
	}})
}
