package identity

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

type object = map[string]any

// collection is the resources of one kind, as all of Keystone's lists and shows have them.
type collection[T any] struct {
	one, many string // the keys of the bodies: "project", "projects"
	filters   filters
	view      func(echo.Context, T) object
}

// as is the service as the request's caller has it.
func (a *API) as(c echo.Context) *identity.Repository { return a.service.For(rest.CallerOf(c).Caller) }

// keeper refuses who changes nothing anywhere before the body is read; the service decides on what it names.
func (a *API) keeper(rule string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := a.as(c).Keeps(rule); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// list answers with those that the query selects of what find finds.
func list[T any](a *API, k collection[T], find func(echo.Context, *identity.Repository, models.IdentityFilter) ([]T, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		filter, page, err := k.filters.of(c)
		if err != nil {
			return err
		}
		found, err := find(c, a.as(c), filter)
		if err != nil {
			return err
		}
		rows := make([]any, len(found))
		last := ""
		for i, row := range found {
			shown := k.view(c, row)
			rows[i] = shown
			last, _ = shown["id"].(string)
		}
		return c.JSON(http.StatusOK, listing(c, k.many, rows, nextOf(c, page, filter, len(rows), last)))
	}
}

// nextOf is the link to the page after this one; nil where there is none, or no limit.
func nextOf(c echo.Context, page rest.Page, filter models.IdentityFilter, count int, last string) any {
	if filter.Limit > 0 {
		if next := page.Next(c, count, last); next != "" {
			return next
		}
	}
	return nil
}

// every is a list that asks the service for nothing but the filter.
func every[T any](find func(*identity.Repository, context.Context, models.IdentityFilter) ([]T, error)) func(echo.Context, *identity.Repository, models.IdentityFilter) ([]T, error) {
	return func(c echo.Context, r *identity.Repository, f models.IdentityFilter) ([]T, error) {
		return find(r, c.Request().Context(), f)
	}
}

// those is a list of what belongs to the one that the path names.
func those[T any](find func(*identity.Repository, context.Context, string, models.IdentityFilter) ([]T, error)) func(echo.Context, *identity.Repository, models.IdentityFilter) ([]T, error) {
	return func(c echo.Context, r *identity.Repository, f models.IdentityFilter) ([]T, error) {
		return find(r, c.Request().Context(), c.Param("id"), f)
	}
}

// show answers with the one that the path names.
func show[T any](a *API, k collection[T], find func(*identity.Repository, context.Context, string) (T, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		row, err := find(a.as(c), c.Request().Context(), c.Param("id"))
		if err != nil {
			return err
		}
		return answer(c, http.StatusOK, k, row)
	}
}

func answer[T any](c echo.Context, status int, k collection[T], row T) error {
	return c.JSON(status, object{k.one: k.view(c, row)})
}

// remove deletes the one that the path names.
func (a *API) remove(one func(*identity.Repository, context.Context, string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := one(a.as(c), c.Request().Context(), c.Param("id")); err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}

// listing is Keystone's frame of a list.
func listing(c echo.Context, name string, items []any, next any) object {
	return object{
		name:    items,
		"links": object{"self": rest.BaseURL(c) + c.Request().URL.RequestURI(), "next": next, "previous": nil},
	}
}

func self(c echo.Context, name, id string) object {
	return object{"self": rest.URL(c, "/v3/"+name, id)}
}

// shown is what is known of a resource, over what was given beside that.
func shown(extra models.Extra, known object) object {
	all := object{}
	for key, value := range extra {
		all[key] = value
	}
	for key, value := range known {
		all[key] = value
	}
	return all
}
