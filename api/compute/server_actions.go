package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServerActions(g *echo.Group) {
	g.POST("/servers/:id/action", a.act, writerOnly("os_compute_api:servers:action"), rest.Expect(400, 403, 404, 409))
	g.GET("/servers/:id/os-instance-actions", a.listActions, rest.Expect(400, 404))
	g.GET("/servers/:id/os-instance-actions/:request", a.showAction, rest.Expect(404))
}

// act finds the action that a body names.
func (a *API) act(c echo.Context) error {
	var body map[string]json.RawMessage
	if err := rest.Bind(c, anyObject, &body); err != nil {
		return err
	}
	if len(body) != 1 {
		return invalid("Malformed request body")
	}
	for name, raw := range body {
		if name == "os-getConsoleOutput" {
			return a.consoleOutput(c, raw)
		}
		if action, ok := lifecycle.OfUsers(name, minorOf(c)); ok {
			return a.do(c, action)
		}
		return invalid("There is no such action: %s", name)
	}
	return nil
}

// How often an action is submitted where the server's lock is held although its row says that nothing is done to it: what
// held it is about to end.
const (
	submissions    = 10
	submissionRest = 100 * time.Millisecond
)

// do starts an action that is a workflow. It is accepted when the server is marked.
func (a *API) do(c echo.Context, action lifecycle.Action) error {
	if err := allow(rest.CallerOf(c).CanWrite(), action.Policy); err != nil {
		return err
	}
	ctx := c.Request().Context()
	for n := 1; ; n++ {
		s, err := a.server(c)
		if err != nil {
			return err
		}
		if err := s.CanBegin(action); err != nil {
			return err
		}
		refused := a.builds.Do(ctx, action.Workflow, contract.ActionInput{
			Action: action.Name, ServerID: s.ID, ProjectID: s.ProjectID, UserID: rest.CallerOf(c).UserID,
			RequestID: rest.RequestID(c), Name: s.Name, Deadlines: a.config.Deadlines,
		})
		if refused == nil {
			return c.NoContent(http.StatusAccepted)
		}
		// The row says who was accepted, as of a build (docs/decisions/0018-the-row-answers.md).
		switch _, err := a.store.Action(ctx, s.ID, rest.RequestID(c)); {
		case err == nil:
			return c.NoContent(http.StatusAccepted)
		case !fault.Is(err, fault.NotFound):
			return fmt.Errorf("look for what was asked of server %s: %w", s.ID, err)
		case !fault.Is(refused, fault.Conflict) || n == submissions:
			return fmt.Errorf("%s server %s: %w", action.Method, s.ID, refused)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(submissionRest):
		}
	}
}

var (
	anyObject     = compile(object{"type": "object"})
	consoleLength = regexp.MustCompile(`^-?[0-9]{1,9}$`)
	// unshowable are the bytes that Nova removes from a console's output.
	unshowable = regexp.MustCompile("[\x00-\x08\x0B-\x1F]")
)

// consoleOutput answers the last lines of the serial console (console_output.py): all of it without a length or with -1.
func (a *API) consoleOutput(c echo.Context, raw json.RawMessage) error {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil || body == nil {
		return field("os-getConsoleOutput", string(raw), "is not of type 'object'")
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
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if s.Host == nil {
		return fault.New(fault.Conflict, "Instance %s is not ready", s.ID)
	}
	output := ""
	if lines != 0 {
		output, err = a.builds.Console(c.Request().Context(), contract.ConsoleInput{
			ServerID: s.ID, Hostname: s.Host.Hostname, Lines: max(lines, 0),
		})
		if err != nil {
			return fmt.Errorf("read the console of server %s: %w", s.ID, err)
		}
	}
	return c.JSON(http.StatusOK, map[string]string{"output": unshowable.ReplaceAllString(output, "")})
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
		return a.find(c, a.store.ServerEvenDeleted)
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
	actions, err := a.store.Actions(c.Request().Context(), s.ID)
	if err != nil {
		return fmt.Errorf("list the actions of server %s: %w", s.ID, err)
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
	request := c.Param("request")
	x, err := a.store.Action(c.Request().Context(), s.ID, request)
	if err != nil {
		return absentAs(err, fault.NotFound, "Action %s not found", request)
	}
	v := actionView(c, x)
	admin, minor := rest.CallerOf(c).Admin(), minorOf(c)
	if !admin && minor < 51 {
		return c.JSON(http.StatusOK, object{"instanceAction": v})
	}
	events := x.Events
	if len(events) == 0 && s.DeletedAt == nil {
		// The row gets its events when the build has ended; until then the running build itself tells.
		if events, err = a.liveEvents(c, s, x); err != nil {
			return err
		}
	}
	views := make([]object, len(events))
	for i, e := range events {
		views[i] = eventView(e, s.ProjectID, admin, minor)
	}
	v["events"] = views
	return c.JSON(http.StatusOK, object{"instanceAction": v})
}

// liveEvents turns the progress of a running build into events. Where the progress cannot be had now, the action is shown
// without events: they are an extra, and the row's own come when the build ends.
func (a *API) liveEvents(c echo.Context, s models.Server, x models.InstanceAction) ([]models.InstanceActionEvent, error) {
	running := x.Action == "create" && s.VMState == lifecycle.Building ||
		x.Action == "delete" && s.TaskState != nil && *s.TaskState == lifecycle.Deleting
	if !running {
		return nil, nil
	}
	steps, err := a.builds.Progress(c.Request().Context(), s.ID)
	if err != nil {
		if !fault.Is(err, fault.NotFound) {
			rest.Logger(c).Warn("no progress of a running build", "server_id", s.ID, "error", err.Error())
		}
		return nil, nil
	}
	return EventsOf(x.ServerID, x.RequestID, steps), nil
}

// EventsOf shows the steps that have begun as the events of an action.
func EventsOf(serverID, requestID string, steps []contract.StepProgress) []models.InstanceActionEvent {
	var events []models.InstanceActionEvent
	for _, p := range steps {
		if p.Started == nil {
			continue
		}
		e := models.InstanceActionEvent{
			ServerID: serverID, RequestID: requestID, Seq: len(events), Event: p.Step, StartedAt: *p.Started, EndedAt: p.Finished,
		}
		if p.Host != "" {
			e.Host = &p.Host
		}
		if p.Finished != nil {
			result := "Success"
			if p.Error != "" || p.State == contract.StepFailed {
				result = "Error"
				e.Details = &p.Error
			}
			e.Result = &result
		}
		events = append(events, e)
	}
	return events
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
