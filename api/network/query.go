package network

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

// query is what every list takes: filters, fields, order and page.
type query struct {
	page   rest.Page
	fields []string
	sorts  []models.Sort
	values map[string][]string
}

// listQuery reads a list's query; sorts are the keys that it can be sorted by.
func listQuery(c echo.Context, sorts []string) (query, error) {
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
		if !slices.Contains(sorts, key) {
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
		q.sorts = append(q.sorts, models.Sort{Key: key, Desc: desc})
	}
	if reverse := q.flag("page_reverse"); reverse != nil && *reverse {
		return q, badRequest("page_reverse is not offered.")
	}
	return q, nil
}

// get is the values of a filter; what is empty selects nothing in particular.
func (q query) get(name string) []string {
	return slices.DeleteFunc(slices.Clone(q.values[name]), func(v string) bool { return v == "" })
}

// first is the first value of a filter that takes one; "" where there is none.
func (q query) first(name string) string {
	if values := q.get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// project is the filter by owner, under either of its names.
func (q query) project() string { return cmp.Or(q.first("project_id"), q.first("tenant_id")) }

// flag is a filter that is true or false; nil where there is none.
func (q query) flag(name string) *bool {
	v := q.first(name)
	if v == "" {
		return nil
	}
	return new(strings.EqualFold(v, "true") || v == "1")
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
