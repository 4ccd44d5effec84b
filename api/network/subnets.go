package network

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountSubnets(g *echo.Group) {
	g.GET("/subnets", list(a, allSubnets), rest.Expect(400))
	g.POST("/subnets", a.createSubnet, a.writer("create_subnet"), rest.Expect(400, 403, 404, 409))
	g.GET("/subnets/:id", show(a, allSubnets), rest.Expect(400, 404))
	g.DELETE("/subnets/:id", a.remove((*networks.Repository).DeleteSubnet), a.writer("delete_subnet"), rest.Expect(403, 404, 409))
}

var allSubnets = collection[models.Subnet]{
	one: "subnet", many: "subnets",
	sorts:   []string{"created_at", "name", "id", "cidr"},
	matched: []string{"ip_version", "enable_dhcp", "gateway_ip", "project_id", "tenant_id"},
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.Subnet, error) {
		return r.Subnets(ctx, models.SubnetFilter{
			IDs: q.get("id"), NetworkIDs: q.get("network_id"), Names: q.get("name"), CIDR: q.first("cidr"),
			Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
		})
	},
	find: (*networks.Repository).Subnet,
	view: subnetView,
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
			Name      string          `json:"name"`
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
	asked := networks.NewSubnet{
		NetworkID: in.NetworkID, ProjectID: cmp.Or(in.Project, in.Tenant), Name: in.Name, CIDR: in.CIDR, IPVersion: in.IPVersion,
		NoGateway: string(in.Gateway) == "null", DNSServers: in.DNS, NoDHCP: in.DHCP != nil && !*in.DHCP,
	}
	if len(in.Gateway) > 0 {
		if err := json.Unmarshal(in.Gateway, &asked.GatewayIP); err != nil {
			return badRequest("Invalid input for gateway_ip. Reason: it is no address.")
		}
	}
	if len(in.Pools) > 0 {
		asked.PoolStart, asked.PoolEnd = in.Pools[0].Start, in.Pools[0].End
	}
	s, err := a.networksFor(c).CreateSubnet(c.Request().Context(), asked)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, object{"subnet": subnetView(s)})
}
