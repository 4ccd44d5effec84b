package network

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// mountExtras adds what clients read before they create servers: extensions and the security group.
func (a *API) mountExtras(g *echo.Group) {
	g.GET("/extensions", a.listExtensions)
	g.GET("/extensions/:alias", a.showExtension, rest.Expect(404))
	g.GET("/security-groups", list(a, allGroups), rest.Expect(400))
	g.GET("/security-groups/:id", show(a, allGroups), rest.Expect(400, 404))
	g.GET("/security-group-rules", a.listRules)
}

// extensions are those whose attributes and ways are really there, with whether nothing enforces them without OVN.
var extensions = []struct {
	alias, name, description, updated string
	needsEngine                       bool
}{
	{"agent", "agent", "The agent management extension.", "2013-02-03T10:00:00-00:00", false},
	{"allowed-address-pairs", "Allowed Address Pairs", "Provides allowed address pairs", "2013-07-23T10:00:00-00:00", true},
	{"availability_zone", "Availability Zone", "The availability zone extension.", "2015-01-01T10:00:00-00:00", false},
	{"binding", "Port Binding", "Expose port bindings of a virtual port to external application", "2014-02-03T10:00:00-00:00", false},
	{"filter-validation", "Filter parameters validation", "Provides validation on filter parameters.", "2018-07-04T10:00:00-00:00", false},
	{"ip_allocation", "IP Allocation", "IP allocation extension.", "2016-06-10T23:00:00-00:00", false},
	{"net-mtu", "Network MTU", "Provides MTU attribute for a network resource.", "2015-03-25T10:00:00-00:00", false},
	{"net-mtu-writable", "Network MTU (writable)", "Provides a writable MTU attribute for a network resource.", "2017-07-12T00:00:00-00:00", false},
	{"pagination", "Pagination support", "Extension that indicates that pagination is enabled.", "2016-06-12T00:00:00-00:00", false},
	{"port-security", "Port Security", "Provides port security", "2012-07-23T10:00:00-00:00", true},
	{"project-id", "project_id field enabled", "Extension that indicates that project_id field is enabled.", "2016-09-09T09:09:09-09:09", false},
	{"quota_details", "Quota details management support", "Expose functions for quotas usage statistics per project", "2017-02-10T10:00:00-00:00", false},
	{"quotas", "Quota management support", "Expose functions for quotas management per project", "2012-07-29T10:00:00-00:00", false},
	{"revision-if-match", "If-Match constraints based on revision_number", "Extension indicating that If-Match based on revision_number is supported.", "2016-12-11T00:00:00-00:00", false},
	{"security-group", "security-group", "The security groups extension.", "2012-10-05T10:00:00-00:00", false},
	{"sorting", "Sorting support", "Extension that indicates that sorting is enabled.", "2016-06-12T00:00:00-00:00", false},
	{"standard-attr-description", "standard-attr-description", "Extension to add descriptions to standard attributes", "2016-02-10T10:00:00-00:00", false},
	{"standard-attr-revisions", "Resource revision numbers", "This extension will display the revision number of neutron resources.", "2016-04-11T10:00:00-00:00", false},
	{"standard-attr-tag", "Tag support for resources with standard attribute: port, subnet, network", "Enables to set tag on resources with standard attribute.",
		"2017-01-01T00:00:00-00:00", false},
	{"standard-attr-timestamp", "Resource timestamps", "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
		"2016-09-12T10:00:00-00:00", false},
	{"tag-ports-during-bulk-creation", "Tag Ports During Bulk Creation", "Allow to tag ports during bulk creation", "2019-12-29T19:00:00-00:00", false},
}

// offered are the extensions as they are shown.
func (a *API) offered() []object {
	all := []object{}
	for _, e := range extensions {
		if !e.needsEngine || a.networks.Engine() == networks.OVN {
			all = append(all, object{"alias": e.alias, "name": e.name, "description": e.description, "links": []any{}, "updated": e.updated})
		}
	}
	return all
}

func (a *API) listExtensions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"extensions": a.offered()})
}

func (a *API) showExtension(c echo.Context) error {
	alias := c.Param("alias")
	for _, e := range a.offered() {
		if e["alias"] == alias {
			return c.JSON(http.StatusOK, object{"extension": e})
		}
	}
	return rest.NeutronType("HTTPNotFound", fault.New(fault.NotFound, "Extension with alias %s does not exist", alias))
}

type groupRow = attribute[networks.SecurityGroup, any]

var allGroups = resource[networks.SecurityGroup, any]{
	one: "security_group", many: "security_groups",
	id: func(g networks.SecurityGroup) string { return g.ID },
	attributes: table[networks.SecurityGroup, any]{
		groupRow{"id", filter | sorts, anyText, nil, func(g networks.SecurityGroup) any { return g.ID }},
		groupRow{"name", filter | sorts, anyText, nil, func(g networks.SecurityGroup) any { return g.Name }},
		groupRow{"description", filter, anyText, nil, func(g networks.SecurityGroup) any { return g.Description }},
		groupRow{"project_id", filter | sorts, anyText, nil, func(g networks.SecurityGroup) any { return g.ProjectID }},
		groupRow{"tenant_id", filter | sorts, anyText, nil, func(g networks.SecurityGroup) any { return g.ProjectID }},
		groupRow{"stateful", filter, boolean, nil, func(networks.SecurityGroup) any { return true }},
		groupRow{"shared", filter, boolean, nil, func(networks.SecurityGroup) any { return false }},
		groupRow{"security_group_rules", 0, nil, nil, func(networks.SecurityGroup) any { return []any{} }},
		groupRow{"tags", 0, nil, nil, func(networks.SecurityGroup) any { return []string{} }},
		groupRow{"revision_number", 0, nil, nil, func(networks.SecurityGroup) any { return 1 }},
		groupRow{"created_at", 0, nil, nil, func(networks.SecurityGroup) any { return nil }},
		groupRow{"updated_at", 0, nil, nil, func(networks.SecurityGroup) any { return nil }},
	},
	few: func(r *networks.Repository, _ context.Context) ([]networks.SecurityGroup, error) {
		return r.SecurityGroups(), nil
	},
	find: func(r *networks.Repository, _ context.Context, id string) (networks.SecurityGroup, error) {
		return r.SecurityGroup(id)
	},
}

func (a *API) listRules(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"security_group_rules": []any{}})
}
