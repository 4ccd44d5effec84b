package identity

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountUsers(g reading) {
	g.GET("/users", list(a, allUsers, every((*identity.Repository).Users)), rest.Expect(400, 403))
	g.POST("/users", a.createUser, a.keeper("create_user"), rest.Expect(400, 403, 404, 409))
	g.GET("/users/:id", show(a, allUsers, (*identity.Repository).User), rest.Expect(403, 404))
	g.PATCH("/users/:id", a.updateUser, a.keeper("update_user"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/users/:id/tokens", a.revokeTokens, rest.Expect(403, 404))
	g.DELETE("/users/:id", a.remove((*identity.Repository).DeleteUser), rest.Expect(403, 404))
}

var allUsers = collection[models.User]{
	one: "user", many: "users",
	filters: filters{texts: []string{"name", "description"}, domain: true, enabled: true},
	view: func(c echo.Context, u models.User) object {
		known := object{
			"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": u.Enabled, "password_expires_at": nil,
			"options": object{}, "links": self(c, "users", u.ID),
		}
		if u.Description != "" {
			known["description"] = u.Description
		}
		if u.DefaultProjectID != nil {
			known["default_project_id"] = *u.DefaultProjectID
		}
		return shown(u.Extra, known)
	},
}

var (
	userAttributes = []string{
		named(255), described, switched, withoutFlags, inDomain, password, `"default_project_id": {"type": ["string", "null"], "maxLength": 64}`,
		`"federated": {"type": "array", "maxItems": 0}`, `"email": {"type": ["string", "null"], "maxLength": 255}`,
	}
	newUserSchema = schemaOf("user", []string{"name"}, userAttributes...)
	userPatch     = schemaOf("user", nil, userAttributes...)
)

const password = `"password": {"type": ["string", "null"], "minLength": 1, "maxLength": 4096}`

func (a *API) createUser(c echo.Context) error {
	in, err := bind(c, newUserSchema, "user")
	if err != nil {
		return err
	}
	project := in.text("default_project_id")
	if project != nil && *project == "" {
		project = nil
	}
	u, err := a.as(c).CreateUser(c.Request().Context(), identity.NewUser{
		User: models.User{
			Name: in.or("name"), DomainID: in.or("domain_id"), Description: in.or("description"), Enabled: in.on(), DefaultProjectID: project,
			Extra: in.extra("password", "default_project_id", "federated"),
		},
		Password: in.or("password"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allUsers, u)
}

func (a *API) updateUser(c echo.Context) error {
	in, err := bind(c, userPatch, "user")
	if err != nil {
		return err
	}
	u, err := a.as(c).UpdateUser(c.Request().Context(), c.Param("id"), identity.UserChange{
		UserPatch: models.UserPatch{
			Name: in.text("name"), Description: in.text("description"), Enabled: in.flag("enabled"), DefaultProjectID: in.text("default_project_id"),
			Extra: in.extra("password", "default_project_id", "federated"),
		},
		Password: in.text("password"), DomainID: in.text("domain_id"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allUsers, u)
}

// revokeTokens is DELETE /v3/users/:id/tokens, which is not Keystone's.
func (a *API) revokeTokens(c echo.Context) error {
	n, err := a.as(c).RevokeTokens(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"revoked": n})
}

var ownPasswordSchema = rest.Schema(`{"type": "object", "required": ["user"], "properties": {"user": {
	"type": "object", "required": ["password", "original_password"], "properties": {
		"password": {"type": "string", "minLength": 1, "maxLength": 4096}, "original_password": {"type": "string", "maxLength": 4096}
	}
}}}`)

// changeOwnPassword is POST /v3/users/:id/password: who knows the password needs no token, as in Keystone. All tokens of the
// user end with it.
func (a *API) changeOwnPassword(c echo.Context) error {
	ctx := c.Request().Context()
	in, err := bind(c, ownPasswordSchema, "user")
	if err != nil {
		return err
	}
	id := c.Param("id")
	u, err := a.store.User(ctx, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return fmt.Errorf("find the user whose password changes: %w", err)
	}
	good, err := a.throttle.check(ctx, clientOf(c.Request().RemoteAddr), "id/"+id, func() bool { return auth.CheckPassword(u.PasswordHash, in.or("original_password")) && u.Enabled })
	if err != nil {
		return err
	}
	if !good {
		return refuseLogin(c, "no such enabled user with that password")
	}
	if err := a.service.ChangePassword(ctx, id, in.or("password")); err != nil {
		return err
	}
	return rest.NoContent(c)
}
