// Package network answers the part of the Neutron API v2.0 that building servers needs: networks, subnets and ports, and
// read-only views of what every project has (its security group, its quotas). Bodies and texts follow neutron-lib and the
// Networking API reference.
package network

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// DefaultMTU is a network's MTU where its maker names none.
const DefaultMTU = 1500

// API serves the network endpoints.
type API struct {
	store *models.Store
	now   func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store) *API { return &API{store: store, now: time.Now} }

const (
	service = "/network"
	version = "v2.0"
)

// object is a JSON object under construction.
type object = map[string]any

// Mount adds the routes to root, which is the group "/network".
func (a *API) Mount(root *echo.Group) {
	fail := rest.Fail(rest.Neutron)
	root.GET("", a.versions, fail)
	root.GET("/"+version, a.resources, fail)
	g := root.Group("/"+version, fail, rest.RequireToken(a.store, rest.Neutron), rest.RequireProject)
	a.mountNetworks(g)
	a.mountSubnets(g)
	a.mountPorts(g)
	a.mountExtras(g)
}

func (a *API) versions(c echo.Context) error {
	return c.JSON(http.StatusOK, object{"versions": []object{{
		"id": version, "status": "CURRENT", "links": []rest.Link{{Rel: "self", Href: rest.URL(c, service+"/"+version+"/")}},
	}}})
}

func (a *API) resources(c echo.Context) error {
	var list []object
	for _, name := range []string{"networks", "subnets", "ports", "security-groups", "quotas", "extensions"} {
		list = append(list, object{
			"name": strings.TrimSuffix(name, "s"), "collection": name,
			"links": []rest.Link{{Rel: "self", Href: rest.URL(c, service+"/"+version, name)}},
		})
	}
	return c.JSON(http.StatusOK, object{"resources": list})
}

// writer refuses readers in Neutron's words.
func writer(rule string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if !rest.CallerOf(c).CanWrite() {
				return forbidden(rule)
			}
			return next(c)
		}
	}
}

func forbidden(rule string) error {
	return rest.NeutronType("PolicyNotAuthorized", fault.New(fault.Forbidden, "rule:%s is disallowed by policy", rule))
}

// absent is Neutron's 404 of a kind of object ("Network"); any other error stays as it is.
func absent(err error, kind, id string) error {
	if fault.Is(err, fault.NotFound) {
		return notFound(kind, id)
	}
	return err
}

func notFound(kind, id string) error {
	return rest.NeutronType(kind+"NotFound", fault.New(fault.NotFound, "%s %s could not be found.", kind, id))
}

func badRequest(format string, args ...any) error {
	return rest.NeutronType("HTTPBadRequest", fault.New(fault.Invalid, format, args...))
}

// isUUID keeps what is no id away from the database: it names nothing.
func isUUID(id string) bool { return uuid.Validate(id) == nil }

// query is what every list takes: filters, fields, order and page.
type query struct {
	page   rest.Page
	fields []string
	sorts  []models.Sort
	values map[string][]string
}

// listQuery reads a list's query; sorts maps Neutron's sort keys to the store's.
func listQuery(c echo.Context, sorts map[string]string) (query, error) {
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return query{}, rest.NeutronType("HTTPBadRequest", err)
	}
	q := query{page: page, values: c.QueryParams()}
	for _, f := range q.values["fields"] {
		q.fields = append(q.fields, strings.Split(f, ",")...)
	}
	keys, dirs := q.values["sort_key"], q.values["sort_dir"]
	if len(keys) != len(dirs) && len(dirs) > 0 {
		return q, badRequest("The number of sort_keys and sort_dirs must be same")
	}
	for i, key := range keys {
		mapped, ok := sorts[key]
		if !ok {
			return q, badRequest("[\"'%s' is not an attribute that lists can be sorted by\"]", key)
		}
		desc := false
		if len(dirs) > 0 {
			switch dirs[i] {
			case "asc":
			case "desc":
				desc = true
			default:
				return q, badRequest("Invalid value for sort_dir: '%s', valid values are asc and desc", dirs[i])
			}
		}
		sorts := models.Sort{Key: mapped, Desc: desc}
		q.sorts = append(q.sorts, sorts)
	}
	if on, _ := parseBool(q.values["page_reverse"]); on {
		return q, badRequest("page_reverse is not offered.")
	}
	return q, nil
}

// get is the values of a filter; what is empty selects nothing in particular.
func (q query) get(name string) []string {
	return slices.DeleteFunc(slices.Clone(q.values[name]), func(v string) bool { return v == "" })
}

// ids are the values of a filter by id; none is true when there are values and none of them can be an id.
func (q query) ids(name string) (ids []string, none bool) {
	values := q.get(name)
	for _, v := range values {
		if isUUID(v) {
			ids = append(ids, v)
		}
	}
	return ids, len(values) > 0 && len(ids) == 0
}

// project is the filter by owner, under either of its names.
func (q query) project() string {
	for _, name := range []string{"project_id", "tenant_id"} {
		if v := q.get(name); len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func parseBool(values []string) (on, given bool) {
	if len(values) == 0 {
		return false, false
	}
	return strings.EqualFold(values[0], "true") || values[0] == "1", true
}

// keep drops the rows whose shown value differs from a filter on an attribute that the store does not select by.
func (q query) keep(rows []object, names ...string) []object {
	for _, name := range names {
		want := q.get(name)
		if len(want) == 0 {
			continue
		}
		rows = slices.DeleteFunc(rows, func(row object) bool {
			return !slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, fmt.Sprint(row[name])) })
		})
	}
	return rows
}

// answer writes a list; count and last are of the page as the store gave it.
func (q query) answer(c echo.Context, name string, rows []object, count int, last string) error {
	for _, row := range rows {
		q.cut(row)
	}
	body := object{name: rows}
	if next := q.page.NextLinks(c, count, last); next != nil && c.QueryParam("limit") != "" {
		body[name+"_links"] = next
	}
	return c.JSON(http.StatusOK, body)
}

// cut leaves the fields that were asked for.
func (q query) cut(row object) {
	if len(q.fields) == 0 {
		return
	}
	for k := range row {
		if !slices.Contains(q.fields, k) {
			delete(row, k)
		}
	}
}

// markerOf gives an unknown marker Neutron's words.
func markerOf(err error, marker string) error {
	if marker != "" && (fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid)) {
		return badRequest("Invalid input for operation: marker %s not found.", marker)
	}
	return err
}

// owner is whose a new object is: the caller's project, or another for an admin.
func owner(c echo.Context, project, tenant, rule string) (string, error) {
	caller := rest.CallerOf(c)
	if project == "" {
		project = tenant
	}
	if project == "" || project == caller.ProjectID {
		return caller.ProjectID, nil
	}
	if !caller.Admin() {
		return "", forbidden(rule)
	}
	return project, nil
}

// see says whether the caller sees an object of the project.
func see(c echo.Context, projectID string) bool {
	caller := rest.CallerOf(c)
	return caller.Admin() || caller.ProjectID == projectID
}

// texts and flags of schemas.
const (
	nameProperties = `
		"name": {"type": ["string", "null"], "maxLength": 255},
		"description": {"type": ["string", "null"], "maxLength": 255},
		"admin_state_up": {"type": "boolean"},
		"project_id": {"type": "string", "maxLength": 255}, "tenant_id": {"type": "string", "maxLength": 255},
		"tags": {"type": "array", "maxItems": 0}`
)

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// alwaysUp refuses admin_state_up false, which nothing would act on.
func alwaysUp(up *bool) error {
	if up != nil && !*up {
		return badRequest("Invalid input for admin_state_up. Reason: only true is offered.")
	}
	return nil
}
