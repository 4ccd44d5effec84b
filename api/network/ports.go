package network

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountPorts(g *echo.Group) {
	g.GET("/ports", a.listPorts, rest.Expect(400))
	g.POST("/ports", a.createPort, writer("create_port"), rest.Expect(400, 403, 404, 409))
	g.GET("/ports/:id", a.showPort, rest.Expect(400, 404))
	g.DELETE("/ports/:id", a.deletePort, writer("delete_port"), rest.Expect(403, 404, 409))
}

// portView shows a port; hosts holds the names of hypervisors by id and is nil for those who may not know them.
func portView(p models.Port, hosts map[string]string) object {
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
	if hosts != nil {
		host, vif := "", "unbound"
		if p.HostID != nil {
			host, vif = hosts[*p.HostID], "bridge"
		}
		v["binding:host_id"], v["binding:vif_type"] = host, vif
		v["binding:profile"], v["binding:vif_details"] = object{}, object{}
	}
	return v
}

// hostNames are the hypervisors' names by id for an admin, nil for others.
func (a *API) hostNames(c echo.Context) (map[string]string, error) {
	if !rest.CallerOf(c).Admin() {
		return nil, nil //nolint:nilnil // others may not know them
	}
	hosts, err := a.store.ListHosts(c.Request().Context())
	if err != nil {
		return nil, fmt.Errorf("list the hosts: %w", err)
	}
	names := make(map[string]string, len(hosts))
	for _, h := range hosts {
		names[h.ID] = h.Hostname
	}
	return names, nil
}

var portSorts = map[string]string{"created_at": "created_at", "name": "name", "id": "id", "mac_address": "mac_address"}

func (a *API) listPorts(c echo.Context) error {
	q, err := listQuery(c, portSorts)
	if err != nil {
		return err
	}
	caller := rest.CallerOf(c)
	f := models.PortFilter{
		Names: q.get("name"), MACs: q.get("mac_address"), Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
	}
	switch wanted := q.project(); {
	case caller.Admin():
		f.ProjectID = wanted
	case wanted != "" && wanted != caller.ProjectID:
		return q.answer(c, "ports", []object{}, 0, "")
	default:
		f.ProjectID = caller.ProjectID
	}
	nothing := false
	for name, into := range map[string]*[]string{"id": &f.IDs, "device_id": &f.ServerIDs, "network_id": &f.NetworkIDs} {
		var none bool
		*into, none = q.ids(name)
		nothing = nothing || none
	}
	for _, v := range q.get("fixed_ips") { // "ip_address=10.0.0.4", "subnet_id=…"
		switch key, value, _ := strings.Cut(v, "="); key {
		case "ip_address":
			ip, err := netip.ParseAddr(value)
			if err != nil {
				return badRequest("Invalid input for fixed_ips. Reason: '%s' is not a valid IP address.", value)
			}
			f.IPs = append(f.IPs, ip.String())
		case "subnet_id":
			nothing = nothing || !isUUID(value)
			f.SubnetIDs = append(f.SubnetIDs, value)
		default:
			return badRequest("Invalid input for fixed_ips. Reason: '%s' is not a filter of fixed_ips.", v)
		}
	}
	var ports []models.Port
	if !nothing {
		if ports, err = a.store.ListPorts(c.Request().Context(), f); err != nil {
			return markerOf(err, q.page.Marker)
		}
	}
	hosts, err := a.hostNames(c)
	if err != nil {
		return err
	}
	rows := make([]object, len(ports))
	last := ""
	for i, p := range ports {
		rows[i], last = portView(p, hosts), p.ID
	}
	rows = q.keep(rows, "status", "device_owner", "admin_state_up", "binding:host_id")
	return q.answer(c, "ports", rows, len(ports), last)
}

// port finds one of the caller's.
func (a *API) port(c echo.Context, id string) (models.Port, error) {
	if !isUUID(id) {
		return models.Port{}, notFound("Port", id)
	}
	p, err := a.store.Port(c.Request().Context(), id)
	if err != nil {
		return p, absent(err, "Port", id)
	}
	if !see(c, p.ProjectID) {
		return p, notFound("Port", id)
	}
	return p, nil
}

func (a *API) showPort(c echo.Context) error {
	p, err := a.port(c, c.Param("id"))
	if err != nil {
		return err
	}
	q, err := listQuery(c, portSorts)
	if err != nil {
		return err
	}
	hosts, err := a.hostNames(c)
	if err != nil {
		return err
	}
	row := portView(p, hosts)
	q.cut(row)
	return c.JSON(http.StatusOK, object{"port": row})
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
			Name      *string `json:"name"`
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
	n, err := a.network(c, in.NetworkID)
	if err != nil {
		return err
	}
	project, err := owner(c, in.Project, in.Tenant, "create_port:tenant_id")
	if err != nil {
		return err
	}
	for _, g := range in.Groups {
		if g != ids.SecurityGroup(project) {
			return rest.NeutronType("SecurityGroupNotFound", fault.New(fault.NotFound, "Security group %s does not exist", g))
		}
	}
	p := models.Port{
		ID: uuid.NewString(), NetworkID: n.ID, ProjectID: project, Name: orEmpty(in.Name), CreatedAt: a.now(), UpdatedAt: a.now(),
	}
	if in.MAC != nil {
		if p.MAC, err = ipam.MAC(*in.MAC); err != nil {
			return err
		}
	}
	if in.FixedIPs != nil && len(in.FixedIPs) == 0 {
		p.IPAllocation = models.NoIPs
	}
	for _, f := range in.FixedIPs {
		wanted := models.FixedIP{PortID: p.ID, SubnetID: strings.ToLower(f.SubnetID)}
		if f.IP != nil {
			ip, err := ipam.Address("fixed_ips", *f.IP)
			if err != nil {
				return err
			}
			wanted.IP = ip.String()
			if slices.ContainsFunc(p.FixedIPs, func(other models.FixedIP) bool { return other.IP == wanted.IP }) {
				return ipam.BadAttribute("fixed_ips", "Duplicate IP address '%s'", wanted.IP)
			}
		}
		p.FixedIPs = append(p.FixedIPs, wanted)
	}
	if p, err = a.store.CreatePort(c.Request().Context(), p); err != nil {
		return fmt.Errorf("create a port on network %s: %w", n.ID, err)
	}
	hosts, err := a.hostNames(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, object{"port": portView(p, hosts)})
}

func (a *API) deletePort(c echo.Context) error {
	p, err := a.port(c, c.Param("id"))
	if err != nil {
		return err
	}
	err = a.store.DeletePort(c.Request().Context(), p.ID)
	if fault.Is(err, fault.Conflict) {
		return rest.NeutronType("PortInUse", fault.Wrap(fault.Conflict, err,
			"Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, orEmpty(p.ServerID)))
	}
	if err != nil {
		return absent(err, "Port", p.ID)
	}
	return c.NoContent(http.StatusNoContent)
}
