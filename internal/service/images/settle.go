package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// Settled says what Settle found.
type Settled struct {
	Requeued int // images in saving or uploading whose process had died
	Removed  int // bytes that belong to no image any more
	Deleted  int // images whose delete had not ended
	Located  int // images whose place was not recorded
	Swept    int // what dead uploads left beside images that have their bytes
	SetAside int // bytes that no row knows
	Returned int // bytes that were set aside and that a row knows
}

// Settle cleans up after processes that died: an image in saving or uploading returns to queued, bytes that the rows know to
// belong to no image are removed, those that no row knows are set aside, and deletes are ended. An upload that is alive, in this or another process, holds its image's lock in
// the store from before the row says so until after it says what became of it; Settle touches an image only with that lock
// in its own hand, and decides by the row as it is then. The locks of a dead process are free (the kernel frees a folder's,
// Postgres an object store's), so nothing has to time out. Imports are workflows, which end by themselves.
func (s *Service) Settle(ctx context.Context) (Settled, error) {
	return s.settleIn(ctx, s.stores.Names())
}

// SettleRows is what of it the rows tell: deletes that had not ended, and images whose bytes are, or were, on their way. It
// lists no store, so it costs little where nothing is wrong.
func (s *Service) SettleRows(ctx context.Context) (Settled, error) { return s.settleIn(ctx, nil) }

// settleIn settles what the rows tell, and what a look at these stores does.
func (s *Service) settleIn(ctx context.Context, names []string) (Settled, error) {
	var done Settled
	var problems []error
	problem := func(err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("settle images: %w", err))
		}
	}
	// By rows of an older state even what an upload has published looks like what a dead one left.
	if err := s.config.MaySweep(ctx); err != nil {
		return done, fmt.Errorf("settle images: %w", err)
	}
	problem(s.endDeletes(ctx, &done))

	swept := map[imagestore.Store][]string{} // by store, names of images that are known
	suspects := map[string]bool{}            // names in the stores
	problem(s.interrupted(ctx, suspects))
	for _, name := range names {
		store, err := s.stores.Store(name)
		if err == nil {
			err = s.config.MaySweep(ctx, name)
		}
		if err == nil {
			swept[store], err = s.look(ctx, name, store, suspects, &done)
		}
		problem(err) // the other stores are settled all the same
	}
	installation, err := s.rows.Installation(ctx)
	if err != nil {
		return done, errors.Join(append(problems, fmt.Errorf("settle images: %w", err))...)
	}
	for _, id := range slices.Sorted(maps.Keys(suspects)) {
		if err := s.settle(ctx, id, installation, &done); err != nil {
			problem(fmt.Errorf("%s: %w", id, err))
		}
	}
	for store, known := range swept {
		n, err := store.Sweep(ctx, known)
		done.Swept += n
		problem(err)
	}
	return done, errors.Join(problems...)
}

// endDeletes removes the bytes of deleted images.
func (s *Service) endDeletes(ctx context.Context, done *Settled) error {
	gone, err := s.rows.ImagesByStatus(ctx, models.ImagePendingDelete, time.Now().Add(time.Hour))
	problems := []error{err}
	for _, image := range gone {
		err := s.removeBytes(ctx, image)
		if err == nil {
			done.Deleted++
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// interrupted adds the images whose bytes are on their way, or were.
func (s *Service) interrupted(ctx context.Context, suspects map[string]bool) error {
	saving, err := s.rows.ImagesByStatus(ctx, models.ImageSaving, time.Now().Add(time.Hour))
	for _, image := range saving {
		suspects[image.ID] = true
	}
	uploading, also := s.rows.ImagesByStatus(ctx, models.ImageUploading, time.Now().Add(time.Hour))
	for _, image := range uploading {
		if image.StagedStore == nil {
			suspects[stagedID(image.ID)] = true
		}
	}
	return errors.Join(err, also)
}

// look compares what lies in a store with the images; most is right, and is left alone without a lock or a query each. It
// answers the names in the store that the rows know.
func (s *Service) look(ctx context.Context, name string, store imagestore.Store, suspects map[string]bool, done *Settled) ([]string, error) {
	ids, err := store.IDs(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.known(ctx, ids)
	if err != nil {
		return nil, err
	}
	stopped, err := s.setAside(ctx, name, store, slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return known[id] }), done)
	problems := []error{err, s.tendAside(ctx, name, store, stopped, done)}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !known[id] })
	const page = 500
	for some := range slices.Chunk(ids, page) {
		images := map[string]models.Image{}
		var names []string
		for _, id := range some {
			imageID, _ := isStaged(id)
			names = append(names, imageID)
		}
		found, err := s.rows.ListImages(ctx, models.ImageFilter{Admin: true, Visibility: "all", AnyHidden: true, IDs: names})
		if err != nil {
			return ids, errors.Join(append(problems, err)...)
		}
		for _, image := range found {
			images[image.ID] = image
		}
		for _, id := range some {
			imageID, staged := isStaged(id)
			image := images[imageID] // zero where it is deleted
			switch {
			case staged && image.StagedStore == nil:
				suspects[id] = true
			case staged && *image.StagedStore == name:
			case staged:
				problems = append(problems, s.stray(ctx, name, store, id, done))
			case !hasBytes(image.Status):
				suspects[id] = true
			case image.LiesIn(name):
			case len(image.Locations) == 0: // stored before places were recorded
				_, err := s.rows.AddImageLocation(ctx, id, models.ImageLocation{Store: name, URL: store.Location(id)}, 0)
				if err == nil {
					done.Located++
				}
				problems = append(problems, err)
			default:
				problems = append(problems, s.stray(ctx, name, store, id, done))
			}
		}
	}
	return ids, errors.Join(problems...)
}

// stray removes bytes of an image that lies, or is staged, elsewhere: it left this store, or a copy of it did not end.
func (s *Service) stray(ctx context.Context, name string, store imagestore.Store, id string, done *Settled) error {
	lock, err := store.Hold(ctx, id)
	if fault.Is(err, fault.Conflict) {
		return nil // alive
	}
	if err != nil {
		return err
	}
	imageID, staged := isStaged(id)
	image, err := s.rows.Image(ctx, imageID)
	elsewhere := false
	switch {
	case err != nil:
	case staged:
		elsewhere = image.StagedStore != nil && *image.StagedStore != name && s.has(ctx, *image.StagedStore, id, *image.StagedBytes)
	case len(image.Locations) > 0 && !image.LiesIn(name):
		elsewhere, err = s.liesElsewhere(ctx, image, name, store, done)
	}
	if err != nil || !elsewhere {
		return errors.Join(err, lock.Close())
	}
	s.log.Warn("bytes of an image that lies elsewhere are removed", "image_id", imageID, "store", name, "staged", staged)
	done.Removed++
	return lock.Abort()
}

// liesElsewhere says whether the bytes in a store are not the image's own. They are where the store has got another name since
// they were stored, which is recorded then; and where no other place has them, they are kept whatever was recorded.
func (s *Service) liesElsewhere(ctx context.Context, image models.Image, name string, store imagestore.Store, done *Settled) (bool, error) {
	for _, l := range image.Locations {
		if l.URL == store.Location(image.ID) {
			s.log.Warn("a store has another name now", "image_id", image.ID, "was", l.Store, "store", name)
			done.Located++
			return false, s.rows.RenameImageLocation(ctx, l, name)
		}
	}
	for _, l := range image.Locations {
		if s.has(ctx, l.Store, image.ID, *image.SizeBytes) {
			return true, nil
		}
	}
	s.log.Error("bytes of an image are kept in a store that is none of its places, since no other has them", "image_id", image.ID, "store", name)
	return false, nil
}

// has says whether a store certainly has so many bytes under the name.
func (s *Service) has(ctx context.Context, name, id string, size int64) bool {
	store, err := s.stores.Store(name)
	if err != nil {
		return false
	}
	n, err := store.Size(ctx, id)
	return err == nil && n == size
}

// settle decides about an image, or about what was staged of one, that looked wrong.
func (s *Service) settle(ctx context.Context, id string, installation models.Installation, done *Settled) error {
	lock, err := s.stores.Hold(ctx, id)
	if fault.Is(err, fault.Conflict) {
		return nil // alive
	}
	if err != nil {
		return err
	}
	imageID, staged := isStaged(id)
	image, err := s.rows.Image(ctx, imageID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return errors.Join(err, lock.Close())
	}
	interrupted := models.ImageSaving
	if staged {
		interrupted = models.ImageUploading
	}
	if hasBytes(image.Status) && !staged || image.Status == models.ImageImporting || staged && image.StagedStore != nil {
		return lock.Close()
	}
	end := lock.Abort
	restored := installation.Restore != nil && image.UpdatedAt.Before(installation.Restore.NoticedAt) && err == nil
	if restored {
		// The row is of a database that was restored: what looks like a dead upload's bytes may have become an image since.
		// They are set aside before the row says something newer.
		if err := lock.SetAside(ctx, true); err != nil {
			return errors.Join(err, lock.Close())
		}
		end = lock.Close
	}
	switch {
	case image.Status == interrupted:
		_, err := s.rows.MoveImage(ctx, imageID, models.ImageMove{From: interrupted, To: models.ImageQueued})
		if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			return errors.Join(err, lock.Close())
		}
		s.log.Warn("an upload had died: its image is queued again", "image_id", imageID)
		done.Requeued++
	case restored:
		s.log.Warn("bytes of an image whose row is older than the database's restore are set aside", "image_id", imageID, "staged", staged)
		done.SetAside++
	default:
		s.log.Warn("bytes that belong to no image are removed", "image_id", imageID, "staged", staged)
		done.Removed++
	}
	return end()
}
