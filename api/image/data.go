package image

import (
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// upload is PUT /v2/images/{id}/file. The bytes go by once: they are stored and summed while they arrive, inspected before
// they are published, and the image is active only when everything is on disk. Whatever ends it early returns the image
// to queued, with nothing kept.
func (a *API) upload(c echo.Context) error {
	image, err := a.changeable(c, "upload data for")
	if err != nil {
		return err
	}
	req := c.Request()
	if got, _, err := mime.ParseMediaType(req.Header.Get(echo.HeaderContentType)); err != nil || got != echo.MIMEOctetStream {
		return rest.Status(http.StatusUnsupportedMediaType, "Unsupported Content-Type: use %s", echo.MIMEOctetStream)
	}
	if req.ContentLength > a.config.MaxBytes {
		return a.tooLarge()
	}
	if image.DiskFormat == nil || image.ContainerFormat == nil {
		return fault.New(fault.Invalid, "Properties disk_format, container_format must be set prior to saving data.")
	}
	if image.Status != models.ImageQueued {
		return wrongStatus(image.ID, image.Status)
	}
	body, err := rest.IdleReader(c, a.config.Idle)
	if err != nil {
		return err
	}
	if err := a.receive(req.Context(), image, body, req.ContentLength); err != nil {
		return err
	}
	return rest.NoContent(c)
}

func wrongStatus(id string, status models.ImageStatus) error {
	return fault.New(fault.Conflict, "Image status transition from %s to saving is not allowed: image %s takes data only once, while it is queued.", status, id)
}

func (a *API) tooLarge() error {
	return fault.New(fault.TooLarge, "The image is larger than the %d bytes that are allowed.", a.config.MaxBytes)
}

// receive takes the bytes of a queued image and makes it active. length is what the client announced, -1 for nothing.
func (a *API) receive(ctx context.Context, image models.Image, body io.Reader, length int64) (err error) {
	// What has begun is ended properly even if the client is gone.
	last := context.WithoutCancel(ctx)

	// The lock comes before the state: so an image in saving whose lock is free belongs to a dead process (see Settle).
	up, err := a.bytes.Create(last, image.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	if err := a.store.TransitionImage(last, image.ID, models.ImageQueued, models.ImageSaving, models.ImageBytes{}); err != nil {
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			return fault.Wrap(fault.Conflict, err, "Image status transition to saving is not allowed: another upload of image %s came first.", image.ID)
		}
		return fmt.Errorf("begin the upload of image %s: %w", image.ID, err)
	}

	stored, err := a.take(up, body, length, *image.DiskFormat)
	if err != nil {
		return a.giveUp(last, up, image.ID, err)
	}
	if err := up.Commit(*stored.SHA512); err != nil {
		return a.giveUp(last, up, image.ID, fmt.Errorf("publish image %s: %w", image.ID, err))
	}
	err = a.store.TransitionImage(last, image.ID, models.ImageSaving, models.ImageActive, stored)
	switch {
	case err == nil:
		return nil
	case fault.Is(err, fault.Conflict), fault.Is(err, fault.NotFound):
		gone := rest.Status(http.StatusGone, "Image %s could not be found after upload. The image may have been deleted during the upload.", image.ID)
		gone.Cause = err
		return a.giveUp(last, up, image.ID, gone)
	default:
		// Whether the database took it is unknown: the bytes stay published, and Settle decides by the row.
		return fmt.Errorf("make image %s active: %w", image.ID, err)
	}
}

// giveUp returns the image to queued, removes the bytes and gives back why. The lock goes last, and the client hears of it
// when all is done: nobody can begin again before.
func (a *API) giveUp(ctx context.Context, up imagestore.Upload, id string, why error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := a.store.TransitionImage(ctx, id, models.ImageSaving, models.ImageQueued, models.ImageBytes{})
	if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) { // deleted meanwhile: nothing to return
		a.log.Error("an image stays in saving until it is settled", "image_id", id, "error", err)
	}
	if err := up.Abort(); err != nil {
		a.log.Error("the bytes of a refused image stay until they are settled", "image_id", id, "error", err)
	}
	return why
}

// chunk is how much is read at once.
const chunk = 1 << 20

// take stores, sums and inspects the body in one pass.
func (a *API) take(up imagestore.Upload, body io.Reader, length int64, declared string) (models.ImageBytes, error) {
	var none models.ImageBytes
	sums := newSums()
	look := imageformat.New(imageformat.Rules{Declared: declared})
	size, err := sums.copy(io.MultiWriter(up, look), body, a.config.MaxBytes)
	md5sum, sha := sums.end()
	switch {
	case errors.Is(err, errTooLarge):
		return none, a.tooLarge()
	case err != nil:
		return none, err
	case length >= 0 && size != length:
		return none, fault.New(fault.Invalid, "The upload ended after %d of %d bytes.", size, length)
	}
	info, err := look.Finish()
	if err != nil {
		return none, err
	}
	virtual := info.VirtualBytes
	return models.ImageBytes{SizeBytes: &size, VirtualBytes: &virtual, MD5: &md5sum, SHA512: &sha}, nil
}

var errTooLarge = errors.New("too large")

// sums computes both checksums beside the copying: SHA-512 costs about as much as everything else together, so each runs
// on its own.
type sums struct {
	md5, sha  hash.Hash
	feeds     [2]chan []byte
	done      chan struct{}
	finishing [2]chan struct{}
}

func newSums() *sums {
	s := &sums{md5: md5.New(), sha: sha512.New(), done: make(chan struct{}, 2)}
	for i, h := range []hash.Hash{s.md5, s.sha} {
		feed, finished := make(chan []byte), make(chan struct{})
		s.feeds[i], s.finishing[i] = feed, finished
		go func() {
			defer close(finished)
			for p := range feed {
				h.Write(p)
				s.done <- struct{}{}
			}
		}()
	}
	return s
}

// copy is one pass from the body to the store; it never sums, stores or keeps more than limit bytes.
func (s *sums) copy(to io.Writer, from io.Reader, limit int64) (int64, error) {
	buffers := [2][]byte{make([]byte, chunk), make([]byte, chunk)}
	var size int64
	pending := false
	settle := func() {
		if pending {
			<-s.done
			<-s.done
			pending = false
		}
	}
	defer settle()
	for i := 0; ; i++ {
		buffer := buffers[i%2]
		n, readErr := io.ReadFull(from, buffer) // while the chunk before is still being summed
		settle()
		if n > 0 {
			if size+int64(n) > limit {
				return size, errTooLarge
			}
			s.feeds[0] <- buffer[:n]
			s.feeds[1] <- buffer[:n]
			pending = true
			if _, err := to.Write(buffer[:n]); err != nil {
				return size, err
			}
			size += int64(n)
		}
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF) && n < len(buffer) && cleanEnd(from):
			return size, nil
		default:
			return size, fault.Wrap(fault.Invalid, readErr, "The upload was cut off.")
		}
	}
}

// cleanEnd tells ReadFull's own "the last chunk is short" from the same error out of the connection (fewer bytes than
// Content-Length said): a source that ended properly says EOF again.
func cleanEnd(from io.Reader) bool {
	var one [1]byte
	n, err := from.Read(one[:])
	return n == 0 && err == io.EOF
}

// end stops the summing and gives both sums in hexadecimal.
func (s *sums) end() (md5sum, sha string) {
	for i := range s.feeds {
		close(s.feeds[i])
		<-s.finishing[i]
	}
	return hex.EncodeToString(s.md5.Sum(nil)), hex.EncodeToString(s.sha.Sum(nil))
}

// download is GET /v2/images/{id}/file.
func (a *API) download(c echo.Context) error {
	image, err := a.visible(c)
	if err != nil {
		return err
	}
	if image.Status != models.ImageActive {
		return rest.NoContent(c) // Glance: there is no data (yet)
	}
	return ServeBytes(c, a.bytes, image, a.config.Idle)
}

// ServeBytes answers with an active image's bytes, whole or the one range that is asked for (206, 416). idle is how long
// the client may take none. Callers have decided that the client may have them.
func ServeBytes(c echo.Context, bytes imagestore.Store, image models.Image, idle time.Duration) error {
	ctx := c.Request().Context()
	size, err := bytes.Size(ctx, image.ID)
	if err != nil {
		return fmt.Errorf("bytes of active image %s: %w", image.ID, unexpectedly(err))
	}
	h := c.Response().Header()
	h.Set("Accept-Ranges", "bytes")
	var tag string
	if image.SHA512 != nil {
		tag = `"` + *image.SHA512 + `"`
		h.Set("ETag", tag)
	}
	first, last, part, err := rangeOf(c.Request().Header, size, tag)
	if err != nil {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return err
	}
	from, err := bytes.Open(ctx, image.ID, first, last-first+1)
	if err != nil {
		return fmt.Errorf("bytes of active image %s: %w", image.ID, unexpectedly(err))
	}
	defer from.Close()

	status, length := http.StatusOK, last-first+1
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
	if err := rest.CopyIdle(c, from, length, idle); err != nil {
		rest.Logger(c).Info("a download was cut off", "image_id", image.ID, "error", err.Error())
		panic(http.ErrAbortHandler) // the client must not take a short body for the whole one
	}
	return nil
}

// unexpectedly keeps a NotFound of the store from looking like an unknown image: an active image without bytes is broken.
func unexpectedly(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(fault.Internal, err, "The image has no data.")
	}
	return err
}

// rangeOf reads Range (RFC 9110, section 14): first and last byte, and whether that is a part. Several ranges at once are
// answered with the whole, as the RFC allows; If-Range with another tag too.
func rangeOf(h http.Header, size int64, tag string) (first, last int64, part bool, err error) {
	spec, isBytes := strings.CutPrefix(h.Get("Range"), "bytes=")
	if cond := h.Get("If-Range"); !isBytes || strings.Contains(spec, ",") || (cond != "" && cond != tag) {
		return 0, size - 1, false, nil
	}
	unsatisfiable := rest.Status(http.StatusRequestedRangeNotSatisfiable, "The requested range %s is not within the image of %d bytes.", spec, size)
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
