// Package network answers the Neutron API v2.0: networks, subnets, ports, routers, floating IPs and security groups with their tags, quotas, and the hosts as
// agents. Each kind of objects is a table of attributes (resource), after
// neutron-lib and the Networking API reference; what may be done, and what it does, is internal/service/networks.
package network

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// API serves the network endpoints.
type API struct {
	store    *models.Store // of tokens
	networks *networks.Service
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, service *networks.Service) *API { return &API{store, service} }

const (
	service = "/network"
	version = "v2.0"
)

// object is a JSON object under construction.
type object = map[string]any

// Mount adds the routes to root, which is the group "/network".
func (a *API) Mount(root *echo.Group) {
	fail := rest.Fail(rest.Neutron)
	root.GET("", a.versions, fail)
	root.GET("/"+version, a.resources, fail)
	g := root.Group("/"+version, fail, rest.RequireToken(rest.Neutron), rest.RequireProject)
	mount(a, g, allNetworks)
	mount(a, g, allSubnets)
	mount(a, g, allPorts)
	mount(a, g, allGroups)
	mount(a, g, allRules)
	mount(a, g, allRouters)
	a.mountInterfaces(g)
	mount(a, g, allFloatingIPs)
	a.mountQuotas(g)
	a.mountAgents(g)
	a.mountExtras(g)
}

func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"versions": []object{{
		"id": version, "status": "CURRENT", "links": []rest.Link{{Rel: "self", Href: rest.URL(c, service+"/"+version+"/")}},
	}}})
}

func (a *API) resources(c echo.Context) error {
	var list []object
	for _, name := range []string{
		"networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "quotas", "agents", "availability_zones", "extensions",
	} {
		list = append(list, object{
			"name": strings.TrimSuffix(name, "s"), "collection": name,
			"links": []rest.Link{{Rel: "self", Href: rest.URL(c, service+"/"+version, name)}},
		})
	}
	return c.JSON(http.StatusOK, object{"resources": list})
}

// networksFor is the service for whoever makes the request.
func (a *API) networksFor(c echo.Context) *networks.Repository {
	return a.networks.For(rest.CallerOf(c).Caller)
}

// writer refuses readers before their body is looked at.
func (a *API) writer(rule string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := a.networksFor(c).May(rule); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// admin refuses others before their body is looked at.
func (a *API) admin(rule string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := a.networksFor(c).MayAdmin(rule); err != nil {
				return err
			}
			return next(c)
		}
	}
}

func badRequest(format string, args ...any) error {
	return rest.NeutronType("HTTPBadRequest", fault.New(fault.Invalid, format, args...))
}
