package identity

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountApplications(g reading) {
	const all, one = "/users/:id/application_credentials", "/users/:id/application_credentials/:application"
	g.GET(all, a.listApplications, rest.Expect(400, 403, 404))
	g.POST(all, a.createApplication, rest.Expect(400, 403, 404, 409))
	g.GET(one, a.showApplication, rest.Expect(403, 404))
	g.DELETE(one, a.deleteApplication, rest.Expect(403, 404))
	g.GET("/users/:id/access_rules", a.listAccessRules, rest.Expect(403, 404))
	g.GET("/users/:id/access_rules/:rule", a.showAccessRule, rest.Expect(403, 404))
	g.DELETE("/users/:id/access_rules/:rule", a.showAccessRule, rest.Expect(403, 404))
}

func (a *API) applicationView(c echo.Context, k models.ApplicationCredential) (object, error) {
	roles, err := a.rolesNamed(c, k.Roles)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		role.(object)["domain_id"] = nil
	}
	return object{
		"id": k.ID, "name": k.Name, "description": k.Description, "user_id": k.UserID, "project_id": k.ProjectID, "system": nil, "roles": roles,
		"unrestricted": k.Unrestricted, "expires_at": rest.TimeNaivePtr(k.ExpiresAt),
		"links": object{"self": rest.URL(c, "/v3/users", k.UserID, "application_credentials", k.ID)},
	}, nil
}

func (a *API) listApplications(c echo.Context) error {
	for key := range c.QueryParams() {
		if key != "name" {
			return fault.New(fault.Invalid, "Lists are not filtered by %q here.", key)
		}
	}
	found, err := a.as(c).Applications(c.Request().Context(), c.Param("id"), c.QueryParam("name"))
	if err != nil {
		return err
	}
	rows := make([]any, len(found))
	for i, k := range found {
		if rows[i], err = a.applicationView(c, k); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, listing(c, "application_credentials", rows, nil))
}

// newApplicationSchema is Keystone's (keystone/application_credential/schema.py). A list of access rules that is not empty is refused
// with words of its own.
var newApplicationSchema = rest.Schema(`{"type": "object", "required": ["application_credential"], "properties": {"application_credential": {
	"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
		` + named(255) + `, ` + described + `,
		"secret": {"type": ["string", "null"], "minLength": 1, "maxLength": 72},
		"expires_at": {"type": ["string", "null"], "maxLength": 64},
		"unrestricted": {"type": ["boolean", "null"]},
		"access_rules": {"type": ["array", "null"]},
		"project_id": {"type": ["string", "null"], "maxLength": 64},
		"roles": {"type": ["array", "null"], "maxItems": 64, "items": {
			"type": "object", "anyOf": [{"required": ["id"]}, {"required": ["name"]}], "properties": {
				"id": {"type": "string", "minLength": 1, "maxLength": 64}, "name": {"type": "string", "minLength": 1, "maxLength": 255},
				"domain_id": {"type": ["string", "null"]}, "domain": {"type": ["object", "null"]}
			}
		}}
	}
}}}`)

func (a *API) createApplication(c echo.Context) error {
	ctx, r, user := c.Request().Context(), a.as(c), c.Param("id")
	if err := r.MayMakeApplications(user); err != nil {
		return err
	}
	var in struct {
		Of struct {
			Name         string         `json:"name"`
			Description  *string        `json:"description"`
			Secret       string         `json:"secret"`
			ExpiresAt    *string        `json:"expires_at"`
			Unrestricted bool           `json:"unrestricted"`
			AccessRules  []any          `json:"access_rules"`
			ProjectID    string         `json:"project_id"`
			Roles        []models.Named `json:"roles"`
		} `json:"application_credential"`
	}
	if err := rest.Bind(c, newApplicationSchema, &in); err != nil {
		return err
	}
	switch project := rest.CallerOf(c).ProjectID; {
	case len(in.Of.AccessRules) > 0:
		return fault.New(fault.Invalid, "Application credentials have no access rules here: nothing would hold them. Give it fewer roles instead.")
	case in.Of.ProjectID != "" && in.Of.ProjectID != project:
		return fault.New(fault.Invalid, "An application credential is for the project of the token that makes it, %s.", project)
	}
	roles, err := r.RoleNames(ctx, in.Of.Roles)
	if err != nil {
		return err
	}
	n := identity.NewApplication{
		Name: in.Of.Name, Description: in.Of.Description, Secret: in.Of.Secret, Roles: roles, Unrestricted: in.Of.Unrestricted,
	}
	if in.Of.ExpiresAt != nil {
		at, err := expiry(*in.Of.ExpiresAt)
		if err != nil {
			return err
		}
		n.ExpiresAt = &at
	}
	made, secret, err := r.CreateApplication(ctx, user, n)
	if err != nil {
		return err
	}
	view, err := a.applicationView(c, made)
	if err != nil {
		return err
	}
	view["secret"] = secret
	return c.JSON(http.StatusCreated, object{"application_credential": view})
}

// expiry reads a time in the forms in which Keystone takes it; without a zone it is UTC.
func expiry(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05.999999-0700"} {
		if t, err := time.Parse(form, strings.TrimSpace(text)); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "Invalid input for field 'expires_at': it is no time as in 2026-01-31T18:00:00.000000Z.")
}

func (a *API) showApplication(c echo.Context) error {
	found, err := a.as(c).Application(c.Request().Context(), c.Param("id"), c.Param("application"))
	if err != nil {
		return err
	}
	view, err := a.applicationView(c, found)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"application_credential": view})
}

func (a *API) deleteApplication(c echo.Context) error {
	if err := a.as(c).DeleteApplication(c.Request().Context(), c.Param("id"), c.Param("application")); err != nil {
		return err
	}
	return rest.NoContent(c)
}

func (a *API) listAccessRules(c echo.Context) error {
	if err := a.as(c).AccessRules(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, listing(c, "access_rules", []any{}, nil))
}

func (a *API) showAccessRule(c echo.Context) error {
	if err := a.as(c).AccessRules(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return fault.New(fault.NotFound, "Could not find Access Rule: %s.", c.Param("rule"))
}
