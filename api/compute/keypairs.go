package compute

import (
	"hash/crc32"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountKeyPairs(g *echo.Group) {
	g.GET("/os-keypairs", a.listKeyPairs, rest.Expect(400, 403))
	g.POST("/os-keypairs", a.createKeyPair, writerOnly("os_compute_api:os-keypairs:create"), rest.Expect(400, 403, 409))
	g.GET("/os-keypairs/:name", a.showKeyPair, rest.Expect(400, 403, 404))
	g.DELETE("/os-keypairs/:name", a.deleteKeyPair, writerOnly("os_compute_api:os-keypairs:delete"), rest.Expect(400, 403, 404))
}

func keyPairSchema(minor int) object {
	pattern := `^[_\- a-zA-Z0-9]+$`
	if minor >= 92 {
		pattern = `^[_\-@. a-zA-Z0-9]+$`
	}
	p := object{
		"name":       object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": pattern},
		"public_key": object{"type": "string"},
	}
	if minor >= 2 {
		p["type"] = object{"type": "string", "enum": []any{"ssh", "x509"}}
	}
	if minor >= 10 {
		p["user_id"] = object{"type": "string"}
	}
	required := []string{"name"}
	if minor >= 92 {
		required = append(required, "public_key")
	}
	return wrapped("keypair", strict(p, required...))
}

var keyPairSchemas = byVersion("POST /os-keypairs", keyPairSchema)

// keyOwner is whose keys a request is about: the caller's, or since 2.10 another user's for an admin.
func keyOwner(c echo.Context, asked, policy string) (string, error) {
	caller := rest.CallerOf(c)
	if asked == "" || minorOf(c) < 10 {
		return caller.UserID, nil
	}
	return asked, allow(asked == caller.UserID || caller.Admin(), "os_compute_api:os-keypairs:"+policy)
}

func (a *API) createKeyPair(c echo.Context) error {
	var body struct {
		KeyPair struct {
			Name      string  `json:"name"`
			PublicKey *string `json:"public_key"`
			Type      string  `json:"type"`
			UserID    string  `json:"user_id"`
		} `json:"keypair"`
	}
	minor := minorOf(c)
	if err := rest.Bind(c, keyPairSchemas.at(minor), &body); err != nil {
		return err
	}
	in := body.KeyPair
	if err := checkName(in.Name); err != nil {
		return err
	}
	owner, err := keyOwner(c, in.UserID, "create")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if owner != rest.CallerOf(c).UserID {
		if _, err := a.store.User(ctx, owner); err != nil {
			return fault.Absent(err, fault.Invalid, "User %s could not be found.", owner)
		}
	}
	key, private, err := a.servers(c).CreateKeyPair(ctx, servers.NewKeyPair{UserID: owner, Name: in.Name, Type: in.Type, PublicKey: in.PublicKey})
	if err != nil {
		return err
	}
	v := keyPairView(c, key)
	v["user_id"] = key.UserID
	if private != "" {
		v["private_key"] = private
	}
	status := http.StatusOK
	if minor >= 2 {
		status = http.StatusCreated
	}
	return c.JSON(status, object{"keypair": v})
}

// keyPairView is what every view of a key pair shows.
func keyPairView(c echo.Context, k models.KeyPair) object {
	v := object{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint}
	if minorOf(c) >= 2 {
		v["type"] = k.Type
	}
	return v
}

func (a *API) listKeyPairs(c echo.Context) error {
	if err := strictQuery(c, "user_id", "limit", "marker"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "index")
	if err != nil {
		return err
	}
	var page rest.Page
	if minorOf(c) >= 35 {
		if page, err = rest.PageOf(c, rest.MaxPage); err != nil {
			return err
		}
	}
	keys, err := a.store.ListKeyPairs(c.Request().Context(), owner, page.Marker, page.Limit)
	if err != nil {
		return markerAs(err, page.Marker)
	}
	return c.JSON(http.StatusOK, listed(c, "keypairs", page, keys, func(k models.KeyPair) (string, object) {
		return k.Name, object{"keypair": keyPairView(c, k)}
	}))
}

func (a *API) showKeyPair(c echo.Context) error {
	if err := strictQuery(c, "user_id"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "show")
	if err != nil {
		return err
	}
	name := c.Param("name")
	k, err := a.store.KeyPair(c.Request().Context(), owner, name)
	if err != nil {
		return fault.Absent(err, fault.NotFound, "Keypair %s not found for user %s", name, owner)
	}
	v := keyPairView(c, k)
	v["user_id"] = k.UserID
	v["created_at"] = rest.TimeNaive(k.CreatedAt)
	v["deleted"], v["deleted_at"], v["updated_at"] = false, nil, nil
	v["id"] = crc32.ChecksumIEEE([]byte(k.UserID+"/"+k.Name)) >> 1 // Nova shows its row number; here a name is the key
	return c.JSON(http.StatusOK, object{"keypair": v})
}

func (a *API) deleteKeyPair(c echo.Context) error {
	if err := strictQuery(c, "user_id"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "delete")
	if err != nil {
		return err
	}
	name := c.Param("name")
	if err := a.store.DeleteKeyPair(c.Request().Context(), owner, name); err != nil {
		return fault.Absent(err, fault.NotFound, "Keypair %s not found for user %s", name, owner)
	}
	if minorOf(c) < 2 {
		return c.NoContent(http.StatusAccepted)
	}
	return c.NoContent(http.StatusNoContent)
}
