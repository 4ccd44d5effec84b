package identity

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountCredentials(g reading) {
	g.GET("/credentials", a.listCredentials, rest.Expect(400, 403))
	g.POST("/credentials", a.createCredential, rest.Expect(400, 403, 404, 409))
	g.GET("/credentials/:id", show(a, allCredentials, (*identity.Repository).Credential), rest.Expect(403, 404))
	g.PATCH("/credentials/:id", a.updateCredential, rest.Expect(400, 403, 404))
	g.DELETE("/credentials/:id", a.remove((*identity.Repository).DeleteCredential), rest.Expect(403, 404))

	g.GET("/users/:id/credentials/OS-EC2", a.listAccessKeys, rest.Expect(403, 404))
	g.POST("/users/:id/credentials/OS-EC2", a.createAccessKey, rest.Expect(400, 403, 404))
	g.GET("/users/:id/credentials/OS-EC2/:access", a.showAccessKey, rest.Expect(403, 404))
	g.DELETE("/users/:id/credentials/OS-EC2/:access", a.deleteAccessKey, rest.Expect(403, 404))
}

var allCredentials = collection[identity.Credential]{
	one: "credential", many: "credentials",
	view: func(c echo.Context, k identity.Credential) object {
		return object{
			"id": k.ID, "type": k.Type, "user_id": k.UserID, "project_id": k.ProjectID, "blob": k.Blob, "links": self(c, "credentials", k.ID),
		}
	},
}

// What else a body held would lie beside the blob unsealed, so it is refused.
const credentialAttributes = `"additionalProperties": false, "properties": {
	"blob": {"type": "string", "minLength": 1, "maxLength": 65535}, "type": {"type": "string", "minLength": 1, "maxLength": 255},
	"user_id": {"type": "string", "minLength": 1, "maxLength": 64}, "project_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 64}
}`

var (
	newCredentialSchema = rest.Schema(`{"type": "object", "required": ["credential"], "properties": {"credential": {
		"type": "object", "required": ["blob", "type", "user_id"], ` + credentialAttributes + `}}}`)
	credentialPatch = rest.Schema(`{"type": "object", "required": ["credential"], "properties": {"credential": {
		"type": "object", "minProperties": 1, ` + credentialAttributes + `}}}`)
)

// present is an attribute that has a text; nil where it is null or not there.
func (a attributes) present(name string) *string {
	if text := a.text(name); text != nil && *text != "" {
		return text
	}
	return nil
}

func (a *API) listCredentials(c echo.Context) error {
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return err
	}
	filter := models.CredentialFilter{Marker: page.Marker, Limit: page.Limit}
	for key, values := range c.QueryParams() {
		switch key {
		case "limit", "marker":
		case "user_id":
			filter.UserID = values[0]
		case "type":
			filter.Type = values[0]
		default:
			return fault.New(fault.Invalid, "Lists are not filtered by %q here.", key)
		}
	}
	found, err := a.as(c).Credentials(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	rows, last := make([]any, len(found)), ""
	for i, credential := range found {
		rows[i], last = allCredentials.view(c, credential), credential.ID
	}
	var next any
	if link := page.Next(c, len(rows), last); link != "" {
		next = link
	}
	return c.JSON(http.StatusOK, listing(c, allCredentials.many, rows, next))
}

func (a *API) createCredential(c echo.Context) error {
	in, err := bind(c, newCredentialSchema, "credential")
	if err != nil {
		return err
	}
	made, err := a.as(c).CreateCredential(c.Request().Context(), identity.Credential{
		Type: in.or("type"), UserID: in.or("user_id"), ProjectID: in.present("project_id"), Blob: in.or("blob"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allCredentials, made)
}

func (a *API) updateCredential(c echo.Context) error {
	in, err := bind(c, credentialPatch, "credential")
	if err != nil {
		return err
	}
	changed, err := a.as(c).UpdateCredential(c.Request().Context(), c.Param("id"), identity.CredentialPatch{
		Blob: in.text("blob"), Type: in.text("type"), UserID: in.text("user_id"), ProjectID: in.present("project_id"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allCredentials, changed)
}

// Access keys, in the form of Keystone's extension for EC2.

func accessKeyView(c echo.Context, k identity.AccessKey) object {
	return object{
		"access": k.Access, "secret": k.Secret, "user_id": k.UserID, "tenant_id": k.ProjectID, "trust_id": nil,
		"links": object{"self": rest.URL(c, "/v3/users", k.UserID, "credentials", "OS-EC2", k.Access)},
	}
}

func (a *API) listAccessKeys(c echo.Context) error {
	found, err := a.as(c).AccessKeys(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	rows := make([]any, len(found))
	for i, k := range found {
		rows[i] = accessKeyView(c, k)
	}
	return c.JSON(http.StatusOK, listing(c, "credentials", rows, nil))
}

var newAccessKeySchema = rest.Schema(`{"type": "object", "required": ["tenant_id"], "properties": {
	"tenant_id": {"type": "string", "minLength": 1, "maxLength": 64}
}}`)

func (a *API) createAccessKey(c echo.Context) error {
	if err := a.as(c).Owns("ec2_create_credential", c.Param("id")); err != nil {
		return err
	}
	var in attributes
	if err := rest.Bind(c, newAccessKeySchema, &in); err != nil {
		return err
	}
	made, err := a.as(c).CreateAccessKey(c.Request().Context(), c.Param("id"), in.or("tenant_id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, object{"credential": accessKeyView(c, made)})
}

func (a *API) showAccessKey(c echo.Context) error {
	found, err := a.as(c).AccessKey(c.Request().Context(), c.Param("id"), c.Param("access"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"credential": accessKeyView(c, found)})
}

func (a *API) deleteAccessKey(c echo.Context) error {
	if err := a.as(c).DeleteAccessKey(c.Request().Context(), c.Param("id"), c.Param("access")); err != nil {
		return err
	}
	return rest.NoContent(c)
}
