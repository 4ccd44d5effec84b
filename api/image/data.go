package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	return ServeBytes(c, repo, image, a.config.Idle)
}

// Opener is where bytes are read: what the caller may have of the image service, or all of it.
type Opener interface {
	Open(ctx context.Context, image models.Image, offset, length int64) (io.ReadCloser, error)
}

// ServeBytes answers with an image's bytes, whole or the one range that is asked for (206, 416). idle is how long the client
// may take none.
func ServeBytes(c echo.Context, from Opener, image models.Image, idle time.Duration) error {
	size := *image.SizeBytes
	h := c.Response().Header()
	h.Set("Accept-Ranges", "bytes")
	tag := `"` + *image.SHA512 + `"`
	h.Set("ETag", tag)
	first, last, part, err := rangeOf(c.Request().Header, size, tag)
	if err != nil {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return err
	}
	length := last - first + 1
	asked := length
	if last == size-1 {
		asked = -1 // to the end: a plain file can go out by sendfile
	}
	body, err := from.Open(c.Request().Context(), image, first, asked)
	if err != nil {
		h.Del("ETag")
		return err
	}
	defer body.Close()

	status := http.StatusOK
	h.Set(echo.HeaderContentType, echo.MIMEOctetStream)
	h.Set(echo.HeaderContentLength, strconv.FormatInt(length, 10))
	if part {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	} else if image.MD5 != nil {
		h.Set("Content-MD5", *image.MD5) // in hexadecimal, as Glance has it
	}
	c.Response().WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	if err := rest.CopyIdle(c, body, length, idle); err != nil {
		rest.Logger(c).Info("a download was cut off", "image_id", image.ID, "error", err.Error())
		panic(http.ErrAbortHandler) // the client must not take a short body for the whole one
	}
	return nil
}

// rangeOf reads Range (RFC 9110, section 14): first and last byte, and whether that is a part. Several ranges at once are
// answered with the whole, as the RFC allows; If-Range with another tag too. Without Range, Glance takes what older clients
// ask for by Content-Range.
func rangeOf(h http.Header, size int64, tag string) (first, last int64, part bool, err error) {
	if asked := h.Get("Content-Range"); asked != "" && h.Get("Range") == "" {
		return contentRange(asked, size)
	}
	spec, isBytes := strings.CutPrefix(h.Get("Range"), "bytes=")
	if cond := h.Get("If-Range"); !isBytes || strings.Contains(spec, ",") || (cond != "" && cond != tag) {
		return 0, size - 1, false, nil
	}
	unsatisfiable := outside(spec, size)
	from, to, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !dash {
		return 0, size - 1, false, nil
	}
	if from == "" { // the last n bytes
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < 0 {
			return 0, size - 1, false, nil
		}
		if n == 0 || size == 0 {
			return 0, 0, false, unsatisfiable
		}
		return max(0, size-n), size - 1, true, nil
	}
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 {
		return 0, size - 1, false, nil
	}
	last = size - 1
	if to != "" {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < first {
			return 0, size - 1, false, nil
		}
		last = min(last, n)
	}
	if first >= size {
		return 0, 0, false, unsatisfiable
	}
	return first, last, true, nil
}

// contentRange reads "bytes FIRST-LAST/SIZE" or "bytes FIRST-LAST/*". Nothing in it may be wrong.
func contentRange(asked string, size int64) (first, last int64, part bool, err error) {
	spec, isBytes := strings.CutPrefix(asked, "bytes ")
	span, whole, _ := strings.Cut(spec, "/")
	from, to, _ := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if !isBytes || err1 != nil || err2 != nil || first < 0 || last < first || last >= size ||
		(whole != "*" && whole != strconv.FormatInt(size, 10)) {
		return 0, 0, false, outside(asked, size)
	}
	return first, last, true, nil
}

func outside(asked string, size int64) error {
	return rest.Status(http.StatusRequestedRangeNotSatisfiable, "The requested range %s is not within the image of %d bytes.", asked, size)
}
