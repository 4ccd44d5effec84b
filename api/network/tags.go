package network

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// mountTags adds the tags of a kind of objects, as neutron/extensions/tagging.py has them.
func mountTags[T, D any](a *API, g *echo.Group, path string, k resource[T, D]) {
	path += "/:id/tags"
	writer := a.writer("update_" + k.one + ":tags")
	g.GET(path, showTags(a, k), rest.Expect(404))
	g.PUT(path, replaceTags(a, k), writer, rest.Expect(400, 403, 404, 409))
	g.DELETE(path, tagging(a, k, http.StatusNoContent, func(string, []string) ([]string, error) { return []string{}, nil }), writer, rest.Expect(400, 403, 404, 409))
	g.GET(path+"/:tag", hasTag(a, k), rest.Expect(404))
	g.PUT(path+"/:tag", tagging(a, k, http.StatusCreated, add), writer, rest.Expect(400, 403, 404, 409))
	g.DELETE(path+"/:tag", tagging(a, k, http.StatusNoContent, take), writer, rest.Expect(400, 403, 404, 409))
}

func noTag(tag string) error {
	return ipam.Refuse("TagNotFound", fault.NotFound, "Tag %s could not be found.", tag)
}

func showTags[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		found, err := k.find(a.networksFor(c), c.Request().Context(), c.Param("id"))
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, object{"tags": append([]string{}, k.tagged(found)...)})
	}
}

func hasTag[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		found, err := k.find(a.networksFor(c), c.Request().Context(), c.Param("id"))
		if err != nil {
			return err
		}
		if tag := c.Param("tag"); !slices.Contains(k.tagged(found), tag) {
			return noTag(tag)
		}
		return rest.NoContent(c)
	}
}

func replaceTags[T, D any](a *API, k resource[T, D]) echo.HandlerFunc {
	return func(c echo.Context) error {
		body, err := rest.Document(c)
		if err != nil {
			return err
		}
		o, _ := body.(object)
		if o["tags"] == nil {
			return ipam.BadInput("Invalid tags body")
		}
		said, err := tags("tags", o["tags"])
		if err != nil {
			return err
		}
		all, _ := said.([]string)
		changed, err := k.update(a.networksFor(c), c.Request().Context(), c.Param("id"), func(d *D) { *k.tags(d) = all })
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, object{"tags": append([]string{}, k.tagged(changed)...)})
	}
}

// tagging changes the tags by what becomes of those that there are.
func tagging[T, D any](a *API, k resource[T, D], status int, change func(tag string, has []string) ([]string, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		var refused error
		_, err := k.update(a.networksFor(c), c.Request().Context(), c.Param("id"), func(d *D) {
			var all []string
			if all, refused = change(c.Param("tag"), *k.tags(d)); refused == nil {
				*k.tags(d) = all
			}
		})
		if err := cmp.Or(err, refused); err != nil {
			return err
		}
		return c.NoContent(status)
	}
}

func add(tag string, has []string) ([]string, error) {
	if _, err := text(maxTag)("tag", tag); err != nil || slices.Contains(has, tag) {
		return has, err
	}
	all := append(slices.Clone(has), tag)
	return all, tagsFit(all)
}

func take(tag string, has []string) ([]string, error) {
	i := slices.Index(has, tag)
	if i < 0 {
		return has, noTag(tag)
	}
	return slices.Delete(slices.Clone(has), i, i+1), nil
}
