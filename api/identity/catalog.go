package identity

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// mountCatalog adds where the services are, which nobody changes here: it is what this process answers.
func (a *API) mountCatalog(g reading) {
	g.GET("/auth/catalog", a.showCatalog, rest.Expect())
	g.GET("/regions", a.listRegions, rest.Expect(400))
	g.GET("/regions/:id", a.showRegion, rest.Expect(404))
	g.GET("/services", a.listServices, rest.Expect(400))
	g.GET("/services/:id", a.showService, rest.Expect(404))
	g.GET("/endpoints", a.listEndpoints, rest.Expect(400))
	g.GET("/endpoints/:id", a.showEndpoint, rest.Expect(404))
}

const regionID = rest.Region

// service is one entry of the catalog. Where clients append the version themselves (image, network) the path is without.
type service struct {
	kind, name, path string
}

var services = []service{
	{"compute", "nova", "/compute/v2.1"},
	{"ec2", "ec2", "/ec2"},
	{"identity", "keystone", "/v3"},
	{"image", "glance", "/image"},
	{"network", "neutron", "/network"},
}

var interfaces = []string{"admin", "internal", "public"}

func catalog(c echo.Context) []any {
	list := make([]any, 0, len(services))
	for _, s := range services {
		endpoints := make([]any, 0, len(interfaces))
		for _, i := range interfaces {
			endpoints = append(endpoints, object{
				"id": ids.Identity("endpoint", s.kind+"/"+i), "interface": i,
				"region": regionID, "region_id": regionID, "url": rest.URL(c, s.path),
			})
		}
		list = append(list, object{
			"id": ids.Identity("service", s.kind), "type": s.kind, "name": s.name, "endpoints": endpoints,
		})
	}
	return list
}

// absent is Keystone's 404.
func absent(kind, id string) error {
	return fault.New(fault.NotFound, "Could not find %s: %s.", kind, id)
}

func (a *API) showCatalog(c echo.Context) error {
	return c.JSON(http.StatusOK, object{
		"catalog": catalog(c), "links": object{"self": rest.URL(c, "/v3/auth/catalog")},
	})
}

// fixed answers a collection that is what it is, filtered by those of its fields that the query names.
func fixed(c echo.Context, name string, items []object) error {
	list := []any{}
	for key := range c.QueryParams() {
		if _, known := items[0][key]; !known {
			return fault.New(fault.Invalid, "Lists are not filtered by %q here.", key)
		}
	}
	for _, item := range items {
		matches := true
		for key, values := range c.QueryParams() {
			matches = matches && fmt.Sprint(item[key]) == values[0]
		}
		if matches {
			list = append(list, item)
		}
	}
	return c.JSON(http.StatusOK, listing(c, name, list, nil))
}

// showOne answers an element of a fixed collection.
func showOne(c echo.Context, kind string, items []object) error {
	for _, item := range items {
		if item["id"] == c.Param("id") {
			return c.JSON(http.StatusOK, object{kind: item})
		}
	}
	return absent(kind, c.Param("id"))
}

func regions(c echo.Context) []object {
	return []object{{
		"id": regionID, "description": "", "parent_region_id": nil, "links": self(c, "regions", regionID),
	}}
}

func (a *API) listRegions(c echo.Context) error { return fixed(c, "regions", regions(c)) }
func (a *API) showRegion(c echo.Context) error  { return showOne(c, "region", regions(c)) }

func serviceList(c echo.Context) []object {
	var list []object
	for _, s := range services {
		id := ids.Identity("service", s.kind)
		list = append(list, object{
			"id": id, "name": s.name, "type": s.kind, "enabled": true, "description": "", "links": self(c, "services", id),
		})
	}
	return list
}

func (a *API) listServices(c echo.Context) error { return fixed(c, "services", serviceList(c)) }
func (a *API) showService(c echo.Context) error  { return showOne(c, "service", serviceList(c)) }

func endpoints(c echo.Context) []object {
	var list []object
	for _, s := range services {
		for _, i := range interfaces {
			id := ids.Identity("endpoint", s.kind+"/"+i)
			list = append(list, object{
				"id": id, "interface": i, "region": regionID, "region_id": regionID, "service_id": ids.Identity("service", s.kind),
				"url": rest.URL(c, s.path), "enabled": true, "links": self(c, "endpoints", id),
			})
		}
	}
	return list
}

func (a *API) listEndpoints(c echo.Context) error { return fixed(c, "endpoints", endpoints(c)) }
func (a *API) showEndpoint(c echo.Context) error  { return showOne(c, "endpoint", endpoints(c)) }
