// Package compute answers the Nova API 2.1, microversions 2.1 to 2.96: flavors, key pairs, servers, their actions, limits
// and what an operator sees of the hosts. It checks a request's shape and what it names; building and deleting is the
// business of the Builds behind it. Texts and bodies follow nova/api/openstack/compute and its API reference.
package compute

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Builds changes servers. Submit answers nil once the build is accepted (the server's row exists) or the fault that
// refused it; it never waits for the build. Reserve is Submit for several servers, and answers how many. Delete answers
// once the delete is certain to happen. Progress is that of a running build; it is empty, or NotFound, when none runs.
// Console is the end of a server's serial console, Unavailable when its host does not answer.
type Builds interface {
	Submit(ctx context.Context, in contract.BootInput) error
	Reserve(ctx context.Context, in contract.ReserveInput) (admitted int, err error)
	Delete(ctx context.Context, in contract.DeleteInput) error
	Progress(ctx context.Context, serverID string) ([]contract.StepProgress, error)
	Console(ctx context.Context, in contract.ConsoleInput) (string, error)
	Do(ctx context.Context, workflow string, in contract.ActionInput) error
}

// Config of the compute API. Zero fields take the defaults that are named beside them.
type Config struct {
	// Quota is what a project gets that has no limits of its own; -1 is unlimited. Nova's defaults: 10 instances, 20
	// cores, 51,200 MiB, 100 key pairs.
	Quota models.ProjectQuota
	// MaxHosts is how many hosts a build may try: 3.
	MaxHosts int
	// MaxCount is how many servers one request may ask for: 1000.
	MaxCount int
	// HostDownAfter is how long after its last heartbeat a host counts as down: 30 s.
	HostDownAfter time.Duration
	// Deadlines travel with every build and delete: contract.DefaultDeadlines().
	Deadlines contract.Deadlines
	// ForceConfigDrive gives every server a config drive, whatever its request says.
	ForceConfigDrive bool
}

func (c Config) withDefaults() Config {
	if c.Quota == (models.ProjectQuota{}) {
		c.Quota = models.ProjectQuota{Instances: 10, Cores: 20, RAMMiB: 51200, KeyPairs: 100}
	}
	if c.MaxHosts <= 0 {
		c.MaxHosts = 3
	}
	if c.MaxCount <= 0 {
		c.MaxCount = 1000
	}
	if c.Deadlines.HostLost == 0 {
		c.Deadlines = contract.DefaultDeadlines()
	}
	if c.HostDownAfter <= 0 {
		c.HostDownAfter = 30 * time.Second
	}
	return c
}

// API serves the compute endpoints.
type API struct {
	store  *models.Store
	builds Builds
	config Config
	now    func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, builds Builds, config Config) *API {
	return &API{store: store, builds: builds, config: config.withDefaults(), now: time.Now}
}

// service is where the catalog's compute endpoint lies.
const service = "/compute"

// Mount adds the routes to root, which is the group "/compute".
func (a *API) Mount(root *echo.Group) {
	open := rest.Fail(rest.Nova)
	for _, path := range []string{"", "/"} {
		root.GET(path, a.versions, open)
		root.GET("/v2.1"+path, a.version, open)
	}

	g := root.Group("/v2.1", open, rest.RequireToken(a.store, rest.Nova), rest.RequireProject, negotiate)
	a.mountFlavors(g)
	a.mountKeyPairs(g)
	a.mountServers(g)
	a.mountServerActions(g)
	a.mountServerData(g)
	a.mountLimits(g)
	a.mountHypervisors(g)
	a.mountServices(g)
	a.mountZones(g)
	g.GET("/extensions", a.listExtensions)
}

// listExtensions is empty: since Nova 15 everything belongs to the API itself, and clients look at microversions.
func (a *API) listExtensions(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"extensions": []any{}})
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

// invalid is a refusal of the request as the client wrote it.
func invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// absentAs gives a NotFound of the store the kind and the words of Nova; any other error stays as it is.
func absentAs(err error, kind fault.Kind, format string, args ...any) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(kind, err, format, args...)
	}
	return err
}

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

func links(c echo.Context, collection, id string) []rest.Link {
	return rest.Links(c, service, "v2.1", collection, id)
}

// bookmark is the link of an object that is shown inside of another.
func bookmark(c echo.Context, collection, id string) []rest.Link {
	return []rest.Link{{Rel: "bookmark", Href: rest.URL(c, service, collection, id)}}
}

// up says whether a host was heard of lately.
func (a *API) up(h models.Host) bool {
	return h.Ready && a.now().Sub(h.SeenAt) <= a.config.HostDownAfter
}

// quotaOf is the project's quota, with the configured defaults where it has none.
func (a *API) quotaOf(ctx context.Context, projectID string) (models.ProjectQuota, error) {
	q, err := a.store.Quota(ctx, projectID, a.config.Quota)
	if err != nil {
		return q, fmt.Errorf("read the quota of project %s: %w", projectID, err)
	}
	return q, nil
}
