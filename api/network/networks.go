package network

import (
	"context"
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

func (a *API) mountNetworks(g *echo.Group) {
	g.GET("/networks", a.listNetworks, rest.Expect(400))
	g.POST("/networks", a.createNetwork, writer("create_network"), rest.Expect(400, 403, 409))
	g.GET("/networks/:id", a.showNetwork, rest.Expect(400, 404))
	g.DELETE("/networks/:id", a.deleteNetwork, writer("delete_network"), rest.Expect(403, 404, 409))
}

// createdSorts are the sort keys that networks, subnets and ports share.
var createdSorts = map[string]string{"created_at": "created_at", "name": "name", "id": "id"}

func networkView(n models.Network) object {
	subnets := make([]string, len(n.Subnets))
	for i, s := range n.Subnets {
		subnets[i] = s.ID
	}
	return object{
		"id": n.ID, "name": n.Name, "description": n.Description, "project_id": n.ProjectID, "tenant_id": n.ProjectID,
		"admin_state_up": true, "status": "ACTIVE", "shared": n.Shared, "mtu": n.MTU, "subnets": subnets,
		"router:external": false, "port_security_enabled": true, "is_default": false, "tags": []string{},
		"availability_zone_hints": []string{}, "availability_zones": []string{}, "ipv4_address_scope": nil,
		"ipv6_address_scope": nil, "created_at": rest.Time(n.CreatedAt), "updated_at": rest.Time(n.UpdatedAt), "revision_number": 1,
	}
}

func (a *API) listNetworks(c echo.Context) error {
	q, err := listQuery(c, createdSorts)
	if err != nil {
		return err
	}
	caller := rest.CallerOf(c)
	f := models.NetworkFilter{
		ProjectID: caller.ProjectID, Admin: caller.Admin(), Names: q.get("name"), OwnerID: q.project(),
		Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
	}
	ids, none := q.ids("id")
	f.IDs = ids
	if on, given := parseBool(q.get("shared")); given {
		f.Shared = &on
	}
	var networks []models.Network
	if !none {
		if networks, err = a.store.ListNetworks(c.Request().Context(), f); err != nil {
			return markerOf(err, q.page.Marker)
		}
	}
	rows := make([]object, len(networks))
	last := ""
	for i, n := range networks {
		rows[i], last = networkView(n), n.ID
	}
	rows = q.keep(rows, "status", "admin_state_up", "description", "router:external", "mtu", "is_default")
	return q.answer(c, "networks", rows, len(networks), last)
}

// network finds one that the caller sees.
func (a *API) network(c echo.Context, id string) (models.Network, error) {
	if !isUUID(id) {
		return models.Network{}, notFound("Network", id)
	}
	n, err := a.store.Network(c.Request().Context(), id)
	if err != nil {
		return n, absent(err, "Network", id)
	}
	if !n.Shared && !see(c, n.ProjectID) {
		return n, notFound("Network", id)
	}
	return n, nil
}

func (a *API) showNetwork(c echo.Context) error {
	n, err := a.network(c, c.Param("id"))
	if err != nil {
		return err
	}
	q, err := listQuery(c, createdSorts)
	if err != nil {
		return err
	}
	row := networkView(n)
	q.cut(row)
	return c.JSON(http.StatusOK, object{"network": row})
}

var networkSchema = rest.Schema(`{"type": "object", "required": ["network"], "additionalProperties": false, "properties": {"network": {
	"type": "object", "additionalProperties": false, "properties": {` + nameProperties + `,
		"shared": {"type": "boolean"},
		"mtu": {"type": "integer"},
		"router:external": {"const": false}, "is_default": {"const": false}, "port_security_enabled": {"const": true}
	}
}}}`)

func (a *API) createNetwork(c echo.Context) error {
	var body struct {
		Network struct {
			Name        *string `json:"name"`
			Description *string `json:"description"`
			Up          *bool   `json:"admin_state_up"`
			Project     string  `json:"project_id"`
			Tenant      string  `json:"tenant_id"`
			Shared      bool    `json:"shared"`
			MTU         int     `json:"mtu"`
		} `json:"network"`
	}
	if err := rest.Bind(c, networkSchema, &body); err != nil {
		return err
	}
	in := body.Network
	if err := alwaysUp(in.Up); err != nil {
		return err
	}
	if in.Shared && !rest.CallerOf(c).Admin() {
		return forbidden("create_network and rule:create_network:shared")
	}
	project, err := owner(c, in.Project, in.Tenant, "create_network:tenant_id")
	if err != nil {
		return err
	}
	if in.MTU == 0 { // Neutron: the default
		in.MTU = DefaultMTU
	}
	if err := ipam.MTU(in.MTU); err != nil {
		return err
	}
	now := a.now()
	n, err := a.store.CreateNetwork(c.Request().Context(), models.Network{
		ID: uuid.NewString(), ProjectID: project, Name: orEmpty(in.Name), Description: orEmpty(in.Description), Shared: in.Shared,
		MTU: in.MTU, CreatedAt: now, UpdatedAt: now,
	})
	if err != nil {
		return fmt.Errorf("create a network: %w", err)
	}
	return c.JSON(http.StatusCreated, object{"network": networkView(n)})
}

func (a *API) deleteNetwork(c echo.Context) error {
	n, err := a.network(c, c.Param("id"))
	if err != nil {
		return err
	}
	if !see(c, n.ProjectID) {
		return forbidden("delete_network")
	}
	err = a.store.DeleteNetwork(c.Request().Context(), n.ID)
	if fault.Is(err, fault.Conflict) {
		return rest.NeutronType("NetworkInUse", fault.Wrap(fault.Conflict, err,
			"Unable to complete operation on network %s. There are one or more ports still in use on the network.", n.ID))
	}
	if err != nil {
		return absent(err, "Network", n.ID)
	}
	return c.NoContent(http.StatusNoContent)
}

// EnsureDefaultNetwork makes a network that every project shares, with one subnet of the CIDR: the first address is the
// gateway's, the rest up to the last but one are given to servers. A network of that name and project is left as it is.
func EnsureDefaultNetwork(ctx context.Context, store *models.Store, projectID, name, cidr string, dns ...string) (models.Network, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return models.Network{}, fmt.Errorf("default network %q: %w", cidr, err)
	}
	prefix = prefix.Masked()
	s := models.Subnet{
		ID: uuid.NewString(), Name: name, ProjectID: projectID, CIDR: prefix.String(), GatewayIP: usualGateway(prefix), DNSServers: dns, EnableDHCP: true,
	}
	n, err := store.EnsureNetwork(ctx, models.Network{
		ID: uuid.NewString(), ProjectID: projectID, Name: name, Shared: true, MTU: DefaultMTU,
	}, s)
	if err != nil {
		return n, fmt.Errorf("make the default network: %w", err)
	}
	return n, nil
}
