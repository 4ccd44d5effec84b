package network

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

// query is what a list is asked for: filters, order and page.
type query struct {
	match   []models.Match
	sorts   []models.Sort
	marker  string
	limit   int
	limited bool // the client said how many
	reverse bool // the page before the marker
}

// fieldsOf are those that a client wants to see; none are all.
func fieldsOf(c echo.Context) []string {
	return said(strings.Split(strings.Join(c.QueryParams()["fields"], ","), ","))
}

// query reads a list's query by the table (neutron/api/api_common.py).
func (k resource[T, D]) query(c echo.Context) (query, error) {
	values := c.QueryParams()
	q := query{marker: values.Get("marker"), limit: rest.MaxPage, reverse: strings.EqualFold(values.Get("page_reverse"), "true")}
	if s := values.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return q, models.BadResource("limit", "Limit must be an integer 0 or greater and not '%s'", s)
		}
		q.limited = n > 0
		if q.limited {
			q.limit = min(n, rest.MaxPage)
		}
	}
	if err := k.sorting(&q, said(values["sort_key"]), said(values["sort_dir"])); err != nil {
		return q, err
	}
	return q, k.filters(&q, values)
}

// said are the values that are not empty: Neutron takes the others as not said.
func said(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
}

func (k resource[T, D]) sorting(q *query, keys, dirs []string) error {
	if len(keys) != len(dirs) && len(dirs) > 0 { // Neutron wants as many directions as keys; its own client sends none
		return badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var absent, invalid []string
	for i, key := range keys {
		s := models.Sort{Key: key}
		if key == "tenant_id" {
			s.Key = "project_id"
		}
		if a, is := k.attributes.find(key); !is || a.may&sorts == 0 {
			absent = append(absent, key)
		}
		if len(dirs) > 0 {
			s.Desc = dirs[i] == "desc"
			if !s.Desc && dirs[i] != "asc" {
				invalid = append(invalid, dirs[i])
			}
		}
		q.sorts = append(q.sorts, s)
	}
	switch {
	case len(absent) > 0:
		return badRequest("%s is invalid attribute for sort_keys", listed(absent...))
	case len(invalid) > 0:
		return badRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", listed(invalid...))
	}
	if q.reverse {
		if len(q.sorts) == 0 {
			q.sorts = []models.Sort{{Key: "created_at"}}
		}
		for i := range q.sorts {
			q.sorts[i].Desc = !q.sorts[i].Desc
		}
	}
	return nil
}

// filters are what is left of a query. What nothing is selected by is refused, as Neutron's filter-validation does.
func (k resource[T, D]) filters(q *query, values map[string][]string) error {
	var invalid []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains([]string{"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"}, name) {
			continue
		}
		a, is := k.attributes.find(name)
		if !is || a.may&filter == 0 {
			invalid = append(invalid, name)
			continue
		}
		m := models.Match{Key: name}
		if name == "tenant_id" {
			m.Key = "project_id"
		}
		for _, text := range said(values[name]) {
			v, err := a.read(name, filtered(text))
			if err != nil {
				return err
			}
			m.Values = append(m.Values, asFilter(v))
		}
		if len(m.Values) > 0 {
			q.match = append(q.match, m)
		}
	}
	if len(invalid) > 0 {
		return badRequest("%s is invalid attribute for filtering", listed(invalid...))
	}
	return nil
}

// links are those of a page of rows, by their ids: of all pages where the client said how many it wants, else to the next one alone.
func (q query) links(c echo.Context, ids []string) (all []rest.Link) {
	at := func(rel, marker string, reverse bool) {
		to := c.Request().URL.Query()
		to.Del("marker")
		to.Del("page_reverse")
		if marker != "" {
			to.Set("marker", marker)
		}
		if reverse {
			to.Set("page_reverse", "True")
		}
		all = append(all, rest.Link{Rel: rel, Href: rest.BaseURL(c) + c.Request().URL.EscapedPath() + "?" + to.Encode()})
	}
	first, last := "", ""
	if len(ids) > 0 {
		first, last = ids[0], ids[len(ids)-1]
	}
	full := len(ids) >= q.limit
	if full || q.reverse {
		at("next", last, false)
	}
	if q.limited && (full || !q.reverse) {
		at("previous", first, true)
	}
	return all
}
