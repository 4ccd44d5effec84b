// Package compute answers the Nova API 2.1, microversions 2.1 to 2.96: flavors, key pairs, servers, their actions, limits
// and what an operator sees of the hosts. It decodes a request, calls the services, and encodes their answer. Texts and bodies
// follow nova/api/openstack/compute and its API reference.
package compute

import (
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the compute API.
type Config struct {
	// HostDownAfter is how long after its last heartbeat a host counts as down.
	HostDownAfter time.Duration
}

// API serves the compute endpoints.
type API struct {
	store    *models.Store
	service  *servers.Service
	images   *images.Service
	consoles *consoles.Service
	config   Config
	now      func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, service *servers.Service, images *images.Service, consoles *consoles.Service, config Config) *API {
	return &API{store: store, service: service, images: images, consoles: consoles, config: config, now: time.Now}
}

// servers is the service for whoever makes the request.
func (a *API) servers(c echo.Context) servers.Servers {
	return a.service.For(servers.Caller{Caller: rest.CallerOf(c).Caller, RequestID: rest.RequestID(c)})
}

// endpoint is where the catalog's compute endpoint lies.
const endpoint = "/compute"

// Mount adds the routes to root, which is the group "/compute".
func (a *API) Mount(root *echo.Group) {
	open := rest.Fail(rest.Nova)
	for _, path := range []string{"", "/"} {
		root.GET(path, a.versions, open)
		root.GET("/v2"+path, a.version("v2", "2"), open)
		root.GET("/v2.1"+path, a.version("v2.1", "2.1"), open)
	}

	g := root.Group("/v2.1", open, rest.RequireToken(rest.Nova), rest.RequireProject, ownProjectPath, negotiate)
	a.mountFlavors(g)
	a.mountKeyPairs(g)
	a.mountServers(g)
	a.mountServerActions(g)
	a.mountServerData(g)
	a.mountServerGuest(g)
	a.mountRemoteConsoles(g)
	a.mountLimits(g)
	a.mountQuotaSets(g)
	a.mountServerGroups(g)
	a.mountHypervisors(g)
	a.mountMigrations(g)
	a.mountServices(g)
	a.mountZones(g)
	a.mountAggregates(g)
	a.mountUsage(g)
	a.mountExtensions(g)
	a.mountAssistedSnapshots(g)
	a.mountImages(g)
	g.RouteNotFound("/*", unknownRoute)
}

// allow is Nova's answer where a policy forbids something.
func allow(ok bool, policy string) error {
	if ok {
		return nil
	}
	return fault.New(fault.Forbidden, "Policy doesn't allow %s to be performed.", policy)
}

// adminOnly guards a route with the name of Nova's policy.
func adminOnly(policy string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := allow(rest.CallerOf(c).Admin(), policy); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// writerOnly guards a route that a reader may not use.
func writerOnly(policy string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := allow(rest.CallerOf(c).CanWrite(), policy); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// since hides a route from microversions before minor, as Nova does: 404.
func since(minor int) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if minorOf(c) < minor {
				return fault.New(fault.NotFound, "API version 2.%d is not supported on this method.", minorOf(c))
			}
			return next(c)
		}
	}
}

// until hides a route from microversions after minor.
func until(minor int) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if minorOf(c) > minor {
				return fault.New(fault.NotFound, "API version 2.%d is not supported on this method.", minorOf(c))
			}
			return next(c)
		}
	}
}

// invalid is a refusal of the request as the client wrote it.
func invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// markerAs gives an unknown marker Nova's words.
func markerAs(err error, marker string) error {
	if marker != "" && (fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid)) {
		return fault.Wrap(fault.Invalid, err, "marker [%s] not found", marker)
	}
	return err
}

// strictQuery refuses unknown query parameters since microversion 2.75; before it they are ignored.
func strictQuery(c echo.Context, known ...string) error {
	if minorOf(c) < 75 {
		return nil
	}
	set := make(map[string]bool, len(known))
	for _, k := range known {
		set[k] = true
	}
	var unknown []string
	for k := range c.QueryParams() {
		if !set[k] {
			unknown = append(unknown, k)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return invalid("%s", additional(unknown))
}

// listed is a page of a collection, with where the next one is. view gives what the next page begins behind, and what is shown.
func listed[T any](c echo.Context, collection string, page rest.Page, found []T, view func(T) (marker string, shown object)) object {
	views, last := make([]object, len(found)), ""
	for i, x := range found {
		last, views[i] = view(x)
	}
	body := object{collection: views}
	if len(found) > 0 && page.Limit > 0 {
		if next := page.NextLinks(c, len(found), last); next != nil {
			body[collection+"_links"] = next
		}
	}
	return body
}

func links(c echo.Context, collection, id string) []rest.Link {
	return rest.Links(c, endpoint, pathVersion(c), collection, id)
}

// bookmark is the link of an object that is shown inside of another.
func bookmark(c echo.Context, collection, id string) []rest.Link {
	return []rest.Link{{Rel: "bookmark", Href: rest.URL(c, endpoint, collection, id)}}
}

// isUp says whether a host was heard of lately, and nobody says that it is down.
func (a *API) isUp(h models.Host) bool {
	return h.Ready && !h.ForcedDown && a.now().Sub(h.SeenAt) <= a.config.HostDownAfter
}
