package compute

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountMigrations(g *echo.Group) {
	g.GET("/os-migrations", a.listMigrations, adminOnly("os_compute_api:os-migrations:index"), rest.Expect(400, 403))
	rule := "os_compute_api:servers:migrations:"
	g.GET("/servers/:id/migrations", a.listServerMigrations, adminOnly(rule+"index"), since(23), rest.Expect(403, 404))
	g.GET("/servers/:id/migrations/:migration", a.showServerMigration, adminOnly(rule+"show"), since(23), rest.Expect(403, 404))
}

// flavorNumber stands for the row number of a flavor that Nova shows in migrations: a stable number of its id.
func flavorNumber(id string) int {
	return numberOf(uuid.NewSHA1(uuid.NameSpaceOID, []byte(id)).String())
}

// migrationView is nova/api/openstack/compute/migrations.py _output.
func migrationView(m models.Migration, minor int) object {
	var to any
	if m.DestHost != "" { // it is chosen
		to = m.DestHost
	}
	v := object{
		"id": m.ID, "instance_uuid": m.ServerID, "status": m.Status,
		"source_compute": m.SourceHost, "source_node": m.SourceHost, "dest_compute": to, "dest_node": to, "dest_host": nil,
		"old_instance_type_id": flavorNumber(m.OldFlavor.ID), "new_instance_type_id": flavorNumber(m.NewFlavor.ID),
		"created_at": rest.TimeNaive(m.CreatedAt), "updated_at": rest.TimeNaive(m.UpdatedAt),
	}
	if minor >= 23 {
		v["migration_type"] = m.Kind
	}
	if minor >= 59 {
		v["uuid"] = m.UUID
	}
	if minor >= 80 {
		v["user_id"], v["project_id"] = m.UserID, m.ProjectID
	}
	return v
}

// migrationFilters are the query's, by the microversion that brought them.
var migrationFilters = []struct {
	since int
	names []string
}{
	{1, []string{"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type"}},
	{59, []string{"limit", "marker", "changes-since"}},
	{66, []string{"changes-before"}},
	{80, []string{"user_id", "project_id"}},
}

func migrationFilter(c echo.Context) (f models.MigrationFilter, err error) {
	minor, known := minorOf(c), []string{}
	for _, some := range migrationFilters {
		if minor >= some.since {
			known = append(known, some.names...)
		}
	}
	if minor >= 59 {
		for name := range c.QueryParams() {
			if !slices.Contains(known, name) {
				return f, invalid("%s", additional([]string{name}))
			}
		}
	}
	get := func(name string) string {
		if !slices.Contains(known, name) {
			return ""
		}
		return c.QueryParam(name)
	}
	f = models.MigrationFilter{
		ServerID: get("instance_uuid"), Status: get("status"), Kind: get("migration_type"), SourceHost: get("source_compute"), Host: get("host"),
		UserID: get("user_id"), ProjectID: get("project_id"),
	}
	var times models.ServerFilter
	if _, err := filterTimes(&times, func(names ...string) string { return get(names[0]) }, minor); err != nil {
		return f, err
	}
	f.ChangesSince, f.ChangesBefore = times.ChangesSince, times.ChangesBefore
	return f, nil
}

func (a *API) listMigrations(c echo.Context) error {
	f, err := migrationFilter(c)
	if err != nil {
		return err
	}
	var page rest.Page
	if minorOf(c) >= 59 {
		if page, err = rest.PageOf(c, rest.MaxPage); err != nil {
			return err
		}
	}
	f.Marker, f.Limit = page.Marker, page.Limit
	// Nova's migrations have a flag of that name, which nothing sets.
	if hidden, _ := strconv.ParseBool(c.QueryParam("hidden")); hidden {
		return c.JSON(http.StatusOK, object{"migrations": []object{}})
	}
	found, err := a.store.ListMigrations(c.Request().Context(), f)
	if err != nil {
		if f.Marker != "" && fault.Is(err, fault.Invalid) {
			return fault.Wrap(fault.Invalid, err, "Marker %s could not be found.", f.Marker)
		}
		return fmt.Errorf("list the migrations: %w", err)
	}
	return c.JSON(http.StatusOK, listed(c, "migrations", page, found, func(m models.Migration) (string, object) { return m.UUID, migrationView(m, minorOf(c)) }))
}

// listServerMigrations is empty: Nova lists live migrations that are in progress there (server_migrations.py index).
func (a *API) listServerMigrations(c echo.Context) error {
	if _, err := a.server(c); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"migrations": []object{}})
}

// showServerMigration finds none, in Nova's words.
func (a *API) showServerMigration(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	id := c.Param("migration")
	of, err := a.store.ListMigrations(c.Request().Context(), models.MigrationFilter{ServerID: s.ID})
	if err != nil {
		return fmt.Errorf("look for migration %s of server %s: %w", id, s.ID, err)
	}
	if slices.ContainsFunc(of, func(m models.Migration) bool { return strconv.FormatInt(m.ID, 10) == id }) {
		return fault.New(fault.NotFound, "Migration %s for server %s is not live-migration.", id, s.ID)
	}
	return fault.New(fault.NotFound, "In-progress live migration %s is not found for server %s.", id, s.ID)
}
