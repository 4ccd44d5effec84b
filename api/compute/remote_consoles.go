package compute

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountRemoteConsoles(g *echo.Group) {
	g.POST("/servers/:id/remote-consoles", a.createConsole, since(6), writerOnly(lifecycle.RemoteConsoles), rest.Expect(400, 403, 404, 409))
	g.GET("/os-console-auth-tokens/:token", a.showConsoleToken, adminOnly("os_compute_api:os-console-auth-tokens"), rest.Expect(400, 403, 404))
}

// Nova's protocols of consoles, and their types (schemas/remote_consoles.py).
var (
	protocols    = []string{"vnc", "spice", "serial", "rdp"}
	consoleTypes = []string{"novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"}

	createConsoleSchema   = consoleSchema(protocols, consoleTypes)
	createConsoleSchemaV8 = consoleSchema(append(slices.Clone(protocols), "mks"), append(slices.Clone(consoleTypes), "webmks"))
	vncConsoleSchema      = oldConsoleSchema("os-getVNCConsole", "novnc", "xvpvnc")
	serialConsoleSchema   = oldConsoleSchema("os-getSerialConsole", "serial")
)

func consoleSchema(protocols, types []string) *jsonschema.Schema {
	return compile(strict(object{"remote_console": strict(object{
		"protocol": object{"type": "string", "enum": protocols}, "type": object{"type": "string", "enum": types},
	}, "protocol", "type")}, "remote_console"))
}

func oldConsoleSchema(action string, types ...string) *jsonschema.Schema {
	return compile(strict(object{action: strict(object{"type": object{"type": "string", "enum": types}}, "type")}, action))
}

// createConsole answers as remote_consoles.py does since 2.6.
func (a *API) createConsole(c echo.Context) error {
	schema := createConsoleSchema
	if minorOf(c) >= 8 {
		schema = createConsoleSchemaV8
	}
	var body struct {
		Console struct {
			Protocol string `json:"protocol"`
			Type     string `json:"type"`
		} `json:"remote_console"`
	}
	if err := rest.Bind(c, schema, &body); err != nil {
		return err
	}
	v, err := a.server(c)
	if err != nil {
		return err
	}
	asked := body.Console
	url, err := a.console(c, v, asked.Protocol, asked.Type)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"remote_console": object{"protocol": asked.Protocol, "type": asked.Type, "url": url}})
}

func (a *API) vncConsole(c echo.Context, asked asking) error {
	return a.oldConsole(c, asked, vncConsoleSchema, contract.ConsoleVNC)
}

func (a *API) serialConsole(c echo.Context, asked asking) error {
	return a.oldConsole(c, asked, serialConsoleSchema, contract.ConsoleSerial)
}

// oldConsole answers as the actions did until 2.5.
func (a *API) oldConsole(c echo.Context, asked asking, schema *jsonschema.Schema, protocol string) error {
	if err := rest.Check(schema, object{asked.rows[0].Name: asked.raw}); err != nil {
		return err
	}
	var body struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(asked.raw, &body); err != nil {
		return invalid("Malformed request body")
	}
	url, err := a.console(c, asked.server, protocol, body.Type)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"console": object{"type": body.Type, "url": url}})
}

// console is the address at which a console is opened, once. What a protocol is not for, and what is not served, is refused as by a
// Nova that has it switched off (compute/manager.py).
func (a *API) console(c echo.Context, v models.Server, protocol, kind string) (string, error) {
	usual := map[string]string{contract.ConsoleVNC: "novnc", contract.ConsoleSerial: "serial"}[protocol]
	switch {
	case protocol == "rdp":
		return "", invalid("Unavailable console type rdp.")
	case usual == "":
		return "", invalid("Unavailable console type %s.", kind)
	case kind != usual:
		return "", invalid("Invalid console type %s", kind)
	}
	token, err := a.consoles.Grant(c.Request().Context(), v, protocol, "get_"+protocol+"_console", rest.CallerOf(c).UserID)
	if err != nil {
		return "", err
	}
	base := rest.BaseURL(c) + "/console"
	query := "?token=" + url.QueryEscape(token)
	if protocol == contract.ConsoleSerial {
		return "ws" + strings.TrimPrefix(base, "http") + query, nil
	}
	at, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	return base + "/vnc_auto.html?path=" + url.QueryEscape(strings.TrimPrefix(at.Path, "/")+query), nil
}

// showConsoleToken tells where a token leads, since 2.31; before, Nova told of a type that it has no more. A console here has no port:
// its host listens on none.
func (a *API) showConsoleToken(c echo.Context) error {
	if minorOf(c) < 31 {
		return fault.New(fault.Invalid, "The server could not comply with the request since it is either malformed or otherwise incorrect.")
	}
	v, err := a.consoles.Granted(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	var hostname *string
	if v.Host != nil {
		hostname = &v.Host.Hostname
	}
	return c.JSON(http.StatusOK, object{"console": object{"instance_uuid": v.ID, "host": hostname, "port": 0, "internal_access_path": nil}})
}
