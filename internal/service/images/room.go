package images

import (
	"context"
	"errors"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/space"
	"github.com/slipway-cloud/slipway/models"
)

// room refuses bytes that a store has no room for: those that are announced before any of them comes.
type room struct {
	Repository
	service   *Service
	requestID string
}

func (r *room) Upload(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	return r.take(ctx, was, data, r.Repository.Upload)
}

func (r *room) Stage(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	return r.take(ctx, was, data, r.Repository.Stage)
}

func (r *room) take(ctx context.Context, was models.Image, data Data, on func(context.Context, models.Image, Data) (models.Image, error)) (models.Image, error) {
	name, store, err := r.service.target(data.Store)
	if err != nil {
		return was, err
	}
	image := was
	if !data.InPlace {
		err = store.Room(ctx, max(0, data.Length))
	}
	if err == nil {
		image, err = on(ctx, was, data)
	}
	r.service.tellFull(ctx, was.ID, name, r.requestID, err)
	return image, err
}

// tellFull tells operators of a store that has no more room; users hear that much.
func (s *Service) tellFull(ctx context.Context, imageID, store, requestID string, err error) {
	if !imagestore.Full(err) {
		return
	}
	what := []any{"image_id", imageID, "store", store, "request_id", requestID, "error", err}
	var full *space.Full
	if errors.As(err, &full) {
		what = append(what, "free_bytes", full.Free, "reserve_bytes", full.Floor)
	}
	s.log.WarnContext(ctx, "an image store is full: make room, or lower images.reserve", what...)
}
