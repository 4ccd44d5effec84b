package compute

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// updateServerSchema is the body of PUT /servers/{id} at a microversion (schemas/servers.py).
func updateServerSchema(minor int) object {
	p := object{
		"name":              nameSchema,
		"OS-DCF:diskConfig": diskConfigSchema,
		"accessIPv4":        ipv4Schema,
		"accessIPv6":        ipv6Schema,
	}
	if minor >= 19 {
		p["description"] = descriptionSchema
	}
	if minor >= 90 {
		p["hostname"] = hostnameSchema(minor)
	}
	return wrapped("server", strict(p))
}

var updateServerSchemas = byVersion("PUT /servers/:id", updateServerSchema)

func (a *API) updateServer(c echo.Context) error {
	var body struct {
		Server map[string]*string `json:"server"` // nil is null, which a description may be
	}
	v, err := a.bindOf(c, updateServerSchemas.at(minorOf(c)), &body)
	if err != nil {
		return err
	}
	u, err := updateOf(body.Server)
	if err != nil {
		return err
	}
	s, err := a.servers(c).Update(c.Request().Context(), v, u)
	if err != nil {
		return err
	}
	view, err := a.changedView(c, s)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"server": view})
}

// updateOf reads what is asked for out of Nova's words.
func updateOf(asked map[string]*string) (servers.Update, error) {
	u := servers.Update{Name: asked["name"], Hostname: asked["hostname"], AccessIPv4: asked["accessIPv4"], AccessIPv6: asked["accessIPv6"]}
	if word := asked["OS-DCF:diskConfig"]; word != nil {
		u.AutoDiskConfig = new(*word == diskConfig(true))
	}
	if u.Name != nil {
		if err := checkName(*u.Name); err != nil {
			return u, err
		}
	}
	if text, given := asked["description"]; given {
		u.Description = &text
		if text != nil {
			if err := checkDescription(*text); err != nil {
				return u, err
			}
		}
	}
	return u, nil
}

// changedView is a server as Nova shows it to whoever changed it: before 2.75 without what extensions once added to GET.
func (a *API) changedView(c echo.Context, s models.Server) (object, error) {
	view := a.serverView(c, s, true)
	if minorOf(c) >= 75 {
		return view, a.showUserData(c, view)
	}
	for name := range view {
		if slices.ContainsFunc(extensions, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			delete(view, name)
		}
	}
	if s.VMState != lifecycle.Building {
		view["addresses"] = addresses(s.Ports, false)
	}
	return view, nil
}

// extensions begin the names that they added.
var extensions = []string{
	"OS-EXT-", "OS-SRV-USG:", "os-extended-volumes:", "config_drive", "key_name", "security_groups", "host_status",
}
