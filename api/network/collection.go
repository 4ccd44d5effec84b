package network

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// collection is the objects of one kind, as all of Neutron's lists and shows have them.
type collection[T any] struct {
	one, many string   // the keys of the bodies: "network", "networks"
	sorts     []string // the attributes that lists can be sorted by
	matched   []string // attributes that the service does not select by: lists are filtered by them as they are shown
	unpaged   bool     // one answer holds them all
	list      func(context.Context, *networks.Repository, query) ([]T, error)
	find      func(*networks.Repository, context.Context, string) (T, error)
	view      func(T) object
}

// list answers with those that the query selects.
func list[T any](a *API, k collection[T]) echo.HandlerFunc {
	return func(c echo.Context) error {
		q, err := listQuery(c, k.sorts)
		if err != nil {
			return err
		}
		found, err := k.list(c.Request().Context(), a.networksFor(c), q)
		if err != nil {
			return err
		}
		rows := make([]object, len(found))
		last := ""
		for i, o := range found {
			rows[i] = k.view(o)
			last, _ = rows[i]["id"].(string)
		}
		rows = q.keep(rows, k.matched...)
		for _, row := range rows {
			q.cut(row)
		}
		body := object{k.many: rows}
		if next := q.page.NextLinks(c, len(found), last); next != nil && c.QueryParam("limit") != "" && !k.unpaged {
			body[k.many+"_links"] = next
		}
		return c.JSON(http.StatusOK, body)
	}
}

// show answers with the one that the path names.
func show[T any](a *API, k collection[T]) echo.HandlerFunc {
	return func(c echo.Context) error {
		found, err := k.find(a.networksFor(c), c.Request().Context(), c.Param("id"))
		if err != nil {
			return err
		}
		q, err := listQuery(c, k.sorts)
		if err != nil {
			return err
		}
		row := k.view(found)
		q.cut(row)
		return c.JSON(http.StatusOK, object{k.one: row})
	}
}

// remove deletes the one that the path names.
func (a *API) remove(one func(*networks.Repository, context.Context, string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := one(a.networksFor(c), c.Request().Context(), c.Param("id")); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}
