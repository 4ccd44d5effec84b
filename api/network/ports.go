package network

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountPorts(g *echo.Group) {
	g.GET("/ports", list(a, allPorts), rest.Expect(400))
	g.POST("/ports", a.createPort, a.writer("create_port"), rest.Expect(400, 403, 404, 409))
	g.GET("/ports/:id", show(a, allPorts), rest.Expect(400, 404))
	g.DELETE("/ports/:id", a.remove((*networks.Repository).DeletePort), a.writer("delete_port"), rest.Expect(403, 404, 409))
}

var allPorts = collection[networks.Port]{
	one: "port", many: "ports",
	sorts:   []string{"created_at", "name", "id", "mac_address"},
	matched: []string{"status", "device_owner", "admin_state_up", "binding:host_id"},
	list: func(ctx context.Context, r *networks.Repository, q query) ([]networks.Port, error) {
		f := models.PortFilter{
			IDs: q.get("id"), ServerIDs: q.get("device_id"), NetworkIDs: q.get("network_id"), ProjectID: q.project(),
			Names: q.get("name"), MACs: q.get("mac_address"), Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
		}
		for _, v := range q.get("fixed_ips") { // "ip_address=10.0.0.4", "subnet_id=…"
			switch key, value, _ := strings.Cut(v, "="); key {
			case "ip_address":
				f.IPs = append(f.IPs, value)
			case "subnet_id":
				f.SubnetIDs = append(f.SubnetIDs, value)
			default:
				return nil, badRequest("Invalid input for fixed_ips. Reason: '%s' is not a filter of fixed_ips.", v)
			}
		}
		return r.Ports(ctx, f)
	},
	find: (*networks.Repository).Port,
	view: portView,
}

func portView(p networks.Port) object {
	ips := make([]object, len(p.FixedIPs))
	for i, ip := range p.FixedIPs {
		ips[i] = object{"subnet_id": ip.SubnetID, "ip_address": ip.IP}
	}
	status, device, deviceOwner := "DOWN", "", ""
	if p.ServerID != nil {
		status, device, deviceOwner = "ACTIVE", *p.ServerID, "compute:nova"
	}
	v := object{
		"id": p.ID, "name": p.Name, "description": "", "network_id": p.NetworkID, "project_id": p.ProjectID, "tenant_id": p.ProjectID,
		"mac_address": p.MAC, "fixed_ips": ips, "ip_allocation": p.IPAllocation, "admin_state_up": true, "status": status, "device_id": device,
		"device_owner": deviceOwner, "security_groups": []string{ids.SecurityGroup(p.ProjectID)},
		"port_security_enabled": true, "allowed_address_pairs": []any{}, "extra_dhcp_opts": []any{}, "binding:vnic_type": "normal",
		"dns_name": "", "dns_assignment": []any{}, "qos_policy_id": nil, "tags": []string{},
		"created_at": rest.Time(p.CreatedAt), "updated_at": rest.Time(p.UpdatedAt), "revision_number": 1,
	}
	if p.Host != nil {
		vif := "unbound"
		if p.HostID != nil {
			vif = "bridge"
		}
		v["binding:host_id"], v["binding:vif_type"] = *p.Host, vif
		v["binding:profile"], v["binding:vif_details"] = object{}, object{}
	}
	return v
}

var portSchema = rest.Schema(`{"type": "object", "required": ["port"], "additionalProperties": false, "properties": {"port": {
	"type": "object", "required": ["network_id"], "additionalProperties": false, "properties": {
		"name": {"type": ["string", "null"], "maxLength": 255},
		"description": {"type": ["string", "null"], "maxLength": 0},
		"admin_state_up": {"type": "boolean"},
		"project_id": {"type": "string", "maxLength": 255}, "tenant_id": {"type": "string", "maxLength": 255},
		"network_id": {"type": "string", "format": "uuid"},
		"mac_address": {"type": "string", "maxLength": 32},
		"device_id": {"type": "string", "maxLength": 0}, "device_owner": {"type": "string", "maxLength": 0},
		"fixed_ips": {"type": "array", "maxItems": 16, "items": {"type": "object", "additionalProperties": false,
			"properties": {"subnet_id": {"type": "string", "format": "uuid"}, "ip_address": {"type": "string", "maxLength": 64}}}},
		"security_groups": {"type": ["array", "null"], "maxItems": 1, "items": {"type": "string"}},
		"port_security_enabled": {"const": true},
		"binding:vnic_type": {"const": "normal"},
		"allowed_address_pairs": {"type": ["array", "null"], "maxItems": 0},
		"tags": {"type": "array", "maxItems": 0}
	}
}}}`)

func (a *API) createPort(c echo.Context) error {
	var body struct {
		Port struct {
			Name      string  `json:"name"`
			Up        *bool   `json:"admin_state_up"`
			Project   string  `json:"project_id"`
			Tenant    string  `json:"tenant_id"`
			NetworkID string  `json:"network_id"`
			MAC       *string `json:"mac_address"`
			FixedIPs  []struct {
				SubnetID string  `json:"subnet_id"`
				IP       *string `json:"ip_address"`
			} `json:"fixed_ips"`
			Groups []string `json:"security_groups"`
		} `json:"port"`
	}
	if err := rest.Bind(c, portSchema, &body); err != nil {
		return err
	}
	in := body.Port
	if err := alwaysUp(in.Up); err != nil {
		return err
	}
	asked := networks.NewPort{
		NetworkID: in.NetworkID, ProjectID: cmp.Or(in.Project, in.Tenant), Name: in.Name, MAC: in.MAC, SecurityGroups: in.Groups,
	}
	if in.FixedIPs != nil {
		asked.FixedIPs = make([]networks.NewFixedIP, len(in.FixedIPs))
		for i, f := range in.FixedIPs {
			asked.FixedIPs[i] = networks.NewFixedIP(f)
		}
	}
	p, err := a.networksFor(c).CreatePort(c.Request().Context(), asked)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, object{"port": portView(p)})
}
