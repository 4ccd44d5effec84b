// Package network answers the part of the Neutron API v2.0 that building servers needs: networks, subnets and ports, and
// read-only views of what every project has (its security group, its quotas). Bodies follow neutron-lib and the
// Networking API reference; what may be done, and what it does, is internal/service/networks.
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
func New(store *models.Store) *API { return &API{store, networks.New(store)} }

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
	g := root.Group("/"+version, fail, rest.RequireToken(a.store, rest.Neutron), rest.RequireProject)
	a.mountNetworks(g)
	a.mountSubnets(g)
	a.mountPorts(g)
	a.mountExtras(g)
}

func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"versions": []object{{
		"id": version, "status": "CURRENT", "links": []rest.Link{{Rel: "self", Href: rest.URL(c, service+"/"+version+"/")}},
	}}})
}

func (a *API) resources(c echo.Context) error {
	var list []object
	for _, name := range []string{"networks", "subnets", "ports", "security-groups", "quotas", "extensions"} {
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

func badRequest(format string, args ...any) error {
	return rest.NeutronType("HTTPBadRequest", fault.New(fault.Invalid, format, args...))
}

// alwaysUp refuses admin_state_up false, which nothing would act on.
func alwaysUp(up *bool) error {
	if up != nil && !*up {
		return badRequest("Invalid input for admin_state_up. Reason: only true is offered.")
	}
	return nil
}
