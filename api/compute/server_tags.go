package compute

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

func (a *API) mountServerTags(g *echo.Group) {
	const rule = "os_compute_api:os-server-tags:"
	g.GET("/servers/:id/tags", a.listTags, since(26), rest.Expect(404))
	g.PUT("/servers/:id/tags", a.setTags, writerOnly(rule+"update_all"), since(26), rest.Expect(400, 403, 404, 409))
	g.DELETE("/servers/:id/tags", a.removeTags, writerOnly(rule+"delete_all"), since(26), rest.Expect(403, 404, 409))
	g.GET("/servers/:id/tags/:tag", a.showTag, since(26), rest.Expect(404))
	g.PUT("/servers/:id/tags/:tag", a.addTag, writerOnly(rule+"update"), since(26), rest.Expect(400, 403, 404, 409))
	g.DELETE("/servers/:id/tags/:tag", a.removeTag, writerOnly(rule+"delete"), since(26), rest.Expect(403, 404, 409))
}

func (a *API) listTags(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"tags": tagsOf(s)})
}

func (a *API) showTag(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	tag := c.Param("tag")
	if !slices.Contains(s.Tags, tag) {
		return fault.New(fault.NotFound, "Server %s has no tag '%s'", s.ID, tag)
	}
	return c.NoContent(http.StatusNoContent)
}

var tagsSchema = compile(wrapped("tags", object{"type": "array", "items": tagSchema, "maxItems": servers.MaxTags}))

func (a *API) setTags(c echo.Context) error {
	var body struct {
		Tags []string `json:"tags"`
	}
	s, err := a.bindOf(c, tagsSchema, &body)
	if err != nil {
		return err
	}
	tags, err := a.servers(c).SetTags(c.Request().Context(), s, body.Tags)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"tags": slices.Concat([]string{}, tags)})
}

func (a *API) removeTags(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if _, err := a.servers(c).SetTags(c.Request().Context(), s, nil); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

var (
	nullSchema   = compile(object{"type": "null"})
	oneTagSchema = compile(tagSchema)
)

// addTag answers 201 and where the tag is, or 204 if the server had it.
func (a *API) addTag(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if c.Request().ContentLength != 0 {
		if err := rest.Bind(c, nullSchema, nil); err != nil {
			return err
		}
	}
	tag := c.Param("tag")
	if err := rest.Check(oneTagSchema, tag); err != nil {
		return invalid("Tag '%s' is invalid. It must be a non empty string without characters '/' and ','. Validation error message: %s", tag, err)
	}
	added, err := a.servers(c).AddTag(c.Request().Context(), s, tag)
	switch {
	case err != nil:
		return err
	case !added:
		return c.NoContent(http.StatusNoContent)
	}
	c.Response().Header().Set(echo.HeaderLocation, rest.URL(c, endpoint+"/v2.1", "servers", s.ID, "tags", tag))
	return c.NoContent(http.StatusCreated)
}

func (a *API) removeTag(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if err := a.servers(c).RemoveTag(c.Request().Context(), s, c.Param("tag")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
