package identity

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// mountCatalog adds where the services are: this API's own, and what an admin adds to them.
func (a *API) mountCatalog(g reading) {
	g.GET("/auth/catalog", a.showCatalog, rest.Expect())

	g.GET("/regions", list(a, allRegions, every((*identity.Repository).Regions)), rest.Expect(400))
	g.POST("/regions", a.createRegion, a.keeper("create_region"), rest.Expect(400, 403, 404, 409))
	g.GET("/regions/:id", show(a, allRegions, (*identity.Repository).Region), rest.Expect(404))
	g.PUT("/regions/:id", a.createRegion, a.keeper("create_region"), rest.Expect(400, 403, 404, 409))
	g.PATCH("/regions/:id", a.updateRegion, a.keeper("update_region"), rest.Expect(400, 403, 404))
	g.DELETE("/regions/:id", a.remove((*identity.Repository).DeleteRegion), rest.Expect(403, 404))

	g.GET("/services", list(a, allServices, every((*identity.Repository).Services)), rest.Expect(400))
	g.POST("/services", a.createService, a.keeper("create_service"), rest.Expect(400, 403))
	g.GET("/services/:id", show(a, allServices, (*identity.Repository).Service), rest.Expect(404))
	g.PATCH("/services/:id", a.updateService, a.keeper("update_service"), rest.Expect(400, 403, 404))
	g.DELETE("/services/:id", a.remove((*identity.Repository).DeleteService), rest.Expect(403, 404))

	g.GET("/endpoints", list(a, allEndpoints, every((*identity.Repository).Endpoints)), rest.Expect(400))
	g.POST("/endpoints", a.createEndpoint, a.keeper("create_endpoint"), rest.Expect(400, 403))
	g.GET("/endpoints/:id", show(a, allEndpoints, (*identity.Repository).Endpoint), rest.Expect(404))
	g.PATCH("/endpoints/:id", a.updateEndpoint, a.keeper("update_endpoint"), rest.Expect(400, 403, 404))
	g.DELETE("/endpoints/:id", a.remove((*identity.Repository).DeleteEndpoint), rest.Expect(403, 404))
}

var allRegions = collection[models.Region]{
	one: "region", many: "regions",
	filters: filters{texts: []string{"id", "description", "parent_region_id"}},
	view: func(c echo.Context, r models.Region) object {
		return shown(r.Extra, object{
			"id": r.ID, "description": r.Description, "parent_region_id": r.ParentRegionID, "links": self(c, "regions", r.ID),
		})
	},
}

var allServices = collection[models.Service]{
	one: "service", many: "services",
	filters: filters{texts: []string{"id", "name", "type", "description"}, enabled: true},
	view: func(c echo.Context, v models.Service) object {
		return shown(v.Extra, object{
			"id": v.ID, "name": v.Name, "type": v.Type, "enabled": v.Enabled, "description": v.Description, "links": self(c, "services", v.ID),
		})
	},
}

// The openstack command line filters by region and means the region's id.
var allEndpoints = collection[models.Endpoint]{
	one: "endpoint", many: "endpoints",
	filters: filters{
		texts: []string{"id", "interface", "service_id", "region_id"}, enabled: true, renamed: map[string]string{"region": "region_id"},
	},
	view: func(c echo.Context, e models.Endpoint) object {
		return shown(e.Extra, object{
			"id": e.ID, "interface": e.Interface, "region": e.RegionID, "region_id": e.RegionID, "service_id": e.ServiceID,
			"url": identity.Written(e, rest.BaseURL(c)), "enabled": e.Enabled, "links": self(c, "endpoints", e.ID),
		})
	},
}

// catalog is what a token for the project and user shows.
func (a *API) catalog(c echo.Context, projectID, userID string) ([]any, error) {
	entries, err := a.service.Catalog(c.Request().Context(), rest.BaseURL(c), projectID, userID)
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, len(entries))
	for _, s := range entries {
		endpoints := make([]any, 0, len(s.Addresses))
		for _, e := range s.Addresses {
			endpoints = append(endpoints, object{
				"id": e.ID, "interface": e.Interface, "region": e.RegionID, "region_id": e.RegionID, "url": e.URL,
			})
		}
		list = append(list, object{"id": s.ID, "type": s.Type, "name": s.Name, "endpoints": endpoints})
	}
	return list, nil
}

func (a *API) showCatalog(c echo.Context) error {
	caller := rest.CallerOf(c)
	list, err := a.catalog(c, caller.ProjectID, caller.UserID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{
		"catalog": list, "links": object{"self": rest.URL(c, "/v3/auth/catalog")},
	})
}

// Attributes after Keystone's schemas (keystone/catalog/schema.py).
const (
	regionRef    = `: {"type": ["string", "null"], "minLength": 1, "maxLength": 255}`
	endpointID   = `"service_id": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}`
	endpointFace = `"interface": {"type": "string", "enum": ["admin", "internal", "public"]}`
	endpointURL  = `"url": {"type": "string", "maxLength": 225, "pattern": "^[a-zA-Z0-9+.-]+:.+"}`
	calledOrNot  = `"name": {"type": ["string", "null"], "maxLength": 255}`
	serviceType  = `"type": {"type": "string", "minLength": 1, "maxLength": 255}`
)

var (
	regionAttributes   = []string{`"id": {"type": "string", "maxLength": 255, "pattern": "^[^/]*$"}`, described, `"parent_region_id"` + regionRef}
	serviceAttributes  = []string{serviceType, calledOrNot, described, switched}
	endpointAttributes = []string{
		endpointID, endpointFace, endpointURL, switched, calledOrNot, described, `"region_id"` + regionRef, `"region"` + regionRef,
	}
	newRegionSchema   = schemaOf("region", nil, regionAttributes...)
	regionPatch       = schemaOf("region", nil, regionAttributes[1:]...)
	newServiceSchema  = schemaOf("service", []string{"type"}, serviceAttributes...)
	servicePatch      = schemaOf("service", nil, serviceAttributes...)
	newEndpointSchema = schemaOf("endpoint", []string{"service_id", "interface", "url"}, endpointAttributes...)
	endpointPatch     = schemaOf("endpoint", nil, endpointAttributes...)
)

// createRegion is POST, and PUT with the id in the path.
func (a *API) createRegion(c echo.Context) error {
	in, err := bind(c, newRegionSchema, "region")
	if err != nil {
		return err
	}
	id := in.or("id")
	if named := c.Param("id"); named != "" {
		if id != "" && id != named {
			return rest.Status(http.StatusBadRequest, "The region's id in the body is not the one in the path.")
		}
		id = named
	}
	if strings.Contains(id, "/") || utf8.RuneCountInString(id) > 255 {
		return rest.Status(http.StatusBadRequest, "A region's id has at most 255 characters, and no / among them.")
	}
	region, err := a.as(c).CreateRegion(c.Request().Context(), models.Region{
		ID: id, Description: in.or("description"), ParentRegionID: in.reference("parent_region_id"), Extra: in.additional("parent_region_id", "description"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allRegions, region)
}

func (a *API) updateRegion(c echo.Context) error {
	in, err := bind(c, regionPatch, "region")
	if err != nil {
		return err
	}
	region, err := a.as(c).UpdateRegion(c.Request().Context(), c.Param("id"), models.RegionPatch{
		Description: in.text("description"), ParentRegionID: in.text("parent_region_id"), Extra: in.additional("parent_region_id", "description"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allRegions, region)
}

func (a *API) createService(c echo.Context) error {
	in, err := bind(c, newServiceSchema, "service")
	if err != nil {
		return err
	}
	v, err := a.as(c).CreateService(c.Request().Context(), models.Service{
		Type: in.or("type"), Name: in.or("name"), Description: in.or("description"), Enabled: in.on(), Extra: in.extra("type"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allServices, v)
}

func (a *API) updateService(c echo.Context) error {
	in, err := bind(c, servicePatch, "service")
	if err != nil {
		return err
	}
	v, err := a.as(c).UpdateService(c.Request().Context(), c.Param("id"), models.ServicePatch{
		Type: in.text("type"), Name: in.text("name"), Description: in.text("description"), Enabled: in.flag("enabled"), Extra: in.extra("type"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allServices, v)
}

// placeOf is an endpoint's region. One that is named as "region", as clients of Keystone v2 did and the openstack command line does, is
// made where it is not there.
func placeOf(in attributes) (region *string, makeIt bool) {
	if region = in.text("region_id"); region != nil {
		return region, false
	}
	region = in.text("region")
	return region, region != nil && *region != ""
}

var endpointKnown = []string{"service_id", "interface", "url", "region_id", "region"}

func (a *API) createEndpoint(c echo.Context) error {
	in, err := bind(c, newEndpointSchema, "endpoint")
	if err != nil {
		return err
	}
	region, makeIt := placeOf(in)
	if region != nil && *region == "" {
		region = nil
	}
	e, err := a.as(c).CreateEndpoint(c.Request().Context(), models.Endpoint{
		ServiceID: in.or("service_id"), Interface: in.or("interface"), URL: in.text("url"), RegionID: region,
		Enabled: in.on(), Extra: in.additional(endpointKnown...),
	}, makeIt)
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allEndpoints, e)
}

func (a *API) updateEndpoint(c echo.Context) error {
	in, err := bind(c, endpointPatch, "endpoint")
	if err != nil {
		return err
	}
	region, makeIt := placeOf(in)
	e, err := a.as(c).UpdateEndpoint(c.Request().Context(), c.Param("id"), rest.BaseURL(c), models.EndpointPatch{
		ServiceID: in.text("service_id"), Interface: in.text("interface"), URL: in.text("url"), RegionID: region, MakeRegion: makeIt,
		Enabled: in.flag("enabled"), Extra: in.additional(endpointKnown...),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allEndpoints, e)
}
