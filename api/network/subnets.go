package network

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountSubnets(g *echo.Group) {
	g.GET("/subnets", a.listSubnets, rest.Expect(400))
	g.POST("/subnets", a.createSubnet, writer("create_subnet"), rest.Expect(400, 403, 404, 409))
	g.GET("/subnets/:id", a.showSubnet, rest.Expect(400, 404))
	g.DELETE("/subnets/:id", a.deleteSubnet, writer("delete_subnet"), rest.Expect(403, 404, 409))
}

type pool struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

func versionOf(cidr string) int {
	if p, err := netip.ParsePrefix(cidr); err == nil && p.Addr().Is6() {
		return 6
	}
	return 4
}

func subnetView(s models.Subnet) object {
	dns := s.DNSServers
	if dns == nil {
		dns = []string{}
	}
	return object{
		"id": s.ID, "name": s.Name, "description": "", "network_id": s.NetworkID, "project_id": s.ProjectID, "tenant_id": s.ProjectID,
		"cidr": s.CIDR, "ip_version": versionOf(s.CIDR), "gateway_ip": s.GatewayIP, "enable_dhcp": s.EnableDHCP,
		"allocation_pools": []pool{{s.PoolStart, s.PoolEnd}}, "dns_nameservers": dns, "host_routes": []any{},
		"ipv6_address_mode": nil, "ipv6_ra_mode": nil, "subnetpool_id": nil, "segment_id": nil, "service_types": []string{},
		"tags": []string{}, "created_at": rest.Time(s.CreatedAt), "updated_at": rest.Time(s.UpdatedAt), "revision_number": 1,
	}
}

var subnetSorts = map[string]string{"created_at": "created_at", "name": "name", "id": "id", "cidr": "cidr"}

func (a *API) listSubnets(c echo.Context) error {
	q, err := listQuery(c, subnetSorts)
	if err != nil {
		return err
	}
	caller := rest.CallerOf(c)
	f := models.SubnetFilter{
		ProjectID: caller.ProjectID, Admin: caller.Admin(), Names: q.get("name"),
		Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
	}
	var none, noNetwork bool
	f.IDs, none = q.ids("id")
	f.NetworkIDs, noNetwork = q.ids("network_id")
	if v := q.get("cidr"); len(v) > 0 {
		f.CIDR = v[0]
	}
	var subnets []models.Subnet
	if !none && !noNetwork {
		if subnets, err = a.store.ListSubnets(c.Request().Context(), f); err != nil {
			return markerOf(err, q.page.Marker)
		}
	}
	rows := make([]object, len(subnets))
	last := ""
	for i, s := range subnets {
		rows[i], last = subnetView(s), s.ID
	}
	rows = q.keep(rows, "ip_version", "enable_dhcp", "gateway_ip", "project_id", "tenant_id")
	return q.answer(c, "subnets", rows, len(subnets), last)
}

// subnet finds one on a network that the caller sees.
func (a *API) subnet(c echo.Context, id string) (models.Subnet, error) {
	if !isUUID(id) {
		return models.Subnet{}, notFound("Subnet", id)
	}
	s, err := a.store.Subnet(c.Request().Context(), id)
	if err != nil {
		return s, absent(err, "Subnet", id)
	}
	if !see(c, s.ProjectID) {
		if _, err := a.network(c, s.NetworkID); err != nil {
			return s, notFound("Subnet", id)
		}
	}
	return s, nil
}

func (a *API) showSubnet(c echo.Context) error {
	s, err := a.subnet(c, c.Param("id"))
	if err != nil {
		return err
	}
	q, err := listQuery(c, subnetSorts)
	if err != nil {
		return err
	}
	row := subnetView(s)
	q.cut(row)
	return c.JSON(http.StatusOK, object{"subnet": row})
}

var subnetSchema = rest.Schema(`{"type": "object", "required": ["subnet"], "additionalProperties": false, "properties": {"subnet": {
	"type": "object", "required": ["network_id", "cidr"], "additionalProperties": false, "properties": {
		"name": {"type": ["string", "null"], "maxLength": 255},
		"description": {"type": ["string", "null"], "maxLength": 0},
		"project_id": {"type": "string", "maxLength": 255}, "tenant_id": {"type": "string", "maxLength": 255},
		"network_id": {"type": "string", "format": "uuid"},
		"cidr": {"type": "string", "maxLength": 64},
		"ip_version": {"enum": [4, 6]},
		"gateway_ip": {"type": ["string", "null"], "maxLength": 64},
		"enable_dhcp": {"type": "boolean"},
		"dns_nameservers": {"type": ["array", "null"], "maxItems": 16, "items": {"type": "string", "maxLength": 64}},
		"allocation_pools": {"type": ["array", "null"], "maxItems": 1, "items": {"type": "object", "required": ["start", "end"],
			"additionalProperties": false, "properties": {"start": {"type": "string", "minLength": 1, "maxLength": 64}, "end": {"type": "string", "minLength": 1, "maxLength": 64}}}},
		"host_routes": {"type": ["array", "null"], "maxItems": 0},
		"tags": {"type": "array", "maxItems": 0}
	}
}}}`)

func (a *API) createSubnet(c echo.Context) error {
	var body struct {
		Subnet struct {
			Name      *string         `json:"name"`
			Project   string          `json:"project_id"`
			Tenant    string          `json:"tenant_id"`
			NetworkID string          `json:"network_id"`
			CIDR      string          `json:"cidr"`
			IPVersion int             `json:"ip_version"`
			Gateway   json.RawMessage `json:"gateway_ip"`
			DHCP      *bool           `json:"enable_dhcp"`
			DNS       []string        `json:"dns_nameservers"`
			Pools     []pool          `json:"allocation_pools"`
		} `json:"subnet"`
	}
	if err := rest.Bind(c, subnetSchema, &body); err != nil {
		return err
	}
	in := body.Subnet
	cidr, err := ipam.CIDR(in.CIDR)
	if err != nil {
		return err
	}
	if in.IPVersion != 0 {
		if err := ipam.SameVersion(in.IPVersion, "cidr", in.CIDR, cidr.Addr()); err != nil {
			return err
		}
	}
	s := models.Subnet{
		ID: uuid.NewString(), CIDR: in.CIDR, GatewayIP: usualGateway(cidr), DNSServers: in.DNS, EnableDHCP: in.DHCP == nil || *in.DHCP,
		Name: orEmpty(in.Name), CreatedAt: a.now(), UpdatedAt: a.now(),
	}
	if len(in.Gateway) > 0 {
		s.GatewayIP = nil // null is none
		if err := json.Unmarshal(in.Gateway, &s.GatewayIP); err != nil {
			return badRequest("Invalid input for gateway_ip. Reason: it is no address.")
		}
	}
	if len(in.Pools) > 0 {
		s.PoolStart, s.PoolEnd = in.Pools[0].Start, in.Pools[0].End
	}
	n, err := a.network(c, in.NetworkID)
	if err != nil {
		return err
	}
	if !see(c, n.ProjectID) { // a shared network shows, but is its owner's to change
		return forbidden("create_subnet")
	}
	if s.ProjectID, err = owner(c, in.Project, in.Tenant, "create_subnet:tenant_id"); err != nil {
		return err
	}
	s.NetworkID = n.ID
	if s, err = a.store.CreateSubnet(c.Request().Context(), s); err != nil {
		return fmt.Errorf("create a subnet of network %s: %w", n.ID, err)
	}
	return c.JSON(http.StatusCreated, object{"subnet": subnetView(s)})
}

// usualGateway is the first address after the network's own, where there is one.
func usualGateway(cidr netip.Prefix) *string {
	if cidr.IsSingleIP() {
		return nil
	}
	return new(cidr.Addr().Next().String())
}

func (a *API) deleteSubnet(c echo.Context) error {
	s, err := a.subnet(c, c.Param("id"))
	if err != nil {
		return err
	}
	if !see(c, s.ProjectID) {
		return forbidden("delete_subnet")
	}
	err = a.store.DeleteSubnet(c.Request().Context(), s.ID)
	if fault.Is(err, fault.Conflict) {
		return rest.NeutronType("SubnetInUse", fault.Wrap(fault.Conflict, err,
			"Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", s.ID))
	}
	if err != nil {
		return absent(err, "Subnet", s.ID)
	}
	return c.NoContent(http.StatusNoContent)
}
