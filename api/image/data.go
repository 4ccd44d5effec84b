package image

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// upload is PUT /v2/images/{id}/file.
func (a *API) upload(c echo.Context) error {
	return a.receive(c, images.Repository.Upload)
}

// stage is PUT /v2/images/{id}/stage.
func (a *API) stage(c echo.Context) error {
	return a.receive(c, images.Repository.Stage)
}

// receive hands a request's body to the service.
func (a *API) receive(c echo.Context, take func(images.Repository, context.Context, models.Image, images.Data) (models.Image, error)) error {
	req := c.Request()
	repo := a.images(c)
	image, err := repo.Get(req.Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if got, _, err := mime.ParseMediaType(req.Header.Get(echo.HeaderContentType)); err != nil || got != echo.MIMEOctetStream {
		return rest.Status(http.StatusUnsupportedMediaType, "Unsupported Content-Type: use %s", echo.MIMEOctetStream)
	}
	// What is stored is what was sent: a packed image would be taken for the disk itself.
	if coding := req.Header.Get(echo.HeaderContentEncoding); coding != "" && !strings.EqualFold(coding, "identity") {
		return rest.Status(http.StatusUnsupportedMediaType, "Unsupported Content-Encoding: send the bytes of the image as they are.")
	}
	length := req.ContentLength
	if said := req.Header.Get("X-Openstack-Image-Size"); said != "" {
		// A client that sends chunks can say here how large the image will be.
		if length, err = strconv.ParseInt(said, 10, 64); err != nil || length < 0 {
			return fault.New(fault.Invalid, "Invalid or missing image size in request headers.")
		}
	}
	body, err := rest.IdleReader(c, a.config.Idle)
	if err != nil {
		return err
	}
	_, err = take(repo, req.Context(), image, images.Data{Body: body, Length: length, Store: req.Header.Get("X-Image-Meta-Store")})
	var gone *images.Gone
	if errors.As(err, &gone) {
		answer := rest.Status(http.StatusGone, "%s", gone)
		answer.Cause = err
		return answer
	}
	if err != nil {
		return err
	}
	return rest.NoContent(c)
}

// download is GET /v2/images/{id}/file.
func (a *API) download(c echo.Context) error {
	repo := a.images(c)
	image, err := repo.Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if image.SizeBytes == nil || image.Status == models.ImageImporting { // or not yet in every store
		return rest.NoContent(c) // Glance: there is no data (yet)
	}
	return rest.ServeImage(c, repo, image, a.config.Idle)
}
