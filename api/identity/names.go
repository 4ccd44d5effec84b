package identity

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// mountNames adds what clients ask to turn names into ids and back.
func (a *API) mountNames(g *echo.Group) {
	forbidden, absent := http.StatusForbidden, http.StatusNotFound
	g.GET("/projects", a.listProjects, rest.RequireAdmin, rest.Expect(forbidden))
	g.GET("/projects/:id", a.showProject, rest.Expect(forbidden, absent))
	g.GET("/users", a.listUsers, rest.RequireAdmin, rest.Expect(forbidden))
	g.GET("/users/:id", a.showUser, rest.Expect(forbidden, absent))
	g.GET("/users/:id/projects", a.listProjectsOfUser, rest.Expect(forbidden, absent))
	g.GET("/domains", a.listDomains, rest.Expect())
	g.GET("/domains/:id", a.showDomain, rest.Expect(absent))
	g.GET("/regions", a.listRegions, rest.Expect())
	g.GET("/regions/:id", a.showRegion, rest.Expect(absent))
	g.GET("/roles", a.listRoles, rest.Expect())
	g.GET("/roles/:id", a.showRole, rest.Expect(absent))
	g.GET("/services", a.listServices, rest.Expect())
	g.GET("/services/:id", a.showService, rest.Expect(absent))
	g.GET("/endpoints", a.listEndpoints, rest.Expect())
	g.GET("/endpoints/:id", a.showEndpoint, rest.Expect(absent))
}

// absent is Keystone's 404.
func absent(kind, id string) error {
	return fault.New(fault.NotFound, "Could not find %s: %s.", kind, id)
}

func (a *API) showCatalog(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{
		"catalog": catalog(c), "links": map[string]any{"self": rest.URL(c, "/v3/auth/catalog")},
	})
}

func project(c echo.Context, p models.Project) map[string]any {
	return map[string]any{
		"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "description": p.Description, "enabled": p.Enabled,
		"parent_id": p.DomainID, "is_domain": false, "tags": []string{}, "options": map[string]any{},
		"links": self(c, "projects", p.ID),
	}
}

// matchesFilters applies Keystone's filters name, domain_id and enabled.
func matchesFilters(c echo.Context, name, domain string, enabled bool) bool {
	q := c.QueryParams()
	if v, ok := q["name"]; ok && v[0] != name {
		return false
	}
	if v, ok := q["domain_id"]; ok && v[0] != domain {
		return false
	}
	if v, ok := q["enabled"]; ok {
		off := v[0] == "0" || strings.EqualFold(v[0], "false")
		return enabled != off
	}
	return true
}

func projects(c echo.Context, all []models.Project) error {
	list := []any{}
	for _, p := range all {
		if matchesFilters(c, p.Name, p.DomainID, p.Enabled) {
			list = append(list, project(c, p))
		}
	}
	return c.JSON(http.StatusOK, collection(c, "projects", list))
}

func (a *API) listProjects(c echo.Context) error {
	all, err := a.store.ListProjects(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list projects: %w", err)
	}
	return projects(c, all)
}

// listOwnProjects is GET /v3/auth/projects: what the caller can scope a token to.
func (a *API) listOwnProjects(c echo.Context) error {
	return a.projectsOf(c, rest.CallerOf(c).UserID)
}

func (a *API) listProjectsOfUser(c echo.Context) error {
	if _, err := a.visibleUser(c); err != nil {
		return err
	}
	return a.projectsOf(c, c.Param("id"))
}

func (a *API) projectsOf(c echo.Context, userID string) error {
	all, err := a.store.ProjectsOf(c.Request().Context(), userID)
	if err != nil {
		return fmt.Errorf("list the projects of user %s: %w", userID, err)
	}
	return projects(c, all)
}

func (a *API) showProject(c echo.Context) error {
	id := c.Param("id")
	caller := rest.CallerOf(c)
	p, err := a.store.Project(c.Request().Context(), id)
	switch {
	case err == nil && (caller.Admin() || p.ID == caller.ProjectID):
		return c.JSON(http.StatusOK, map[string]any{"project": project(c, p)})
	case err == nil, fault.Is(err, fault.NotFound):
		if caller.Admin() {
			return absent("project", id)
		}
		return fault.New(fault.Forbidden, "You are not authorized to perform the requested action: identity:get_project.")
	default:
		return fmt.Errorf("show project %s: %w", id, err)
	}
}

func user(c echo.Context, u models.User) map[string]any {
	return map[string]any{
		"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": u.Enabled, "password_expires_at": nil,
		"options": map[string]any{}, "links": self(c, "users", u.ID),
	}
}

func (a *API) listUsers(c echo.Context) error {
	all, err := a.store.ListUsers(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	list := []any{}
	for _, u := range all {
		if matchesFilters(c, u.Name, u.DomainID, u.Enabled) {
			list = append(list, user(c, u))
		}
	}
	return c.JSON(http.StatusOK, collection(c, "users", list))
}

// visibleUser is the user of the path, for itself and for admins.
func (a *API) visibleUser(c echo.Context) (models.User, error) {
	id := c.Param("id")
	caller := rest.CallerOf(c)
	if id != caller.UserID && !caller.Admin() {
		return models.User{}, fault.New(fault.Forbidden, "You are not authorized to perform the requested action: identity:get_user.")
	}
	u, err := a.store.User(c.Request().Context(), id)
	if fault.Is(err, fault.NotFound) {
		return u, absent("user", id)
	}
	if err != nil {
		return u, fmt.Errorf("show user %s: %w", id, err)
	}
	return u, nil
}

func (a *API) showUser(c echo.Context) error {
	u, err := a.visibleUser(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"user": user(c, u)})
}

// listing answers a fixed collection, filtered by those of its fields that the query names.
func listing(c echo.Context, name string, items []map[string]any) error {
	list := []any{}
items:
	for _, item := range items {
		for key, values := range c.QueryParams() {
			if field, ok := item[key]; ok && fmt.Sprint(field) != values[0] {
				continue items
			}
		}
		list = append(list, item)
	}
	return c.JSON(http.StatusOK, collection(c, name, list))
}

// showOne answers an element of a fixed collection.
func showOne(c echo.Context, kind string, items []map[string]any) error {
	for _, item := range items {
		if item["id"] == c.Param("id") {
			return c.JSON(http.StatusOK, map[string]any{kind: item})
		}
	}
	return absent(kind, c.Param("id"))
}

func domains(c echo.Context) []map[string]any {
	return []map[string]any{{
		"id": DomainID, "name": domainName, "description": "The default domain", "enabled": true, "tags": []string{},
		"options": map[string]any{}, "links": self(c, "domains", DomainID),
	}}
}

func (a *API) listDomains(c echo.Context) error { return listing(c, "domains", domains(c)) }
func (a *API) showDomain(c echo.Context) error  { return showOne(c, "domain", domains(c)) }

func regions(c echo.Context) []map[string]any {
	return []map[string]any{{
		"id": regionID, "description": "", "parent_region_id": nil, "links": self(c, "regions", regionID),
	}}
}

func (a *API) listRegions(c echo.Context) error { return listing(c, "regions", regions(c)) }
func (a *API) showRegion(c echo.Context) error  { return showOne(c, "region", regions(c)) }

func roles(c echo.Context) []map[string]any {
	var list []map[string]any
	for _, r := range auth.Roles() {
		id := ids.Identity("role", r)
		list = append(list, map[string]any{
			"id": id, "name": r, "domain_id": nil, "description": nil, "options": map[string]any{}, "links": self(c, "roles", id),
		})
	}
	return list
}

func (a *API) listRoles(c echo.Context) error { return listing(c, "roles", roles(c)) }
func (a *API) showRole(c echo.Context) error  { return showOne(c, "role", roles(c)) }

func serviceList(c echo.Context) []map[string]any {
	var list []map[string]any
	for _, s := range services {
		id := ids.Identity("service", s.kind)
		list = append(list, map[string]any{
			"id": id, "name": s.name, "type": s.kind, "enabled": true, "description": "", "links": self(c, "services", id),
		})
	}
	return list
}

func (a *API) listServices(c echo.Context) error { return listing(c, "services", serviceList(c)) }
func (a *API) showService(c echo.Context) error  { return showOne(c, "service", serviceList(c)) }

func endpoints(c echo.Context) []map[string]any {
	var list []map[string]any
	for _, s := range services {
		for _, i := range interfaces {
			id := ids.Identity("endpoint", s.kind+"/"+i)
			list = append(list, map[string]any{
				"id": id, "interface": i, "region": regionID, "region_id": regionID, "service_id": ids.Identity("service", s.kind),
				"url": rest.URL(c, s.path), "enabled": true, "links": self(c, "endpoints", id),
			})
		}
	}
	return list
}

func (a *API) listEndpoints(c echo.Context) error { return listing(c, "endpoints", endpoints(c)) }
func (a *API) showEndpoint(c echo.Context) error  { return showOne(c, "endpoint", endpoints(c)) }
