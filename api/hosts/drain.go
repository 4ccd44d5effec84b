package hosts

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// defaultAtOnce is how many servers move at the same time where nobody says.
const defaultAtOnce = 2

var drainSchema = rest.Schema(`{
	"type": "object", "additionalProperties": false,
	"properties": {
		"availability_zone": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
		"at_once": {"type": "integer", "minimum": 1, "maximum": 20}
	}
}`)

var drainActSchema = rest.Schema(`{
	"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	"properties": {
		"pause": {"type": "object", "additionalProperties": false},
		"resume": {"type": "object", "additionalProperties": false},
		"stop": {"type": "object", "additionalProperties": false}
	}
}`)

// drainView is how far a drain is.
type drainView struct {
	HostID           string          `json:"host_id"`
	Hostname         string          `json:"hostname"`
	AvailabilityZone *string         `json:"availability_zone"` // that they go to; null is any
	AtOnce           int             `json:"at_once"`
	UserID           string          `json:"user_id"`
	RequestID        string          `json:"request_id"`
	Phase            string          `json:"phase"`
	StartedAt        string          `json:"started_at"`
	EndedAt          *string         `json:"ended_at"`
	Moved            int             `json:"moved"`
	Moving           []drainedServer `json:"moving"`
	Waiting          int             `json:"waiting"` // that can be moved when there is a place
	Failed           []drainedServer `json:"failed"`  // each is where it was, as it was, if its why does not say otherwise
	Busy             []drainedServer `json:"busy"`    // something else is done to them
	Stays            []drainedServer `json:"stays"`   // no migration begins in their state
	More             moreDrained     `json:"more"`    // that are not named
	Leftovers        int             `json:"leftovers"`
	WaitsFor         *string         `json:"waits_for"` // why nothing is begun, or why it ended early
}

type drainedServer struct {
	ServerID  string  `json:"server_id"`
	Name      string  `json:"name"`
	ProjectID string  `json:"project_id"`
	Action    *string `json:"action"` // that is done to it for the drain, as the request of that id
	RequestID *string `json:"request_id"`
	Since     *string `json:"since"`
	Why       *string `json:"why"` // it is not moved
}

type moreDrained struct {
	Busy  int `json:"busy"`
	Stays int `json:"stays"`
}

func viewOfDrain(s contract.DrainState) map[string]any {
	return map[string]any{"drain": drainView{
		HostID: s.HostID, Hostname: s.Hostname, AvailabilityZone: rest.Optional(s.Zone), AtOnce: s.AtOnce, UserID: s.UserID, RequestID: s.RequestID,
		Phase: s.Phase, StartedAt: rest.Time(s.StartedAt), EndedAt: rest.TimePtr(s.EndedAt), Moved: s.Moved, Waiting: s.Waiting,
		Moving: viewsOfDrained(s.Moving), Failed: viewsOfDrained(s.Failed), Busy: viewsOfDrained(s.Busy), Stays: viewsOfDrained(s.Stays),
		More:      moreDrained{Busy: s.More[contract.DrainBusy], Stays: s.More[contract.DrainStays]},
		Leftovers: s.Leftovers, WaitsFor: rest.Optional(s.WaitsFor),
	}}
}

func viewsOfDrained(all []contract.DrainServer) []drainedServer {
	views := make([]drainedServer, len(all))
	for i, s := range all {
		views[i] = drainedServer{
			ServerID: s.ServerID, Name: s.Name, ProjectID: s.ProjectID, Action: rest.Optional(s.Action), RequestID: rest.Optional(s.RequestID),
			Since: rest.TimePtr(s.Since), Why: rest.Optional(s.Why),
		}
	}
	return views
}

// drain begins to empty a host. It answers when that gets no servers any more.
func (a *API) drain(c echo.Context) error {
	var body struct {
		AvailabilityZone string `json:"availability_zone"`
		AtOnce           *int   `json:"at_once"`
	}
	if err := rest.Bind(c, drainSchema, &body); err != nil {
		return err
	}
	atOnce := defaultAtOnce
	if body.AtOnce != nil {
		atOnce = *body.AtOnce
	}
	return a.ofDrain(c, http.StatusAccepted, func(ctx context.Context, s servers.Servers, host models.HostUsage) (contract.DrainState, error) {
		return s.DrainHost(ctx, host.ID, body.AvailabilityZone, atOnce)
	})
}

// drained tells how far that is.
func (a *API) drained(c echo.Context) error {
	return a.ofDrain(c, http.StatusOK, func(ctx context.Context, s servers.Servers, host models.HostUsage) (contract.DrainState, error) {
		return s.Drain(ctx, host.ID)
	})
}

// actOnDrain pauses, resumes or stops it.
func (a *API) actOnDrain(c echo.Context) error {
	var body map[string]struct{}
	if err := rest.Bind(c, drainActSchema, &body); err != nil {
		return err
	}
	return a.ofDrain(c, http.StatusAccepted, func(ctx context.Context, s servers.Servers, host models.HostUsage) (is contract.DrainState, err error) {
		for act := range body { // the schema has one
			is, err = s.ActOnDrain(ctx, host.ID, act)
		}
		return is, err
	})
}

// ofDrain answers how far the drain of a host is.
func (a *API) ofDrain(c echo.Context, status int, ask func(context.Context, servers.Servers, models.HostUsage) (contract.DrainState, error)) error {
	ctx := c.Request().Context()
	host, err := a.find(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	caller := servers.Caller{Caller: rest.CallerOf(c).Caller, RequestID: rest.RequestID(c)}
	is, err := ask(ctx, a.servers.For(caller), host)
	if err != nil {
		return err
	}
	if status == http.StatusAccepted {
		rest.Logger(c).Info("host drain", "host", host.Hostname, "host_id", host.ID, "phase", is.Phase, "user", caller.UserID)
	}
	return c.JSON(status, viewOfDrain(is))
}
