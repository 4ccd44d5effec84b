// Package reservations is Slipway's own API of requests for several servers (Nova has their id, and no more): how many were
// asked for and admitted, and how far they are.
package reservations

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// API serves /reservations.
type API struct{ store *models.Store }

// New makes the API; Mount puts it under a path.
func New(store *models.Store) *API { return &API{store: store} }

// Mount adds the routes to g, which is the group "/reservations".
func (a *API) Mount(g *echo.Group) {
	member := []echo.MiddlewareFunc{rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireProject}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.list, append(member, rest.Expect(400, 403))...)
	}
	g.GET("/:id", a.show, append(member, rest.Expect(403, 404))...)
}

// view is a reservation. Admitted is the sum of the counts below it.
type view struct {
	ID        string `json:"id"`
	ProjectID string `json:"project_id"`
	UserID    string `json:"user_id"`
	MinCount  int    `json:"min_count"`
	MaxCount  int    `json:"max_count"`
	Admitted  int    `json:"admitted"`
	Building  int    `json:"building"`
	Active    int    `json:"active"`
	Error     int    `json:"error"`
	Deleted   int    `json:"deleted"`
	CreatedAt string `json:"created_at"`
}

func viewOf(r models.ReservationProgress) view {
	return view{
		ID: r.ID, ProjectID: r.ProjectID, UserID: r.UserID, MinCount: r.MinCount, MaxCount: r.MaxCount,
		Admitted: r.Admitted, Building: r.Building, Active: r.Active, Error: r.Failed, Deleted: r.Deleted, CreatedAt: rest.Time(r.CreatedAt),
	}
}

// visibleProject is the project whose reservations the caller sees; "" is all.
func visibleProject(c echo.Context) string {
	if caller := rest.CallerOf(c); !caller.Admin() {
		return caller.ProjectID
	}
	return ""
}

// defaultPage is how many reservations a page holds where the query names no limit.
const defaultPage = 100

func (a *API) list(c echo.Context) error {
	page, err := rest.PageOf(c, defaultPage)
	if err != nil {
		return err
	}
	for name := range c.QueryParams() {
		if name != "limit" && name != "marker" {
			return fault.New(fault.Invalid, "There is no filter %q of reservations.", name)
		}
	}
	all, err := a.store.ListReservations(c.Request().Context(), models.ReservationFilter{
		ProjectID: visibleProject(c), Marker: page.Marker, Limit: page.Limit,
	})
	if err != nil {
		return err
	}
	views := make([]view, len(all))
	last := ""
	for i, r := range all {
		views[i], last = viewOf(r), r.ID
	}
	body := map[string]any{"reservations": views}
	if links := page.NextLinks(c, len(all), last); len(links) > 0 {
		body["reservations_links"] = links
	}
	return c.JSON(http.StatusOK, body)
}

func (a *API) show(c echo.Context) error {
	r, err := a.store.Reservation(c.Request().Context(), c.Param("id"), visibleProject(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"reservation": viewOf(r)})
}
