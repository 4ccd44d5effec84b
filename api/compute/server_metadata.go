package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func (a *API) mountServerMetadata(g *echo.Group) {
	const rule = "os_compute_api:server-metadata:"
	g.GET("/servers/:id/metadata", a.listMetadata, rest.Expect(404))
	g.POST("/servers/:id/metadata", a.setMetadata, writerOnly(rule+"create"), rest.Expect(400, 403, 404, 409))
	g.PUT("/servers/:id/metadata", a.setMetadata, writerOnly(rule+"update_all"), rest.Expect(400, 403, 404, 409))
	g.GET("/servers/:id/metadata/:key", a.showMetadata, rest.Expect(404))
	g.PUT("/servers/:id/metadata/:key", a.setMetadataItem, writerOnly(rule+"update"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/servers/:id/metadata/:key", a.removeMetadataItem, writerOnly(rule+"delete"), rest.Expect(403, 404, 409))
}

func (a *API) listMetadata(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"metadata": emptyIfNil(s.Metadata)})
}

func (a *API) showMetadata(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	key := c.Param("key")
	value, ok := s.Metadata[key]
	if !ok {
		return fault.New(fault.NotFound, "Metadata item was not found")
	}
	return c.JSON(http.StatusOK, object{"meta": map[string]string{key: value}})
}

var itemsSchema = compile(wrapped("metadata", metadataSchema))

// setMetadata adds items with POST, and with PUT puts them in the place of all.
func (a *API) setMetadata(c echo.Context) error {
	var body struct {
		Metadata map[string]string `json:"metadata"`
	}
	s, err := a.bindOf(c, itemsSchema, &body)
	if err != nil {
		return err
	}
	all, err := a.servers(c).SetMetadata(c.Request().Context(), s, body.Metadata, c.Request().Method == http.MethodPut)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"metadata": all})
}

var itemSchema = compile(wrapped("meta", object{"allOf": []any{metadataSchema, object{"minProperties": 1, "maxProperties": 1}}}))

func (a *API) setMetadataItem(c echo.Context) error {
	var body struct {
		Meta map[string]string `json:"meta"`
	}
	s, err := a.bindOf(c, itemSchema, &body)
	if err != nil {
		return err
	}
	if _, ok := body.Meta[c.Param("key")]; !ok {
		return invalid("Request body and URI mismatch")
	}
	if _, err := a.servers(c).SetMetadata(c.Request().Context(), s, body.Meta, false); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"meta": body.Meta})
}

func (a *API) removeMetadataItem(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if err := a.servers(c).RemoveMetadata(c.Request().Context(), s, c.Param("key")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
