package hosts

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/images"
)

// storeSnapshot takes the bytes of an image that is made of a server of this host: an image that its user deletes meanwhile is 410.
func (a *API) storeSnapshot(c echo.Context) error {
	ctx := c.Request().Context()
	image, err := a.store.SnapshotAt(ctx, hostOf(c).ID, c.Param("id"))
	if err != nil {
		return err
	}
	body, err := rest.IdleReader(c, imageIdle)
	if err != nil {
		return err
	}
	err = a.images.StoreSnapshot(ctx, image, images.Data{Body: body, Length: c.Request().ContentLength}, rest.RequestID(c))
	if gone := new(images.Gone); errors.As(err, &gone) {
		answer := rest.Status(http.StatusGone, "%s", gone)
		answer.Cause = err
		return answer
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
