package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// Staged bytes lie in a store beside the images, under a name of their own. So any process that imports can read them.
const stagedSuffix = "-staged"

func stagedID(imageID string) string { return imageID + stagedSuffix }

// Stage implements Repository: see there.
func (l *location) Stage(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if was.Status != models.ImageQueued {
		return was, wrongStatus(was, models.ImageUploading)
	}
	name, store, err := l.target(data.Store)
	if err != nil {
		return was, err
	}
	last := context.WithoutCancel(ctx)
	up, err := store.Create(last, stagedID(was.ID))
	if err != nil {
		return was, err
	}
	defer up.Close()
	if _, err := l.rows.MoveImage(last, was.ID, models.ImageMove{From: models.ImageQueued, To: models.ImageUploading}); err != nil {
		return was, err
	}
	size, err := copyPlain(up, data)
	if err == nil {
		err = up.Commit("")
	}
	var image models.Image
	if err == nil {
		image, err = l.rows.StageImage(last, was.ID, name, size, data.Limits.Project)
	}
	if err != nil {
		return was, l.unstage(last, up, was.ID, err)
	}
	return image, nil
}

// unstage returns an image whose staging failed to queued. Where that is not known to have worked, Settle does it.
func (l *location) unstage(ctx context.Context, up imagestore.Upload, id string, why error) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	_, err := l.rows.MoveImage(ctx, id, models.ImageMove{From: models.ImageUploading, To: models.ImageQueued})
	if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
		l.log.Error("an image stays in uploading until it is settled", "image_id", id, "error", err)
		return errors.Join(why, up.Close())
	}
	if err := up.Abort(); err != nil {
		l.log.Error("staged bytes stay until they are settled", "image_id", id, "error", err)
	}
	return why
}

// copyPlain stores what will be summed and judged when it is imported.
func copyPlain(to io.Writer, data Data) (int64, error) {
	most := data.Limits.most()
	size, err := io.CopyBuffer(struct{ io.Writer }{to}, io.LimitReader(source{data.Body}, most+1), make([]byte, firstChunk))
	var cut *cutOff
	switch {
	case size > most:
		return size, data.Limits.refusal()
	case errors.As(err, &cut):
		return size, fault.Wrap(fault.Invalid, cut.cause, "The upload was cut off.")
	case err != nil:
		return size, err
	case data.Length >= 0 && size != data.Length:
		return size, fault.New(fault.Invalid, "The upload ended after %d of %d bytes.", size, data.Length)
	}
	return size, nil
}

// source tells the errors of what is read from those of where it is written.
type source struct{ from io.Reader }

type cutOff struct{ cause error }

func (c *cutOff) Error() string { return c.cause.Error() }

func (s source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && err != io.EOF {
		err = &cutOff{err}
	}
	return n, err
}

// OpenStaged reads what was staged of an image: the bytes, and how many there are.
func (s *Service) OpenStaged(ctx context.Context, image models.Image) (io.ReadCloser, int64, error) {
	if image.StagedStore == nil {
		return nil, 0, fault.New(fault.Conflict, "Image %s has nothing staged.", image.ID)
	}
	store, err := s.stores.Store(*image.StagedStore)
	if err != nil {
		return nil, 0, err
	}
	body, err := store.Open(ctx, stagedID(image.ID), 0, -1)
	if err != nil {
		return nil, 0, fmt.Errorf("open what is staged of image %s: %w", image.ID, err)
	}
	return body, *image.StagedBytes, nil
}

// dropStaged removes what was staged; absent is success.
func (s *Service) dropStaged(ctx context.Context, image models.Image) error {
	if image.StagedStore == nil {
		return nil
	}
	store, err := s.stores.Store(*image.StagedStore)
	if err != nil {
		return nil //nolint:nilerr // it is not there any more
	}
	return store.Delete(ctx, stagedID(image.ID))
}

// isStaged tells a name of staged bytes from an image's id, and gives the id.
func isStaged(name string) (imageID string, staged bool) {
	return strings.CutSuffix(name, stagedSuffix)
}
