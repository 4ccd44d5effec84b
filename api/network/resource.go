package network

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// resource is the objects of one kind: their table, and what the service does with them. What is nil is not offered.
type resource[T, D any] struct {
	one, many   string // the keys of the bodies: "network", "networks"
	needsEngine bool   // nothing is there without OVN, as the service says
	attributes  table[T, D]
	id          func(T) string
	draft       func() D // of which nothing is said
	list        func(context.Context, *networks.Repository, query) ([]T, error)
	few         func(*networks.Repository, context.Context) ([]T, error) // instead of list, where there are never many: one page
	find        func(*networks.Repository, context.Context, string) (T, error)
	create      func(*networks.Repository, context.Context, ...D) ([]T, error)
	update      func(*networks.Repository, context.Context, string, func(*D)) (T, error)
	remove      func(*networks.Repository, context.Context, string) error
	tagged      func(T) []string
	tags        func(*D) *[]string
}

// mount adds the routes of a kind.
func mount[T, D any](a *API, g *echo.Group, k resource[T, D]) {
	path, lists := "/"+strings.ReplaceAll(k.many, "_", "-"), []int{400}
	if k.needsEngine {
		lists = append(lists, 404)
	}
	g.GET(path, list(a, k), rest.Expect(lists...))
	g.POST(path, create(a, k), a.writer("create_"+k.one), rest.Expect(400, 403, 404, 409))
	g.GET(path+"/:id", show(a, k), rest.Expect(400, 404))
	if k.update != nil {
		g.PUT(path+"/:id", update(a, k), a.writer("update_"+k.one), rest.Expect(400, 403, 404, 409, 412))
	}
	g.DELETE(path+"/:id", remove(a, k), a.writer("delete_"+k.one), rest.Expect(400, 403, 404, 409, 412))
	if k.tagged != nil {
		mountTags(a, g, path, k)
	}
}

// list answers with those that the query selects.
func list[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		q, err := k.query(c)
		if err != nil {
			return err
		}
		var found []T
		if k.few != nil {
			found, err = k.few(a.networksFor(c), c.Request().Context())
			found = k.attributes.sift(found, q)
		} else {
			found, err = k.list(c.Request().Context(), a.networksFor(c), q)
		}
		if err != nil {
			return err
		}
		if q.reverse {
			slices.Reverse(found)
		}
		rows, ids, fields := make([]object, len(found)), make([]string, len(found)), fieldsOf(c)
		for i, o := range found {
			rows[i], ids[i] = k.attributes.view(o, fields), k.id(o)
		}
		body := object{k.many: rows}
		if links := q.links(c, ids); len(links) > 0 && k.few == nil {
			body[k.many+"_links"] = links
		}
		return c.JSON(http.StatusOK, body)
	}
}

// show answers with the one that the path names.
func show[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		found, err := k.find(a.networksFor(c), c.Request().Context(), c.Param("id"))
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, object{k.one: k.attributes.view(found, fieldsOf(c))})
	}
}

// create makes one, or several, all or none.
func create[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		body, err := rest.Document(c)
		if err != nil {
			return err
		}
		drafts, bulk, err := k.drafts(body)
		if err != nil {
			return err
		}
		made, err := k.create(a.networksFor(c), c.Request().Context(), drafts...)
		if err != nil {
			return err
		}
		if !bulk {
			return c.JSON(http.StatusCreated, object{k.one: k.attributes.view(made[0], nil)})
		}
		rows := make([]object, len(made))
		for i, o := range made {
			rows[i] = k.attributes.view(o, nil)
		}
		return c.JSON(http.StatusCreated, object{k.many: rows})
	}
}

// update changes the one that the path names.
func update[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		body, err := rest.Document(c)
		if err != nil {
			return err
		}
		change, err := k.change(body)
		if err != nil {
			return err
		}
		r, err := a.atRevision(c)
		if err != nil {
			return err
		}
		changed, err := k.update(r, c.Request().Context(), c.Param("id"), change)
		if err != nil {
			return constrained(err)
		}
		return c.JSON(http.StatusOK, object{k.one: k.attributes.view(changed, nil)})
	}
}

// remove deletes the one that the path names.
func remove[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, err := a.atRevision(c)
		if err != nil {
			return err
		}
		if err := k.remove(r, c.Request().Context(), c.Param("id")); err != nil {
			return constrained(err)
		}
		return rest.NoContent(c)
	}
}

// atRevision is the service for a change that If-Match may tie to a revision (neutron/api/api_common.py).
func (a *API) atRevision(c echo.Context) (*networks.Repository, error) {
	r := a.networksFor(c)
	const key = "revision_number="
	at := ""
	for _, tag := range strings.Split(strings.Join(c.Request().Header.Values("If-Match"), ","), ",") {
		tag = strings.Trim(strings.TrimSpace(tag), `"`)
		if !strings.HasPrefix(tag, key) {
			continue
		}
		if at != "" {
			return nil, models.BadResource("if-match", "Multiple revision_number etags are not supported.")
		}
		at = strings.TrimPrefix(tag, key)
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, models.BadResource("if-match", "Revision number etag must be in the format of revision_number=<int>")
		}
		r = r.AtRevision(n)
	}
	return r, nil
}

// constrained answers 412 to a change of another revision than there is.
func constrained(err error) error {
	var refused *ipam.Refusal
	if errors.As(err, &refused) && refused.Exception == ipam.Outdated {
		return rest.NeutronType(ipam.Outdated, rest.Status(http.StatusPreconditionFailed, "%s", refused.Fault.Text))
	}
	return err
}

// facts are what all objects have.
type facts struct {
	id, name, description, project string
	tags                           []string
	revision                       int64
	created, updated               string
}

// told are those of them that clients say.
type told struct{ name, description, project *string }

// standard are the attributes that all objects have, around those of a kind.
func standard[T, D any](of func(T) facts, into func(*D) told, own ...attribute[T, D]) table[T, D] {
	project := func(name string) attribute[T, D] {
		return attribute[T, D]{name, post | filter | sorts, text(255),
			func(d *D, v any) { *into(d).project = v.(string) }, func(o T) any { return of(o).project }}
	}
	rows := table[T, D]{
		{"id", filter | sorts, anyText, nil, func(o T) any { return of(o).id }},
		{"name", post | put | filter | sorts, text(255), func(d *D, v any) { *into(d).name = v.(string) }, func(o T) any { return of(o).name }},
		{"description", post | put | filter, text(255), func(d *D, v any) { *into(d).description = v.(string) }, func(o T) any { return of(o).description }},
		project("project_id"), project("tenant_id"),
	}
	rows = append(rows, own...)
	return append(rows, table[T, D]{
		{"tags", filter, anyText, nil, func(o T) any { return append([]string{}, of(o).tags...) }},
		{"tags-any", filter, anyText, nil, nil}, {"not-tags", filter, anyText, nil, nil}, {"not-tags-any", filter, anyText, nil, nil},
		{"changed_since", filter, since, nil, nil},
		{"revision_number", filter, integer, nil, func(o T) any { return of(o).revision }},
		{"created_at", sorts, nil, nil, func(o T) any { return of(o).created }},
		{"updated_at", sorts, nil, nil, func(o T) any { return of(o).updated }},
	}...)
}
