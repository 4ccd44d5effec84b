package identity

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountProjects(g reading) {
	g.GET("/auth/projects", list(a, allProjects, a.ownProjects), rest.Expect(400))
	g.GET("/projects", list(a, allProjects, every((*identity.Repository).Projects)), rest.Expect(400, 403))
	g.POST("/projects", a.createProject, a.keeper("create_project"), rest.Expect(400, 403, 404, 409))
	g.GET("/projects/:id", show(a, allProjects, (*identity.Repository).Project), rest.Expect(403, 404))
	g.PATCH("/projects/:id", a.updateProject, a.keeper("update_project"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/projects/:id", a.deleteProject, rest.Expect(403, 404, 409))
	g.GET("/projects/:id/tags", a.listTags, rest.Expect(403, 404))
	g.PUT("/projects/:id/tags", a.replaceTags, a.keeper("update_project_tags"), rest.Expect(400, 403, 404))
	g.DELETE("/projects/:id/tags", a.deleteTags, rest.Expect(403, 404))
	g.GET("/projects/:id/tags/:tag", a.showTag, rest.Expect(403, 404))
	g.PUT("/projects/:id/tags/:tag", a.addTag, a.keeper("create_project_tag"), rest.Expect(400, 403, 404))
	g.DELETE("/projects/:id/tags/:tag", a.deleteTag, rest.Expect(403, 404))
	g.GET("/users/:id/projects", list(a, allProjects, those((*identity.Repository).ProjectsOf)), rest.Expect(400, 403, 404))
}

var allProjects = collection[models.Project]{
	one: "project", many: "projects",
	filters: filters{texts: []string{"name", "description"}, domain: true, enabled: true, tags: true, fixed: map[string]string{"is_domain": "false"}},
	view: func(c echo.Context, p models.Project) object {
		known := object{
			"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "description": p.Description, "enabled": p.Enabled,
			"parent_id": p.DomainID, "is_domain": false, "tags": p.Tags, "options": object{}, "links": self(c, "projects", p.ID),
		}
		if p.PurgingSince != nil {
			known["purging_since"] = rest.TimeMicro(*p.PurgingSince)
		}
		return shown(p.Extra, known)
	},
}

var (
	projectAttributes = []string{
		named(64), described, switched, withoutFlags, inDomain, tagsOf,
		`"parent_id": {"type": ["string", "null"], "maxLength": 64}`, `"is_domain": {"type": "boolean"}`,
	}
	newProjectSchema = schemaOf("project", []string{"name"}, projectAttributes...)
	projectPatch     = schemaOf("project", nil, projectAttributes...)
)

// ownProjects is GET /v3/auth/projects: what the caller can scope a token to.
func (a *API) ownProjects(c echo.Context, r *identity.Repository, f models.IdentityFilter) ([]models.Project, error) {
	return r.ProjectsOf(c.Request().Context(), rest.CallerOf(c).UserID, f)
}

// noDomain refuses a project that is to act as a domain.
func noDomain(in attributes) error {
	if isDomain := in.flag("is_domain"); isDomain != nil && *isDomain {
		return fault.New(fault.Invalid, "A project does not act as a domain here: make a domain by POST /v3/domains.")
	}
	return nil
}

func (a *API) createProject(c echo.Context) error {
	in, err := bind(c, newProjectSchema, "project")
	if err != nil {
		return err
	}
	p := models.Project{
		Name: in.or("name"), DomainID: in.or("domain_id"), Description: in.or("description"), Enabled: in.on(), Tags: []string{},
		Extra: in.extra("tags", "parent_id", "is_domain"),
	}
	if parent := in.or("parent_id"); p.DomainID == "" && parent != "" { // what has no parent but a domain is in it
		if d, err := a.as(c).Domain(c.Request().Context(), parent); err == nil {
			p.DomainID = d.ID
		} else if !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	if err := identity.NoTree(in.text("parent_id"), p.DomainID); err != nil {
		return err
	}
	if err := noDomain(in); err != nil {
		return err
	}
	if tags := in.tags(); tags != nil {
		p.Tags = *tags
	}
	p, err = a.as(c).CreateProject(c.Request().Context(), p)
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allProjects, p)
}

func (a *API) updateProject(c echo.Context) error {
	in, err := bind(c, projectPatch, "project")
	if err != nil {
		return err
	}
	if err := noDomain(in); err != nil {
		return err
	}
	p, err := a.as(c).UpdateProject(c.Request().Context(), c.Param("id"), identity.ProjectChange{
		ProjectPatch: models.ProjectPatch{
			Name: in.text("name"), Description: in.text("description"), Enabled: in.flag("enabled"), Tags: in.tags(),
			Extra: in.extra("tags", "parent_id", "is_domain"),
		},
		DomainID: in.text("domain_id"), ParentID: in.text("parent_id"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allProjects, p)
}

// deleteProject is DELETE /v3/projects/:id; with ?purge, which is not Keystone's, what it owns goes too, afterwards.
func (a *API) deleteProject(c echo.Context) error {
	if purge, asked := c.QueryParams()["purge"]; !asked || !truth(purge[0]) {
		return a.remove((*identity.Repository).DeleteProject)(c)
	}
	if err := a.as(c).PurgeProject(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

func (a *API) listTags(c echo.Context) error {
	p, err := a.as(c).Project(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return tagsBody(c, p)
}

func tagsBody(c echo.Context, p models.Project) error {
	return c.JSON(http.StatusOK, object{"tags": p.Tags, "links": object{"self": rest.URL(c, "/v3/projects", p.ID, "tags"), "next": nil, "previous": nil}})
}

var tagsSchema = rest.Schema(`{"type": "object", "required": ["tags"], "properties": {` + tagsOf + `}}`)

func (a *API) replaceTags(c echo.Context) error {
	var in attributes
	if err := rest.Bind(c, tagsSchema, &in); err != nil {
		return err
	}
	p, err := a.as(c).UpdateProject(c.Request().Context(), c.Param("id"), identity.ProjectChange{ProjectPatch: models.ProjectPatch{Tags: in.tags()}})
	if err != nil {
		return err
	}
	return tagsBody(c, p)
}

func (a *API) deleteTags(c echo.Context) error {
	if _, err := a.as(c).UpdateProject(c.Request().Context(), c.Param("id"), identity.ProjectChange{ProjectPatch: models.ProjectPatch{Tags: &[]string{}}}); err != nil {
		return err
	}
	return rest.NoContent(c)
}

func noTag(tag string) error {
	return fault.New(fault.NotFound, "Could not find project tag: %s.", tag)
}

func (a *API) showTag(c echo.Context) error {
	p, err := a.as(c).Project(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if !slices.Contains(p.Tags, c.Param("tag")) {
		return noTag(c.Param("tag"))
	}
	return rest.NoContent(c)
}

func (a *API) addTag(c echo.Context) error {
	tag := c.Param("tag")
	if err := rest.Check(tagsSchema, object{"tags": []any{tag}}); err != nil {
		return err
	}
	if err := a.as(c).Tag(c.Request().Context(), c.Param("id"), tag); err != nil {
		return err
	}
	return c.NoContent(http.StatusCreated)
}

func (a *API) deleteTag(c echo.Context) error {
	was, err := a.as(c).Untag(c.Request().Context(), c.Param("id"), c.Param("tag"))
	if err != nil {
		return err
	}
	if !was {
		return noTag(c.Param("tag"))
	}
	return rest.NoContent(c)
}
