// Package audit is Slipway's own API of audits, for operators (role admin): it starts them, shows what they found, and has
// findings repaired that an operator chose.
package audit

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Audits is what runs audits and repairs: engine.Client.
type Audits interface {
	// Audit starts one, or meets the one that runs (joined).
	Audit(ctx context.Context, requestID string) (runID string, joined bool, err error)
	Repair(ctx context.Context, in contract.RepairInput) error
}

// API serves /audits.
type API struct {
	store     *models.Store
	audits    Audits
	deadlines contract.Deadlines
	now       func() time.Time
}

// New makes the API; Mount puts it under a path. Without audits it only shows. deadlines are those of a delete that a repair
// takes up again.
func New(store *models.Store, audits Audits, deadlines contract.Deadlines) *API {
	return &API{store: store, audits: audits, deadlines: deadlines, now: time.Now}
}

// Mount adds the routes to g, which is the group "/audits".
func (a *API) Mount(g *echo.Group) {
	admin := []echo.MiddlewareFunc{rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireAdmin}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.list, append(admin, rest.Expect(400, 403))...)
		g.POST(root, a.start, append(admin, rest.Expect(403))...)
	}
	g.GET("/findings", a.findings, append(admin, rest.Expect(403))...)
	g.POST("/repairs", a.repair, append(admin, rest.Expect(400, 403, 404))...)
	g.GET("/repairs/:id", a.showRepair, append(admin, rest.Expect(403, 404))...)
	g.GET("/:id", a.show, append(admin, rest.Expect(403, 404))...)
}

// run is an audit.
type run struct {
	ID         string  `json:"id"`
	State      string  `json:"state"`   // running, done or failed
	Outcome    *string `json:"outcome"` // of one that has ended: clean, findings, incomplete or failed
	StartedAt  string  `json:"started_at"`
	FinishedAt *string `json:"finished_at"`
	Hosts      int     `json:"hosts"`
	Looked     int     `json:"hosts_looked_at"`
	Findings   int     `json:"findings"` // open at its end, without warnings
	Warnings   int     `json:"warnings"` // what was not looked at
	Error      *string `json:"error"`
}

func runOf(r models.AuditRun) run {
	v := run{
		ID: r.ID, State: r.State, StartedAt: rest.TimeMicro(r.StartedAt), Hosts: len(r.Hosts), Looked: len(r.Looked),
		Findings: r.Findings, Warnings: r.Warnings, Error: r.Error,
	}
	if r.FinishedAt != nil {
		finished, outcome := rest.TimeMicro(*r.FinishedAt), "clean"
		switch {
		case r.State == models.AuditFailed:
			outcome = "failed"
		case r.Findings > 0:
			outcome = "findings"
		case r.Warnings > 0:
			outcome = "incomplete"
		}
		v.FinishedAt, v.Outcome = &finished, &outcome
	}
	return v
}

// finding is one that is open.
type finding struct {
	ID        string  `json:"id"` // the same whenever the same thing is found
	Kind      string  `json:"kind"`
	Severity  string  `json:"severity"` // finding, or warning: something was not looked at
	Object    string  `json:"object"`
	ServerID  *string `json:"server_id"`
	Host      *string `json:"host"`
	Text      string  `json:"text"`
	Repair    *string `json:"repair"`     // what a repair would do; null: only an operator can do something
	NamedOnly bool    `json:"named_only"` // a repair of all that can be repaired leaves it out
	FirstSeen string  `json:"first_seen_at"`
	LastSeen  string  `json:"last_seen_at"`
}

func findingOf(f models.AuditFinding) finding {
	v := finding{
		ID: f.ID, Kind: f.Kind, Severity: "finding", Object: f.Object, ServerID: rest.Optional(f.ServerID), Host: rest.Optional(f.Host), Text: f.Text,
		Repair: rest.Optional(f.Repair), NamedOnly: f.Named, FirstSeen: rest.TimeMicro(f.FirstSeen), LastSeen: rest.TimeMicro(f.LastSeen),
	}
	if f.Warning {
		v.Severity = "warning"
	}
	return v
}

func (a *API) list(c echo.Context) error {
	const usual = 20
	page, err := rest.PageOf(c, usual)
	if err != nil {
		return err
	}
	runs, err := a.store.AuditRuns(c.Request().Context(), page.Limit)
	if err != nil {
		return fmt.Errorf("list the audits: %w", err)
	}
	views := make([]run, len(runs))
	for i, r := range runs {
		views[i] = runOf(r)
	}
	return c.JSON(http.StatusOK, map[string]any{"audits": views})
}

func (a *API) start(c echo.Context) error {
	if a.audits == nil {
		return fault.New(fault.Unavailable, "Audits cannot be started here.")
	}
	ctx, began := c.Request().Context(), a.now()
	id, joined, err := a.audits.Audit(ctx, rest.RequestID(c))
	if err != nil {
		return fmt.Errorf("start an audit: %w", err)
	}
	// The run makes its row itself, a moment later; whoever asks for it before that finds it.
	if err := a.store.NoteAuditRun(ctx, id, began); err != nil {
		return fmt.Errorf("note audit %s: %w", id, err)
	}
	r, err := a.store.AuditRun(ctx, id)
	if err != nil {
		return fmt.Errorf("read audit %s: %w", id, err)
	}
	rest.Logger(c).Info("audit asked for", "audit_id", id, "joined", joined)
	return c.JSON(http.StatusAccepted, map[string]any{"audit": runOf(r), "joined": joined})
}

func (a *API) show(c echo.Context) error {
	r, err := a.store.AuditRun(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"audit": runOf(r)})
}

func (a *API) findings(c echo.Context) error {
	open, err := a.store.AuditFindings(c.Request().Context(), models.AuditFindingFilter{
		Kind: c.QueryParam("kind"), Host: c.QueryParam("host"), ServerID: c.QueryParam("server"),
	})
	if err != nil {
		return fmt.Errorf("list the findings: %w", err)
	}
	return c.JSON(http.StatusOK, map[string]any{"findings": findingsOf(open)})
}

func findingsOf(open []models.AuditFinding) []finding {
	views := make([]finding, len(open))
	for i, f := range open {
		views[i] = findingOf(f)
	}
	return views
}

// repairMax bounds one repair; what is beyond it takes another.
const repairMax = 500

var repairSchema = rest.Schema(`{
	"type": "object", "required": ["repair"], "additionalProperties": false,
	"properties": {"repair": {
		"type": "object", "additionalProperties": false,
		"properties": {
			"findings": {"type": "array", "minItems": 1, "maxItems": 500, "uniqueItems": true, "items": {"type": "string", "format": "uuid"}},
			"dry_run": {"type": "boolean"}
		}
	}}
}`)

// repair has findings repaired, or says what it would do. Without findings it is all that can be repaired without being named.
func (a *API) repair(c echo.Context) error {
	var body struct {
		Repair struct {
			Findings []string `json:"findings"`
			DryRun   bool     `json:"dry_run"`
		} `json:"repair"`
	}
	if err := rest.Bind(c, repairSchema, &body); err != nil {
		return err
	}
	ctx := c.Request().Context()
	chosen, err := a.store.AuditFindings(ctx, models.AuditFindingFilter{IDs: body.Repair.Findings, OnlyRepairable: len(body.Repair.Findings) == 0})
	if err != nil {
		return fmt.Errorf("find what to repair: %w", err)
	}
	for _, id := range body.Repair.Findings {
		if !contains(chosen, id) {
			return fault.New(fault.NotFound, "There is no open finding %s.", id)
		}
	}
	chosen = chosen[:min(len(chosen), repairMax)]
	if body.Repair.DryRun {
		return c.JSON(http.StatusOK, map[string]any{"repair": map[string]any{"dry_run": true, "findings": findingsOf(chosen)}})
	}
	if a.audits == nil {
		return fault.New(fault.Unavailable, "Repairs cannot be started here.")
	}
	caller := rest.CallerOf(c)
	r := models.AuditRepair{ID: uuid.NewString(), UserID: caller.UserID, RequestID: rest.RequestID(c), StartedAt: a.now()}
	for _, f := range chosen {
		r.Findings = append(r.Findings, f.ID)
	}
	if err := a.store.CreateAuditRepair(ctx, r); err != nil {
		return fmt.Errorf("keep repair %s: %w", r.ID, err)
	}
	if err := a.audits.Repair(ctx, contract.RepairInput{RepairID: r.ID, UserID: r.UserID, RequestID: r.RequestID, Deadlines: a.deadlines}); err != nil {
		return fmt.Errorf("start repair %s: %w", r.ID, err)
	}
	rest.Logger(c).Info("repair asked for", "repair_id", r.ID, "findings", len(r.Findings))
	return c.JSON(http.StatusAccepted, map[string]any{"repair": repairOf(r)})
}

func contains(all []models.AuditFinding, id string) bool {
	for _, f := range all {
		if f.ID == id {
			return true
		}
	}
	return false
}

// repairView is a repair with what became of each finding so far.
type repairView struct {
	ID         string    `json:"id"`
	UserID     string    `json:"user_id"`
	RequestID  string    `json:"request_id"`
	StartedAt  string    `json:"started_at"`
	FinishedAt *string   `json:"finished_at"`
	Error      *string   `json:"error"`
	Findings   []outcome `json:"findings"`
}

type outcome struct {
	ID      string  `json:"id"`
	Outcome *string `json:"outcome"` // null while it is not known: repaired, gone, left, failed or manual
	Text    *string `json:"text"`
}

func repairOf(r models.AuditRepair) repairView {
	v := repairView{
		ID: r.ID, UserID: r.UserID, RequestID: r.RequestID, StartedAt: rest.TimeMicro(r.StartedAt), Error: r.Error, Findings: []outcome{},
	}
	if r.FinishedAt != nil {
		finished := rest.TimeMicro(*r.FinishedAt)
		v.FinishedAt = &finished
	}
	for _, id := range r.Findings {
		o := r.Outcomes[id]
		v.Findings = append(v.Findings, outcome{ID: id, Outcome: rest.Optional(o.Outcome), Text: rest.Optional(o.Text)})
	}
	return v
}

func (a *API) showRepair(c echo.Context) error {
	r, err := a.store.AuditRepair(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"repair": repairOf(r)})
}
