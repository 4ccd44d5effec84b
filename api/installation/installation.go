// Package installation is Slipway's own API of the installation itself, for operators (role admin): whose the database, the
// image stores, the hosts and Temporal's namespace are, whether the database was restored, and to acknowledge that.
package installation

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/models"
)

// Engine is Temporal's namespace, as far as it says whose it is: installation.Engine.
type Engine interface {
	Name() string
	Owner(ctx context.Context) (string, error)
	Settings(ctx context.Context) (installation.EngineSettings, error)
}

// API serves /installation.
type API struct {
	store  *models.Store
	engine Engine
}

// New makes the API; Mount puts it under a path. Without an engine none is shown.
func New(store *models.Store, engine Engine) *API { return &API{store, engine} }

// Mount adds the routes to g, which is the group "/installation".
func (a *API) Mount(g *echo.Group) {
	admin := []echo.MiddlewareFunc{rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireAdmin}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.show, append(admin, rest.Expect(403))...)
	}
	g.POST("/acknowledge", a.acknowledge, append(admin, rest.Expect(403, 409))...)
}

// view is the installation with all that belongs to it.
type view struct {
	ID          string   `json:"id"`
	CreatedAt   string   `json:"created_at"`
	Generation  int64    `json:"generation"`
	Restored    bool     `json:"restored"` // and not acknowledged
	Restore     *restore `json:"restore"`  // the latest
	ImageStores []store  `json:"image_stores"`
	Hosts       []host   `json:"hosts"`
	Temporal    *engine  `json:"temporal"`
}

type restore struct {
	NoticedAt      string     `json:"noticed_at"`
	AcknowledgedAt *string    `json:"acknowledged_at"`
	AcknowledgedBy *string    `json:"acknowledged_by"` // user id
	Evidence       []evidence `json:"evidence"`
}

// evidence is a generation that somebody holds and was not given by this database.
type evidence struct {
	Witness string `json:"witness"`
	Holds   int64  `json:"holds"`
	Given   int64  `json:"given"`
	At      string `json:"at"`
}

// store and host have the generation that they were given last.
type store struct {
	Name       string  `json:"name"`
	Location   string  `json:"location"`
	Generation int64   `json:"generation"`
	SeenAt     *string `json:"seen_at"`
}

type host struct {
	Hostname   string  `json:"hostname"`
	Generation int64   `json:"generation"`
	SeenAt     *string `json:"seen_at"`
}

type engine struct {
	Name         string  `json:"name"`
	Installation *string `json:"installation"` // that it says it belongs to; null: it says nothing, or does not answer
	// What holds there; null: it is not told.
	Retention     *string `json:"retention"` // of workflows that have ended, as 168h0m0s
	HistoryEvents *int64  `json:"history_events"`
	HistoryBytes  *int64  `json:"history_bytes"`
	Visibility    *string `json:"visibility"`
}

func (a *API) show(c echo.Context) error {
	i, err := a.store.Installation(c.Request().Context())
	if err != nil {
		return fmt.Errorf("read the installation: %w", err)
	}
	return a.writeInstallation(c, i)
}

func (a *API) writeInstallation(c echo.Context, i models.Installation) error {
	ctx := c.Request().Context()
	stores, err := a.store.ImageStores(ctx)
	if err != nil {
		return fmt.Errorf("list the image stores: %w", err)
	}
	hosts, err := a.store.ListHosts(ctx)
	if err != nil {
		return fmt.Errorf("list the hosts: %w", err)
	}
	v := view{
		ID: i.ID, CreatedAt: rest.Time(i.CreatedAt), Generation: i.Generation, Restored: i.Restored(),
		ImageStores: make([]store, len(stores)), Hosts: make([]host, len(hosts)),
	}
	if r := i.Restore; r != nil {
		v.Restore = &restore{NoticedAt: rest.Time(r.NoticedAt), AcknowledgedAt: rest.TimePtr(r.AcknowledgedAt), AcknowledgedBy: r.AcknowledgedBy}
		for _, name := range r.Witnesses() {
			e := r.Evidence[name]
			v.Restore.Evidence = append(v.Restore.Evidence, evidence{name, e.Holds, e.Given, rest.Time(e.At)})
		}
	}
	for n, s := range stores {
		v.ImageStores[n] = store{s.Name, s.Location, s.Generation, rest.TimePtr(s.SeenAt)}
	}
	for n, h := range hosts {
		v.Hosts[n] = host{Hostname: h.Hostname, Generation: h.Generation}
		if !h.SeenAt.IsZero() {
			v.Hosts[n].SeenAt = rest.TimePtr(&h.SeenAt)
		}
	}
	if a.engine != nil {
		v.Temporal = &engine{Name: a.engine.Name()}
		owner, err := a.engine.Owner(ctx)
		if err != nil {
			rest.Logger(c).Warn("whose Temporal's namespace is cannot be asked", "error", err)
		} else if owner != "" {
			v.Temporal.Installation = &owner
		}
		s, err := a.engine.Settings(ctx)
		if err != nil {
			rest.Logger(c).Warn("what holds in Temporal's namespace cannot be asked", "error", err)
		}
		if s.Retention > 0 {
			v.Temporal.Retention = known(s.Retention.String())
		}
		v.Temporal.HistoryEvents, v.Temporal.HistoryBytes, v.Temporal.Visibility = known(s.HistoryEvents), known(s.HistoryBytes), known(s.Visibility)
	}
	return c.JSON(http.StatusOK, map[string]any{"installation": v})
}

// known is null for what is not known.
func known[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// acknowledge makes a restored database the truth.
func (a *API) acknowledge(c echo.Context) error {
	user := rest.CallerOf(c).UserID
	i, err := a.store.AcknowledgeRestore(c.Request().Context(), user)
	if err != nil {
		return err
	}
	rest.Logger(c).Warn("a restore of the database was acknowledged", "user_id", user, "noticed_at", i.Restore.NoticedAt, "witnesses", i.Restore.Witnesses())
	return a.writeInstallation(c, i)
}
