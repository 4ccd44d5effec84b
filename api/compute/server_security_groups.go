package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// groupNames are security groups as a server shows them; nil where it is in none, as in Nova.
func groupNames(groups []models.GroupRef) (all []map[string]string) {
	for _, g := range groups {
		all = append(all, map[string]string{"name": g.Name})
	}
	return all
}

// listServerGroups shows the security groups that a server's ports are in.
func (a *API) listServerGroups(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	groups, err := a.servers(c).SecurityGroups(c.Request().Context(), s)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	rows := make([]object, len(groups))
	for i, g := range groups {
		rules := []object{}
		for _, r := range g.Rules {
			if r.Direction == models.Ingress { // nova-network knew no others
				rules = append(rules, ruleView(r, names))
			}
		}
		rows[i] = object{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": rules}
	}
	return c.JSON(http.StatusOK, object{"security_groups": rows})
}

// ruleView is a rule in nova-network's form (nova/api/openstack/compute/security_groups.py, nova/network/security_group_api.py).
func ruleView(r models.SecurityGroupRule, names map[string]string) object {
	v := object{
		"id": r.ID, "parent_group_id": r.SecurityGroupID, "ip_protocol": r.Protocol, "from_port": r.PortRangeMin, "to_port": r.PortRangeMax,
		"group": object{}, "ip_range": object{},
	}
	if r.Protocol != nil && r.PortRangeMin == nil && r.PortRangeMax == nil {
		v["from_port"], v["to_port"] = -1, -1
		if p := strings.ToLower(*r.Protocol); p == "tcp" || p == "udp" {
			v["from_port"], v["to_port"] = 1, 65535
		}
	}
	switch {
	case r.RemoteGroupID != nil:
		v["group"] = object{"name": cmp.Or(names[*r.RemoteGroupID], *r.RemoteGroupID), "tenant_id": r.ProjectID}
	case r.RemoteIPPrefix != nil:
		v["ip_range"] = object{"cidr": *r.RemoteIPPrefix}
	case r.Ethertype == models.IPv6:
		v["ip_range"] = object{"cidr": "::/0"}
	default:
		v["ip_range"] = object{"cidr": "0.0.0.0/0"}
	}
	return v
}

var (
	addGroupSchema    = compile(wrapped("addSecurityGroup", strict(object{"name": nameSchema}, "name")))
	removeGroupSchema = compile(wrapped("removeSecurityGroup", strict(object{"name": nameSchema}, "name")))
)

func (a *API) addSecurityGroup(c echo.Context, asked asking) error {
	return a.regroup(c, asked, addGroupSchema, servers.Servers.AddSecurityGroup)
}

func (a *API) removeSecurityGroup(c echo.Context, asked asking) error {
	return a.regroup(c, asked, removeGroupSchema, servers.Servers.RemoveSecurityGroup)
}

func (a *API) regroup(c echo.Context, asked asking, schema *jsonschema.Schema, change func(servers.Servers, context.Context, models.Server, string) error) error {
	if err := rest.Check(schema, map[string]any{asked.rows[0].Name: asked.raw}); err != nil {
		return err
	}
	var said struct{ Name string }
	if err := json.Unmarshal(asked.raw, &said); err != nil {
		return invalid("Malformed request body")
	}
	if err := change(a.servers(c), c.Request().Context(), asked.server, said.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}
