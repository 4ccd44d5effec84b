package identity

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// mountGrants adds a role's places: each kind of target, of actor, and, where there may be something below a target, what is
// inherited to it.
func (a *API) mountGrants(g reading) {
	for _, actor := range []string{"users", "groups"} {
		a.mountGrantsAt(g, "/projects/:target/"+actor+"/:actor/roles", "")
		a.mountGrantsAt(g, "/domains/:target/"+actor+"/:actor/roles", "")
		a.mountGrantsAt(g, "/system/"+actor+"/:actor/roles", "")
		a.mountGrantsAt(g, "/OS-INHERIT/projects/:target/"+actor+"/:actor/roles", "/inherited_to_projects")
		a.mountGrantsAt(g, "/OS-INHERIT/domains/:target/"+actor+"/:actor/roles", "/inherited_to_projects")
	}
	g.GET("/role_assignments", a.listAssignments, rest.Expect(400, 403, 404))
	g.GET("/auth/system", a.showOwnSystem, rest.Expect())
}

func (a *API) mountGrantsAt(g reading, path, end string) {
	one := path + "/:role" + end
	g.GET(path+end, list(a, allRoles, a.granted), rest.Expect(400, 403, 404))
	g.PUT(one, a.grant((*identity.Repository).Grant), rest.Expect(403, 404))
	g.GET(one, a.grant((*identity.Repository).IsGranted), rest.Expect(403, 404))
	g.DELETE(one, a.grant((*identity.Repository).Revoke), rest.Expect(403, 404))
}

// given is what the path says of a role.
func given(c echo.Context) identity.Given {
	parts := strings.Split(strings.TrimPrefix(c.Path(), "/v3/"), "/")
	g := identity.Given{RoleID: c.Param("role"), Inherited: parts[0] == "OS-INHERIT"}
	if slices.Contains(parts, "users") {
		g.UserID = c.Param("actor")
	} else {
		g.GroupID = c.Param("actor")
	}
	switch {
	case slices.Contains(parts, "projects"):
		g.ProjectID = c.Param("target")
	case slices.Contains(parts, "domains"):
		g.DomainID = c.Param("target")
	}
	return g
}

// grant is what is done, or asked, about a role of somebody on something.
func (a *API) grant(do func(*identity.Repository, context.Context, identity.Given) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := do(a.as(c), c.Request().Context(), given(c)); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}

func (a *API) granted(c echo.Context, r *identity.Repository, _ models.IdentityFilter) ([]models.Role, error) {
	return r.Granted(c.Request().Context(), given(c))
}

// showOwnSystem is GET /v3/auth/system: whether the caller can scope a token to the system.
func (a *API) showOwnSystem(c echo.Context) error {
	on, err := a.as(c).OnSystem(c.Request().Context())
	if err != nil {
		return err
	}
	system := []any{}
	if on {
		system = append(system, object{"all": true})
	}
	return c.JSON(http.StatusOK, object{"system": system, "links": object{"self": rest.URL(c, "/v3/auth/system")}})
}

// assignmentFilter reads the query of GET /v3/role_assignments.
func assignmentFilter(c echo.Context) (f models.GrantFilter, roleID string, names bool, err error) {
	for key, values := range c.QueryParams() {
		value := values[0]
		switch key {
		case "user.id":
			f.UserID = value
		case "group.id":
			f.GroupID = value
		case "role.id":
			roleID = value
		case "scope.project.id":
			f.ProjectID = value
		case "scope.domain.id":
			f.DomainID = value
		case "scope.system":
			f.System = truth(value)
		case "scope.OS-INHERIT:inherited_to":
			if value != "projects" {
				return f, "", false, fault.New(fault.Invalid, "The only value of scope.OS-INHERIT:inherited_to is projects.")
			}
			f.Inherited = new(true)
		case "effective":
			f.Effective = truth(value)
		case "include_names":
			names = truth(value)
		case "include_subtree": // there is nothing below a project
		default:
			return f, "", false, fault.New(fault.Invalid, "Lists are not filtered by %q here.", key)
		}
	}
	switch {
	case f.UserID != "" && f.GroupID != "":
		err = fault.New(fault.Invalid, "Specify a user or group, not both.")
	case f.Effective && f.GroupID != "":
		err = fault.New(fault.Invalid, "Effective assignments are users': they are not filtered by group.")
	case f.ProjectID != "" && f.DomainID != "", f.System && f.ProjectID+f.DomainID != "":
		err = fault.New(fault.Invalid, "Specify a domain, a project or the system, not more than one of them.")
	case truth(c.QueryParam("include_subtree")) && c.QueryParams().Has("include_subtree") && f.ProjectID == "":
		err = fault.New(fault.Invalid, "scope.project.id must be specified if include_subtree is also specified")
	}
	return f, roleID, names, err
}

func (a *API) listAssignments(c echo.Context) error {
	filter, roleID, names, err := assignmentFilter(c)
	if err != nil {
		return err
	}
	found, err := a.as(c).Assignments(c.Request().Context(), filter, roleID)
	if err != nil {
		return err
	}
	rows := make([]any, len(found))
	for i, assignment := range found {
		rows[i] = assignmentView(c, assignment, names)
	}
	return c.JSON(http.StatusOK, listing(c, "role_assignments", rows, nil))
}

func assignmentView(c echo.Context, a models.Assignment, names bool) object {
	ref := func(n models.Named, domain *models.Named) object {
		o := object{"id": n.ID}
		if names {
			o["name"] = n.Name
			if domain != nil {
				o["domain"] = object{"id": domain.ID, "name": domain.Name}
			}
		}
		return o
	}
	var path string
	scope, view := object{}, object{"role": ref(a.Role, nil)}
	switch {
	case a.Project.ID != "":
		scope["project"], path = ref(a.Project, &a.ProjectDomain), "projects/"+a.Project.ID
	case a.Domain.ID != "":
		scope["domain"], path = ref(a.Domain, nil), "domains/"+a.Domain.ID
	default:
		scope["system"], path = object{"all": true}, "system"
	}
	if a.Group.ID != "" {
		view["group"], path = ref(a.Group, &a.GroupDomain), path+"/groups/"+a.Group.ID
	} else {
		view["user"], path = ref(a.User, &a.UserDomain), path+"/users/"+a.User.ID
	}
	path += "/roles/" + a.Role.ID
	if a.Inherited {
		scope["OS-INHERIT:inherited_to"] = "projects"
		path = "OS-INHERIT/" + path + "/inherited_to_projects"
	}
	view["scope"], view["links"] = scope, object{"assignment": rest.URL(c, "/v3/"+path)}
	return view
}
