package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServerActions(g *echo.Group) {
	g.POST("/servers/:id/action", a.act, rest.Expect(400, 403, 404, 409, 501))
	g.GET("/servers/:id/os-instance-actions", a.listActions, rest.Expect(400, 404))
	g.GET("/servers/:id/os-instance-actions/:request", a.showAction, rest.Expect(404))
}

// asking is an action that a body asks for.
type asking struct {
	server models.Server
	rows   []lifecycle.Action // that its word may mean
	raw    json.RawMessage    // what is said beside it
}

// actionBodies read what is said to an action, by its word, and do it. One that is not here takes anything, and begins.
var actionBodies = map[string]func(*API, echo.Context, asking) error{
	"addSecurityGroup":    (*API).addSecurityGroup,
	"os-getConsoleOutput": (*API).consoleOutput,
	"changePassword":      (*API).changePassword,
	"createBackup":        (*API).createBackup,
	"createImage":         (*API).createImage,
	"confirmResize":       (*API).confirmResize,
	"forceDelete":         (*API).forceDelete,
	"lock":                (*API).lock,
	"migrate":             (*API).migrate,
	"os-getSerialConsole": (*API).serialConsole,
	"os-getVNCConsole":    (*API).vncConsole,
	"os-resetState":       (*API).resetState,
	"reboot":              (*API).reboot,
	"rebuild":             (*API).rebuild,
	"removeSecurityGroup": (*API).removeSecurityGroup,
	"rescue":              (*API).rescue,
	"resize":              (*API).resize,
	"revertResize":        (*API).revertResize,
	"shelve":              (*API).shelve,
	"trigger_crash_dump":  (*API).triggerCrashDump,
	"unlock":              (*API).unlock,
	"unshelve":            (*API).unshelve,
}

// notServed are the actions that Nova has and servers here cannot do: not for their state or their arguments, so that nothing else
// would help.
var notServed = []string{
	"addFixedIp", "addFloatingIp", "evacuate", "injectNetworkInfo",
	"os-getMKSConsole", "os-getRDPConsole", "os-getSPICEConsole", "os-migrateLive",
	"removeFixedIp", "removeFloatingIp", "resetNetwork",
}

// act does the action that a body names. Each has a rule of its own that says who may; to those who may, an unknown server is 404
// whatever is asked of it.
func (a *API) act(c echo.Context) error {
	word, raw, malformed := actionOf(c)
	rows := lifecycle.OfUsers(word, minorOf(c))
	if len(rows) > 0 {
		if err := rest.Permit(c, rows[0].Policy); err != nil {
			return err
		}
		may := rest.CallerOf(c).CanWrite()
		if rows[0].Admin {
			may = rest.CallerOf(c).Admin()
		}
		if err := allow(may, rows[0].Policy); err != nil {
			return err
		}
	}
	v, err := a.server(c)
	switch {
	case err != nil:
		return err
	case malformed != nil:
		return malformed
	case slices.Contains(notServed, word):
		return rest.Status(http.StatusNotImplemented, "The requested functionality is not supported: this cloud does not serve the action %s yet.", word)
	case len(rows) == 0 && lifecycle.Known(word):
		return fault.New(fault.NotFound, "The resource could not be found.") // with another microversion it is
	case len(rows) == 0:
		return invalid("There is no such action: %s", word)
	}
	if read, ok := actionBodies[word]; ok {
		return read(a, c, asking{server: v, rows: rows, raw: raw})
	}
	return a.begin(c, v, rows[0], contract.ActionArguments{})
}

// actionOf is the one word of a body, with what is said to it.
func actionOf(c echo.Context) (word string, raw json.RawMessage, err error) {
	var body map[string]json.RawMessage
	if err := rest.Bind(c, anyObject, &body); err != nil {
		return "", nil, err
	}
	if len(body) != 1 {
		return "", nil, invalid("Malformed request body")
	}
	for word, raw = range body {
	}
	return word, raw, nil
}

// begin begins an action that holds the server's lock.
func (a *API) begin(c echo.Context, v models.Server, action lifecycle.Action, arguments contract.ActionArguments) error {
	if err := a.servers(c).Act(c.Request().Context(), v, action, arguments); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

var (
	anyObject     = compile(object{"type": "object"})
	consoleLength = regexp.MustCompile(`^-?[0-9]{1,9}$`)
	// unshowable are the bytes that Nova removes from a console's output.
	unshowable = regexp.MustCompile("[\x00-\x08\x0B-\x1F]")
)

// consoleOutput answers the last lines of the serial console (console_output.py): all of it without a length or with -1.
func (a *API) consoleOutput(c echo.Context, asked asking) error {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(asked.raw, &body); err != nil || body == nil {
		return field("os-getConsoleOutput", string(asked.raw), "is not of type 'object'")
	}
	lines := -1
	for name, value := range body {
		if name != "length" {
			return invalid("%s", additional([]string{name}))
		}
		word, err := scalar(value)
		if err != nil {
			return invalid("Malformed request body")
		}
		if word == "null" {
			continue
		}
		if !consoleLength.MatchString(word) {
			return field("length", word, "does not match '^-?[0-9]+$'")
		}
		if lines, err = strconv.Atoi(word); err != nil || lines < -1 {
			return field("length", word, "is less than the minimum of -1")
		}
	}
	output, err := a.servers(c).Console(c.Request().Context(), asked.server, lines)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"output": unshowable.ReplaceAllString(output, "")})
}

var rebootSchema = compile(strict(object{
	"reboot": strict(object{"type": object{"type": "string", "enum": []string{"HARD", "Hard", "hard", "SOFT", "Soft", "soft"}}}, "type"),
}, "reboot"))

// reboot begins the one that its type names (schemas/servers.py).
func (a *API) reboot(c echo.Context, asked asking) error {
	if err := rest.Check(rebootSchema, object{"reboot": asked.raw}); err != nil {
		return err
	}
	var body struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(asked.raw, &body); err != nil {
		return fmt.Errorf("read a reboot: %w", err)
	}
	n := slices.IndexFunc(asked.rows, func(row lifecycle.Action) bool { return row.Name == "reboot-"+strings.ToLower(body.Type) })
	return a.begin(c, asked.server, asked.rows[n], contract.ActionArguments{})
}

func actionView(c echo.Context, x models.InstanceAction) object {
	v := object{
		"action": x.Action, "instance_uuid": x.ServerID, "request_id": x.RequestID, "user_id": x.UserID,
		"project_id": x.ProjectID, "start_time": rest.TimeNaive(x.StartedAt), "message": x.Message,
	}
	if minorOf(c) >= 58 {
		v["updated_at"] = rest.TimeNaive(x.UpdatedAt)
	}
	return v
}

// actionsServer is the server whose actions are asked for: since 2.21 a deleted one too.
func (a *API) actionsServer(c echo.Context) (models.Server, error) {
	if minorOf(c) >= 21 {
		return a.servers(c).GetEvenDeleted(c.Request().Context(), c.Param("id"))
	}
	return a.server(c)
}

func (a *API) listActions(c echo.Context) error {
	minor := minorOf(c)
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return err
	}
	var f models.ServerFilter
	if minor >= 58 {
		if _, err := filterTimes(&f, func(names ...string) string { return c.QueryParam(names[0]) }, minor); err != nil {
			return err
		}
	}
	s, err := a.actionsServer(c)
	if err != nil {
		return err
	}
	actions, err := a.servers(c).Actions(c.Request().Context(), s)
	if err != nil {
		return err
	}
	body := object{}
	if minor >= 58 {
		if actions, err = pageOfActions(actions, page, f); err != nil {
			return err
		}
		if n := len(actions); n > 0 {
			if next := page.NextLinks(c, n, actions[n-1].RequestID); next != nil {
				body["links"] = next
			}
		}
	}
	views := make([]object, len(actions))
	for i, x := range actions {
		views[i] = actionView(c, x)
	}
	body["instanceActions"] = views
	return c.JSON(http.StatusOK, body)
}

// pageOfActions cuts a server's few actions as the query asks; the marker is a request id.
func pageOfActions(all []models.InstanceAction, page rest.Page, f models.ServerFilter) ([]models.InstanceAction, error) {
	var out []models.InstanceAction
	begun := page.Marker == ""
	for _, x := range all {
		if !begun {
			begun = x.RequestID == page.Marker
			continue
		}
		if f.ChangesSince != nil && x.UpdatedAt.Before(*f.ChangesSince) || f.ChangesBefore != nil && x.UpdatedAt.After(*f.ChangesBefore) {
			continue
		}
		if len(out) < page.Limit {
			out = append(out, x)
		}
	}
	if !begun {
		return nil, invalid("Marker %s could not be found.", page.Marker)
	}
	return out, nil
}

func (a *API) showAction(c echo.Context) error {
	s, err := a.actionsServer(c)
	if err != nil {
		return err
	}
	admin, minor := rest.CallerOf(c).Admin(), minorOf(c)
	withEvents := admin || minor >= 51
	x, err := a.servers(c).Action(c.Request().Context(), s, c.Param("request"), withEvents)
	if err != nil {
		return err
	}
	v := actionView(c, x)
	if !withEvents {
		return c.JSON(http.StatusOK, object{"instanceAction": v})
	}
	views := make([]object, len(x.Events))
	for i, e := range x.Events {
		views[i] = eventView(e, s.ProjectID, admin, minor)
	}
	v["events"] = views
	return c.JSON(http.StatusOK, object{"instanceAction": v})
}

// eventView is one event as instance_actions.py _format_event shows it.
func eventView(e models.InstanceActionEvent, projectID string, admin bool, minor int) object {
	v := object{
		"event": e.Event, "start_time": rest.TimeNaive(e.StartedAt), "finish_time": rest.TimeNaivePtr(e.EndedAt), "result": e.Result,
	}
	if admin {
		v["traceback"] = e.Traceback
	}
	if minor >= 62 {
		hostname := ""
		if e.Host != nil {
			hostname = *e.Host
		}
		if admin {
			v["host"] = e.Host
		}
		v["hostId"] = ids.Host(projectID, hostname)
	}
	if minor >= 84 {
		v["details"] = e.Details
	}
	return v
}
