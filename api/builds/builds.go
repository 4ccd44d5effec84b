// Package builds is Slipway's own API of what builds are doing, for operators (role admin): which run, which have an undo
// that waits or a phase that takes too long, and why; and to have a waiting undo tried again, or given up.
package builds

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Builds is what runs: engine.Client.
type Builds interface {
	Builds(ctx context.Context, f engine.BuildFilter) (found []engine.BuildSummary, next string, err error)
	Build(ctx context.Context, id string) (engine.Build, error)
	Act(ctx context.Context, id string, act contract.OperatorAct) error
	CountBuilds(ctx context.Context) (engine.BuildCounts, error)
}

// API serves /builds.
type API struct {
	store  *models.Store
	builds Builds
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, builds Builds) *API { return &API{store: store, builds: builds} }

// Mount adds the routes to g, which is the group "/builds".
func (a *API) Mount(g *echo.Group) {
	admin := []echo.MiddlewareFunc{rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireAdmin}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.list, append(admin, rest.Expect(400, 403))...)
	}
	g.GET("/:id", a.show, append(admin, rest.Expect(403, 404))...)
	g.POST("/:id/action", a.act, append(admin, rest.Expect(400, 403, 404, 409))...)
}

// summary is a build in the list.
type summary struct {
	ID            string  `json:"id"`
	RunID         string  `json:"run_id"`
	Workflow      string  `json:"workflow"` // BootServer, DeleteServer or CleanUp
	ServerID      string  `json:"server_id"`
	ProjectID     string  `json:"project_id"`
	Host          *string `json:"host"`
	ImageID       *string `json:"image_id"`
	ReservationID *string `json:"reservation_id"`
	Status        string  `json:"status"` // of the workflow: running, completed, failed, ...
	Phase         string  `json:"phase"`
	Parked        bool    `json:"parked"`
	Overdue       bool    `json:"overdue"`
	StartedAt     string  `json:"started_at"`
	EndedAt       *string `json:"ended_at"`
}

func summaryOf(b engine.BuildSummary) summary {
	return summary{
		ID: b.ID, RunID: b.RunID, Workflow: b.Workflow, ServerID: b.ServerID, ProjectID: b.ProjectID,
		Host: rest.Optional(b.Host), ImageID: rest.Optional(b.ImageID), ReservationID: rest.Optional(b.ReservationID),
		Status: b.Status, Phase: b.Phase, Parked: b.Running() && b.Phase == "parked", Overdue: b.Overdue != "",
		StartedAt: rest.Time(b.StartedAt), EndedAt: rest.TimePtr(b.EndedAt),
	}
}

// defaultPage is how many builds a page holds where the query names no limit.
const defaultPage = 100

func (a *API) list(c echo.Context) error {
	page, err := rest.PageOf(c, defaultPage)
	if err != nil {
		return err
	}
	f := engine.BuildFilter{Limit: page.Limit, Page: page.Marker}
	for name, values := range c.QueryParams() {
		value := values[len(values)-1]
		switch name {
		case "limit", "marker":
		case "server":
			f.ServerID = value
		case "project":
			f.ProjectID = value
		case "host":
			f.Host = value
		case "reservation":
			f.ReservationID = value
		case "phase":
			f.Phase = value
		case "parked":
			f.Parked, err = flag(name, value)
		case "overdue":
			f.Overdue, err = flag(name, value)
		case "all":
			f.Ended, err = flag(name, value)
		default:
			err = fault.New(fault.Invalid, "There is no filter %q of builds.", name)
		}
		if err != nil {
			return err
		}
	}
	found, next, err := a.builds.Builds(c.Request().Context(), f)
	if err != nil {
		return fmt.Errorf("list the builds: %w", err)
	}
	views := make([]summary, len(found))
	for i, b := range found {
		views[i] = summaryOf(b)
	}
	body := map[string]any{"builds": views}
	if next != "" {
		body["builds_links"] = page.NextLinks(c, page.Limit, next)
	}
	return c.JSON(http.StatusOK, body)
}

// flag is a filter that is set or not; it may stand alone ("?parked").
func flag(name, value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	set, err := strconv.ParseBool(value)
	if err != nil {
		return false, fault.New(fault.Invalid, "The filter %s is true or false, not %q.", name, value)
	}
	return set, nil
}

// build is one build alone. Times have microseconds: steps take milliseconds.
type build struct {
	summary
	Since      *string   `json:"phase_since"`
	Unanswered *string   `json:"unanswered"` // why steps and undos are not known
	Steps      []step    `json:"steps"`
	Undos      []undo    `json:"undos"` // in the order in which they were registered; the last is undone first
	Pending    []pending `json:"pending"`
	Acts       []act     `json:"acts"`
}

type step struct {
	Step       string  `json:"step"`
	Host       *string `json:"host"`
	Index      int     `json:"index"` // which NIC
	State      string  `json:"state"`
	Phase      string  `json:"phase"`
	StartedAt  *string `json:"started_at"`
	FinishedAt *string `json:"finished_at"`
	Error      *string `json:"error"`
}

type undo struct {
	ID      string  `json:"id"`
	Host    *string `json:"host"`
	State   string  `json:"state"`
	Since   *string `json:"since"`
	Tries   int     `json:"tries"`
	Error   *string `json:"error"` // of the last try, or why it was skipped where no operator did
	NextTry *string `json:"next_try"`
}

// pending is a do or undo that runs or waits for its next try.
type pending struct {
	Step      string  `json:"step"`
	Undo      *string `json:"undo"` // its id
	Host      *string `json:"host"`
	Tries     int     `json:"tries"`
	StartedAt string  `json:"started_at"`
	Error     *string `json:"error"`
	NextTry   *string `json:"next_try"`
}

// act is what an operator did.
type act struct {
	At        string  `json:"at"`
	Act       string  `json:"act"`
	Undo      *string `json:"undo"` // null: every one that waited
	Reason    *string `json:"reason"`
	UserID    string  `json:"user_id"`
	RequestID string  `json:"request_id"`
}

func micro(t *time.Time) *string {
	if t == nil || t.IsZero() {
		return nil
	}
	s := rest.TimeMicro(*t)
	return &s
}

// show answers one build. One whose history the engine no longer keeps is still shown where operators acted on it.
func (a *API) show(c echo.Context) error {
	ctx, id := c.Request().Context(), c.Param("id")
	b, err := a.builds.Build(ctx, id)
	forgotten := fault.Is(err, fault.NotFound)
	if err != nil && !forgotten {
		return fmt.Errorf("read build %s: %w", id, err)
	}
	workflowID, unknown := engine.BuildWorkflowID(id)
	if unknown != nil {
		return unknown
	}
	acts, readErr := a.acts(ctx, workflowID)
	switch {
	case readErr != nil:
		return readErr
	case forgotten && len(acts) == 0:
		return err
	}
	v := build{summary: summaryOf(b.BuildSummary), Unanswered: rest.Optional(b.Unanswered), Steps: []step{}, Undos: []undo{}, Pending: []pending{}, Acts: acts}
	if forgotten {
		v = build{summary: summary{ID: id, Status: "forgotten"}, Steps: v.Steps, Undos: v.Undos, Pending: v.Pending, Acts: acts}
	}
	if s := b.State; s != nil {
		v.Phase, v.Since = s.Phase, micro(&s.Since)
		v.Overdue = v.Overdue || s.Overdue && b.Running()
		for _, p := range s.Steps {
			v.Steps = append(v.Steps, step{
				Step: p.Step, Host: rest.Optional(p.Host), Index: p.Index, State: string(p.State), Phase: string(p.Phase),
				StartedAt: micro(p.Started), FinishedAt: micro(p.Finished), Error: rest.Optional(p.Error),
			})
		}
		for _, u := range s.Undos {
			line := undo{ID: u.ID, Host: rest.Optional(u.Host), State: u.State, Since: micro(u.Since), Tries: u.Tries, Error: rest.Optional(u.Error)}
			if i := slices.IndexFunc(b.Pending, func(p engine.PendingStep) bool { return p.Undo == u.ID }); i >= 0 {
				line.NextTry = micro(b.Pending[i].NextTry)
			}
			v.Undos = append(v.Undos, line)
		}
	}
	for _, p := range b.Pending {
		v.Pending = append(v.Pending, pending{
			Step: p.Step, Undo: rest.Optional(p.Undo), Host: rest.Optional(p.Host), Tries: p.Tries, StartedAt: rest.TimeMicro(p.StartedAt),
			Error: rest.Optional(p.Error), NextTry: micro(p.NextTry),
		})
	}
	return c.JSON(http.StatusOK, map[string]any{"build": v})
}

// acts are what operators did with the undos of a workflow, of all its runs.
func (a *API) acts(ctx context.Context, workflowID string) ([]act, error) {
	_, server, _ := strings.Cut(workflowID, "/")
	kept, err := a.store.OperatorActs(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("list what operators did with %s: %w", workflowID, err)
	}
	acts := []act{}
	for _, k := range kept {
		if k.WorkflowID == workflowID {
			acts = append(acts, act{
				At: rest.TimeMicro(k.At), Act: k.Act, Undo: rest.Optional(k.Undo), Reason: rest.Optional(k.Reason), UserID: k.UserID, RequestID: k.RequestID,
			})
		}
	}
	return acts, nil
}

var actSchema = rest.Schema(`{
	"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	"properties": {
		"retry": {
			"type": "object", "additionalProperties": false,
			"properties": {"undo": {"type": "string", "minLength": 1, "maxLength": 500}, "reason": {"type": "string", "maxLength": 1000}}
		},
		"skip": {
			"type": "object", "additionalProperties": false, "required": ["undo", "reason"],
			"properties": {
				"undo": {"type": "string", "minLength": 1, "maxLength": 500},
				"reason": {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": "\\S"}
			}
		}
	}
}`)

// act has undos that wait tried again at once, or gives one up. The answer comes when it is recorded and has been done.
func (a *API) act(c echo.Context) error {
	type choice struct {
		Undo   string `json:"undo"`
		Reason string `json:"reason"`
	}
	var body struct {
		Retry *choice `json:"retry"`
		Skip  *choice `json:"skip"`
	}
	if err := rest.Bind(c, actSchema, &body); err != nil {
		return err
	}
	kind, chosen := contract.ActRetry, body.Retry
	if body.Skip != nil {
		kind, chosen = contract.ActSkip, body.Skip
	}
	id := c.Param("id")
	err := a.builds.Act(c.Request().Context(), id, contract.OperatorAct{
		Act: kind, Undo: chosen.Undo, Reason: chosen.Reason, UserID: rest.CallerOf(c).UserID, RequestID: rest.RequestID(c),
	})
	if err != nil {
		return fmt.Errorf("%s undos of build %s: %w", kind, id, err)
	}
	rest.Logger(c).Info("an operator acted on undos", "build", id, "act", kind, "undo", chosen.Undo, "reason", chosen.Reason, "user", rest.CallerOf(c).UserID)
	return c.NoContent(http.StatusNoContent)
}
