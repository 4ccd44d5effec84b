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
		"dns_nameservers": {"type": ["array", "null"], "maxItems": 5, "uniqueItems": true, "items": {"type": "string", "maxLength": 64}},
		"allocation_pools": {"type": ["array", "null"], "maxItems": 1, "items": {"type": "object", "required": ["start", "end"],
			"additionalProperties": false, "properties": {"start": {"type": "string", "maxLength": 64}, "end": {"type": "string", "maxLength": 64}}}},
		"host_routes": {"type": ["array", "null"], "maxItems": 0},
		"tags": {"type": "array", "maxItems": 0}
	}
}}}`)

// newSubnet is a subnet of the CIDR with Neutron's defaults: the first address is the gateway, the others up to the last
// (IPv4: but the broadcast address) are the pool.
func newSubnet(cidr string) (models.Subnet, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil || prefix.Addr().Zone() != "" {
		return models.Subnet{}, badRequest("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", cidr)
	}
	if prefix != prefix.Masked() {
		return models.Subnet{}, badRequest("Invalid input for cidr. Reason: '%s' isn't a recognized IP subnet cidr, '%s' is recommended.", cidr, prefix.Masked())
	}
	if prefix.Addr().BitLen()-prefix.Bits() < 2 || prefix.Bits() == 0 {
		return models.Subnet{}, badRequest("Invalid input for operation: the subnet %s is too small or too large for servers.", cidr)
	}
	gateway := prefix.Addr().Next()
	end := lastOf(prefix)
	if prefix.Addr().Is4() {
		end = end.Prev()
	}
	g := gateway.String()
	return models.Subnet{
		ID: uuid.NewString(), CIDR: prefix.String(), GatewayIP: &g, PoolStart: gateway.Next().String(), PoolEnd: end.String(), EnableDHCP: true,
	}, nil
}

// lastOf is the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

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
	s, err := newSubnet(in.CIDR)
	if err != nil {
		return err
	}
	prefix := netip.MustParsePrefix(s.CIDR)
	if in.IPVersion != 0 && in.IPVersion != versionOf(s.CIDR) {
		return badRequest("Invalid input for operation: ip_version %d and cidr %s do not match.", in.IPVersion, in.CIDR)
	}
	if len(in.Gateway) > 0 {
		if s.GatewayIP, err = gatewayOf(in.Gateway, prefix); err != nil {
			return err
		}
	}
	if err := setPool(&s, in.Pools, prefix); err != nil {
		return err
	}
	for _, d := range in.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			return badRequest("Invalid input for dns_nameservers. Reason: '%s' is not a valid nameserver.", d)
		}
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
	s.NetworkID, s.Name, s.DNSServers = n.ID, orEmpty(in.Name), in.DNS
	s.EnableDHCP = in.DHCP == nil || *in.DHCP
	s.CreatedAt, s.UpdatedAt = a.now(), a.now()
	if s, err = a.store.CreateSubnet(c.Request().Context(), s); err != nil {
		return fmt.Errorf("create a subnet of network %s: %w", n.ID, err)
	}
	return c.JSON(http.StatusCreated, object{"subnet": subnetView(s)})
}

// gatewayOf reads gateway_ip: null is none, an address must be one of the subnet.
func gatewayOf(raw json.RawMessage, prefix netip.Prefix) (*string, error) {
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, badRequest("Invalid input for gateway_ip. Reason: it is no address.")
	}
	if text == nil || *text == "" {
		return nil, nil //nolint:nilnil // no gateway
	}
	ip, err := netip.ParseAddr(*text)
	if err != nil || ip.Zone() != "" {
		return nil, badRequest("Invalid input for gateway_ip. Reason: '%s' is not a valid IP address.", *text)
	}
	if !prefix.Contains(ip) || ip == prefix.Addr() || prefix.Addr().Is4() && ip == lastOf(prefix) {
		return nil, rest.NeutronType("InvalidInput", fault.New(fault.Invalid, "Invalid input for operation: Gateway is not valid on subnet."))
	}
	canonical := ip.String()
	return &canonical, nil
}

// setPool takes the pool that was asked for, or moves the usual one out of the gateway's way.
func setPool(s *models.Subnet, pools []pool, prefix netip.Prefix) error {
	if len(pools) == 0 {
		first := prefix.Addr().Next()
		if s.GatewayIP == nil || *s.GatewayIP != first.String() {
			s.PoolStart = first.String()
		}
		// A gateway within or at the end of the range splits it; the larger part is the pool.
		if s.GatewayIP != nil {
			if g := netip.MustParseAddr(*s.GatewayIP); g.String() == s.PoolEnd {
				s.PoolEnd = g.Prev().String()
			} else if g.Compare(first) > 0 {
				s.PoolStart = g.Next().String()
			}
		}
		return nil
	}
	start, err1 := netip.ParseAddr(pools[0].Start)
	end, err2 := netip.ParseAddr(pools[0].End)
	if err1 != nil || err2 != nil || start.Zone() != "" || end.Zone() != "" {
		return badRequest("Invalid input for allocation_pools. Reason: Invalid data format for IP pool: '%s-%s'.", pools[0].Start, pools[0].End)
	}
	if end.Compare(start) < 0 {
		return rest.NeutronType("InvalidAllocationPool", fault.New(fault.Invalid, "The allocation pool %s-%s is not valid.", start, end))
	}
	if !prefix.Contains(start) || !prefix.Contains(end) || start == prefix.Addr() || prefix.Addr().Is4() && end == lastOf(prefix) {
		return rest.NeutronType("OutOfBoundsAllocationPool", fault.New(fault.Invalid,
			"The allocation pool %s-%s spans beyond the subnet cidr %s.", start, end, s.CIDR))
	}
	if s.GatewayIP != nil {
		if g := netip.MustParseAddr(*s.GatewayIP); g.Compare(start) >= 0 && g.Compare(end) <= 0 {
			return rest.NeutronType("GatewayConflictWithAllocationPools", fault.New(fault.Conflict,
				"Gateway ip %s conflicts with allocation pool %s-%s.", g, start, end))
		}
	}
	s.PoolStart, s.PoolEnd = start.String(), end.String()
	return nil
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
