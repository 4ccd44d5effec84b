package network

import (
	"cmp"
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountNetworks(g *echo.Group) {
	g.GET("/networks", list(a, allNetworks), rest.Expect(400))
	g.POST("/networks", a.createNetwork, a.writer("create_network"), rest.Expect(400, 403, 404, 409))
	g.GET("/networks/:id", show(a, allNetworks), rest.Expect(400, 404))
	g.DELETE("/networks/:id", a.remove((*networks.Repository).DeleteNetwork), a.writer("delete_network"), rest.Expect(403, 404, 409))
}

var allNetworks = collection[models.Network]{
	one: "network", many: "networks",
	sorts:   []string{"created_at", "name", "id"},
	matched: []string{"status", "admin_state_up", "description", "router:external", "mtu", "is_default"},
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.Network, error) {
		return r.Networks(ctx, models.NetworkFilter{
			IDs: q.get("id"), Names: q.get("name"), OwnerID: q.project(), Shared: q.flag("shared"),
			Sort: q.sorts, Marker: q.page.Marker, Limit: q.page.Limit,
		})
	},
	find: (*networks.Repository).Network,
	view: networkView,
}

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

var networkSchema = rest.Schema(`{"type": "object", "required": ["network"], "additionalProperties": false, "properties": {"network": {
	"type": "object", "additionalProperties": false, "properties": {
		"name": {"type": ["string", "null"], "maxLength": 255},
		"description": {"type": ["string", "null"], "maxLength": 255},
		"admin_state_up": {"type": "boolean"},
		"project_id": {"type": "string", "maxLength": 255}, "tenant_id": {"type": "string", "maxLength": 255},
		"tags": {"type": "array", "maxItems": 0},
		"shared": {"type": "boolean"},
		"mtu": {"type": "integer"},
		"router:external": {"const": false}, "is_default": {"const": false}, "port_security_enabled": {"const": true}
	}
}}}`)

func (a *API) createNetwork(c echo.Context) error {
	var body struct {
		Network struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Up          *bool  `json:"admin_state_up"`
			Project     string `json:"project_id"`
			Tenant      string `json:"tenant_id"`
			Shared      bool   `json:"shared"`
			MTU         int    `json:"mtu"`
		} `json:"network"`
	}
	if err := rest.Bind(c, networkSchema, &body); err != nil {
		return err
	}
	in := body.Network
	if err := alwaysUp(in.Up); err != nil {
		return err
	}
	n, err := a.networksFor(c).CreateNetwork(c.Request().Context(), models.Network{
		ProjectID: cmp.Or(in.Project, in.Tenant), Name: in.Name, Description: in.Description, Shared: in.Shared, MTU: in.MTU,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, object{"network": networkView(n)})
}
