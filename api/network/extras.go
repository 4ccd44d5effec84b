package network

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// mountExtras adds what clients read first: which extensions there are.
func (a *API) mountExtras(g *echo.Group) {
	g.GET("/extensions", a.listExtensions)
	g.GET("/extensions/:alias", a.showExtension, rest.Expect(404))
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
	{"ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Extension of the router abstraction for specifying whether SNAT should occur on the external gateway",
		"2013-03-28T10:00:00-00:00", true},
	{"external-net", "Neutron external network", "Adds external network attribute to network resource.", "2013-01-14T10:00:00-00:00", true},
	{"extraroute", "Neutron Extra Route", "Extra routes configuration for L3 router", "2013-02-01T10:00:00-00:00", true},
	{"filter-validation", "Filter parameters validation", "Provides validation on filter parameters.", "2018-07-04T10:00:00-00:00", false},
	{"ip_allocation", "IP Allocation", "IP allocation extension.", "2016-06-10T23:00:00-00:00", false},
	{"net-mtu", "Network MTU", "Provides MTU attribute for a network resource.", "2015-03-25T10:00:00-00:00", false},
	{"net-mtu-writable", "Network MTU (writable)", "Provides a writable MTU attribute for a network resource.", "2017-07-12T00:00:00-00:00", false},
	{"pagination", "Pagination support", "Extension that indicates that pagination is enabled.", "2016-06-12T00:00:00-00:00", false},
	{"port-security", "Port Security", "Provides port security", "2012-07-23T10:00:00-00:00", true},
	{"port-security-groups-filtering", "Port filtering on security groups", "Provides security groups filtering when listing ports", "2018-01-09T09:00:00-00:00", true},
	{"project-id", "project_id field enabled", "Extension that indicates that project_id field is enabled.", "2016-09-09T09:09:09-09:09", false},
	{"provider", "Provider Network", "Expose mapping of virtual networks to physical networks", "2012-09-07T10:00:00-00:00", true},
	{"quota_details", "Quota details management support", "Expose functions for quotas usage statistics per project", "2017-02-10T10:00:00-00:00", false},
	{"quotas", "Quota management support", "Expose functions for quotas management per project", "2012-07-29T10:00:00-00:00", false},
	{"revision-if-match", "If-Match constraints based on revision_number", "Extension indicating that If-Match based on revision_number is supported.", "2016-12-11T00:00:00-00:00", false},
	{"router", "Neutron L3 Router", "Router abstraction for basic L3 forwarding between L2 Neutron networks and access to external networks via a NAT gateway.",
		"2012-07-20T10:00:00-00:00", true},
	{"security-group", "security-group", "The security groups extension.", "2012-10-05T10:00:00-00:00", false},
	{"stateful-security-group", "Stateful security group", "Indicates if the security group is stateful or not", "2019-11-26T09:00:00-00:00", true},
	{"sorting", "Sorting support", "Extension that indicates that sorting is enabled.", "2016-06-12T00:00:00-00:00", false},
	{"standard-attr-description", "standard-attr-description", "Extension to add descriptions to standard attributes", "2016-02-10T10:00:00-00:00", false},
	{"standard-attr-revisions", "Resource revision numbers", "This extension will display the revision number of neutron resources.", "2016-04-11T10:00:00-00:00", false},
	{"standard-attr-tag", "Tag support for resources with standard attribute: port, security_group, subnet, network", "Enables to set tag on resources with standard attribute.",
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
