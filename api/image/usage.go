package image

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// usage is GET /v2/info/usage: the project's images against its quota, by Glance's names. One limit holds for stored and
// staged bytes together; images are not counted against any.
func (a *API) usage(c echo.Context) error {
	used, limit, err := a.service.Usage(c.Request().Context(), rest.CallerOf(c).ProjectID)
	if err != nil {
		return err
	}
	const none, mebibyte = -1, 1 << 20
	most := int64(none)
	if limit > 0 {
		most = limit / mebibyte
	}
	of := func(used, limit int64) map[string]int64 { return map[string]int64{"usage": used, "limit": limit} }
	return c.JSON(http.StatusOK, map[string]any{"usage": map[string]any{
		"image_size_total": of(used.Bytes/mebibyte, most), "image_stage_total": of(used.Staged/mebibyte, most),
		"image_count_total": of(used.Images, none), "image_count_uploading": of(used.Uploading, none),
	}})
}
