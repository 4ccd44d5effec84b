package image

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Settled says what Settle found.
type Settled struct {
	Requeued int // images in saving that no process was saving
	Removed  int // images' bytes without an active image
	Swept    int // things in the store that belong to no image at all
}

// Settle cleans up after uploads and deletes of processes that died: an image in saving returns to queued, and bytes that
// belong to no active image are removed. An upload that is alive, in this or another api process, holds its image's lock
// in the store from before the row says saving until after it says what became of it; Settle touches an image only with
// that lock in its own hand, and decides by the row as it is then. The locks of a dead process are free (the
// kernel frees a folder's, Postgres an object store's), so nothing has to time out.
func (a *API) Settle(ctx context.Context) (Settled, error) {
	var problems []error
	ids, err := a.bytes.IDs(ctx)
	if err != nil { // of several stores, those that answer are settled all the same
		problems = append(problems, fmt.Errorf("settle images: %w", err))
	}
	saving, err := a.store.ImagesByStatus(ctx, models.ImageSaving, time.Now().Add(time.Hour))
	if err != nil {
		return Settled{}, fmt.Errorf("settle images: %w", err)
	}
	suspects := map[string]bool{}
	for _, image := range saving {
		suspects[image.ID] = true
	}
	active, err := a.activeAmong(ctx, ids)
	if err != nil {
		return Settled{}, fmt.Errorf("settle images: %w", err)
	}
	for _, id := range ids {
		if !active[id] {
			suspects[id] = true
		}
	}
	var done Settled
	for id := range suspects {
		if err := a.settle(ctx, id, &done); err != nil {
			problems = append(problems, fmt.Errorf("settle image %s: %w", id, err))
		}
	}
	if done.Swept, err = a.bytes.Sweep(ctx); err != nil {
		problems = append(problems, fmt.Errorf("settle images: %w", err))
	}
	return done, errors.Join(problems...)
}

// activeAmong says which of the ids are active images; most are, and are left alone without a lock or a query each.
func (a *API) activeAmong(ctx context.Context, ids []string) (map[string]bool, error) {
	active := map[string]bool{}
	const page = 500
	for begin := 0; begin < len(ids); begin += page {
		images, err := a.store.ListImages(ctx, models.ImageFilter{
			Admin: true, Visibility: "all", IDs: ids[begin:min(begin+page, len(ids))], Statuses: []models.ImageStatus{models.ImageActive},
		})
		if err != nil {
			return nil, err
		}
		for _, image := range images {
			active[image.ID] = true
		}
	}
	return active, nil
}

func (a *API) settle(ctx context.Context, id string, done *Settled) error {
	lock, err := a.bytes.Hold(ctx, id)
	if fault.Is(err, fault.Conflict) {
		return nil // alive
	}
	if err != nil {
		return err
	}
	image, err := a.store.Image(ctx, id)
	switch {
	case err == nil && image.Status == models.ImageActive:
		return lock.Close()
	case err == nil && image.Status == models.ImageSaving:
		err := a.store.TransitionImage(ctx, id, models.ImageSaving, models.ImageQueued, models.ImageBytes{})
		if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			return errors.Join(err, lock.Close())
		}
		a.log.Warn("an upload had died: its image is queued again", "image_id", id)
		done.Requeued++
		return lock.Abort()
	case err == nil, fault.Is(err, fault.NotFound):
		a.log.Warn("bytes without an active image are removed", "image_id", id)
		done.Removed++
		return lock.Abort()
	default:
		return errors.Join(err, lock.Close())
	}
}
