package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/models"
)

// ImageOpener is where an image's bytes are read: what the caller may have of the image service, or all of it.
type ImageOpener interface {
	Open(ctx context.Context, image models.Image, offset, length int64) (io.ReadCloser, error)
}

// ServeImage answers with an image's bytes, whole or the one range that is asked for (206, 416). idle is how long the client
// may take none.
func ServeImage(c echo.Context, from ImageOpener, image models.Image, idle time.Duration) error {
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
	if err := CopyIdle(c, body, length, idle); err != nil {
		Logger(c).Info("a download was cut off", "image_id", image.ID, "error", err.Error())
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
	unsatisfiable := outsideRange(spec, size)
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
		return 0, 0, false, outsideRange(asked, size)
	}
	return first, last, true, nil
}

func outsideRange(asked string, size int64) error {
	return Status(http.StatusRequestedRangeNotSatisfiable, "The requested range %s is not within the image of %d bytes.", asked, size)
}
