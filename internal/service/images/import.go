package images

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// An import is a workflow (workflows/imports), and what follows is the steps of it. Each may be done again, by another
// process and while the one before still lives: whoever works on an image's bytes in a store holds its lock there, and goes
// by the row as it is under that lock.

// StoreImported brings an image that is importing to a store. data.From, data.Task and data.Store say which; a store that has
// it already is success.
func (s *Service) StoreImported(ctx context.Context, caller Caller, imageID string, data Data) (models.Image, error) {
	row, err := s.imported(ctx, imageID, data.Task)
	if err != nil || row.LiesIn(data.Store) {
		return row, err
	}
	return s.Internally(caller).Upload(ctx, row, data)
}

// imported is an image as its import has it: Conflict when the import has ended.
func (s *Service) imported(ctx context.Context, imageID, task string) (models.Image, error) {
	row, err := s.rows.Image(ctx, imageID)
	if err == nil && row.Properties[models.ImportTaskProperty] != task {
		err = fault.New(fault.Conflict, "The import of image %s has ended.", imageID)
	}
	return row, err
}

// CopyImported copies an image's bytes to one more store. read sees them pass. A store that has them already is success.
func (s *Service) CopyImported(ctx context.Context, caller Caller, imageID, task, name string, read func(io.Reader) io.Reader) (models.Image, error) {
	row, err := s.imported(ctx, imageID, task)
	if err != nil || row.LiesIn(name) {
		return row, err
	}
	store, err := s.stores.Store(name)
	if err != nil {
		return row, err
	}
	last := context.WithoutCancel(ctx)
	up, err := store.Create(last, imageID)
	if err != nil {
		return row, underWay(err)
	}
	defer up.Close()
	if row, err = s.imported(last, imageID, task); err != nil || row.LiesIn(name) {
		return row, err
	}
	image, err := s.copyTo(ctx, up, row, name, store, task, read)
	if err != nil {
		s.tellFull(ctx, imageID, name, caller.RequestID, err)
		return row, (&location{Service: s}).giveUp(last, up, imageID, name, models.ImageImporting, err)
	}
	return image, nil
}

func (s *Service) copyTo(ctx context.Context, up imagestore.Upload, row models.Image, name string, store imagestore.Store, task string, read func(io.Reader) io.Reader) (models.Image, error) {
	if row.SizeBytes == nil || row.SHA512 == nil {
		return row, fault.New(fault.Conflict, "Image %s has no data: it is %s.", row.ID, row.Status)
	}
	if limit := s.config.ProjectBytes; limit > 0 {
		used, err := s.rows.ImageUsage(ctx, row.OwnerID)
		if err != nil {
			return row, err
		}
		if needed := used + *row.SizeBytes; needed > limit {
			return row, models.OverImageLimit(needed, limit)
		}
	}
	if err := store.Room(ctx, *row.SizeBytes); err != nil {
		return row, err
	}
	body, err := s.Open(ctx, row, 0, -1)
	if err != nil {
		return row, fmt.Errorf("read image %s: %w", row.ID, err)
	}
	defer body.Close()
	sum := sha512.New()
	size, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(up, sum)}, struct{ io.Reader }{read(body)}, make([]byte, chunk))
	if err != nil {
		return row, fmt.Errorf("copy image %s to store %s: %w", row.ID, name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); size != *row.SizeBytes || got != *row.SHA512 {
		return row, fault.New(fault.Internal, "The bytes of image %s in its store are not those that were stored: there are %d of %d, with another checksum.", row.ID, size, *row.SizeBytes)
	}
	if err := up.Commit(*row.SHA512); err != nil {
		return row, fmt.Errorf("publish image %s in store %s: %w", row.ID, name, err)
	}
	last := context.WithoutCancel(ctx)
	return s.rows.MoveImage(last, row.ID, models.ImageMove{
		Task: task, Limit: s.config.ProjectBytes, Stored: []models.ImageLocation{{Store: name, URL: store.Location(row.ID)}},
	})
}

// underWay is what an import is told of a lock that somebody else has: it is free soon, when that one has ended or died.
func underWay(err error) error {
	if fault.Is(err, fault.Conflict) {
		return fault.Wrap(fault.Unavailable, err, "Another process works on the image's bytes.")
	}
	return err
}

// EndImport ends an import. What lies in its stores and does not belong to the image is removed, and so are the bytes that
// waited in the store that is named, if one is. Again is success.
//
// An import that is older than the database's last restore may have gone well since: until that is acknowledged, its undo is
// Unavailable. One of an image that no row knows leaves all bytes where they are, for the sweep to judge.
func (s *Service) EndImport(ctx context.Context, caller Caller, e models.ImportEnd, stores []string, staged string) error {
	var held holding
	known, err := s.rows.KnownImages(ctx, []string{e.Task.ImageID})
	if err != nil {
		return err
	}
	if !known[e.Task.ImageID] {
		s.log.Warn("an import ends of an image that the database does not know: its bytes stay where they are", "image_id", e.Task.ImageID, "task_id", e.Task.ID)
		return nil
	}
	if !e.Success {
		if err := s.rows.MayUndoImport(ctx, e.Task.ImageID); err != nil {
			return err
		}
		// First the locks: so nobody brings anything any more when the image is free for the next.
		for _, name := range stores {
			store, err := s.stores.Store(name)
			if err != nil {
				continue // it is not there any more, and nothing of it can be removed
			}
			lock, err := store.Hold(ctx, e.Task.ImageID)
			if err != nil {
				return errors.Join(underWay(err), held.end(models.Image{}, held.names()))
			}
			held = append(held, heldIn{name, lock})
		}
	}
	e.Announce = notifier{caller}.announce("image.activate")
	image, exists, err := s.rows.EndImport(ctx, e)
	if err != nil {
		return errors.Join(err, held.end(models.Image{}, held.names()))
	}
	if err := held.end(image, nil); err != nil {
		return err
	}
	if !exists {
		if err := s.dropCopies(ctx, e.Task.ImageID, stores); err != nil {
			return err
		}
	}
	return s.dropImported(ctx, e.Task.ImageID, staged)
}

// holding are locks of an image in some stores.
type holding []heldIn

type heldIn struct {
	store string
	lock  imagestore.Hold
}

func (h holding) names() []string {
	var names []string
	for _, one := range h {
		names = append(names, one.store)
	}
	return names
}

// end lets go of the locks, and removes what lies in a store that is none of the image's places, unless it is to be kept.
func (h holding) end(image models.Image, keep []string) error {
	var problems []error
	for _, one := range h {
		if slices.Contains(keep, one.store) || hasBytes(image.Status) && image.LiesIn(one.store) {
			problems = append(problems, one.lock.Close())
		} else {
			problems = append(problems, one.lock.Abort())
		}
	}
	return errors.Join(problems...)
}

// dropCopies removes what an import brought of an image that was deleted. The delete itself ends when every store is clean.
func (s *Service) dropCopies(ctx context.Context, imageID string, stores []string) error {
	for _, name := range stores {
		store, err := s.stores.Store(name)
		if err != nil {
			continue
		}
		lock, err := store.Hold(ctx, imageID)
		if err != nil {
			return underWay(err)
		}
		if err := lock.Abort(); err != nil {
			return err
		}
	}
	return nil
}

// dropImported removes staged bytes that no image waits for any more.
func (s *Service) dropImported(ctx context.Context, imageID, name string) error {
	if name == "" {
		return nil
	}
	store, err := s.stores.Store(name)
	if err != nil {
		return nil //nolint:nilerr // it is not there any more
	}
	lock, err := store.Hold(ctx, stagedID(imageID))
	if fault.Is(err, fault.Conflict) {
		return nil // the image is being staged anew
	}
	if err != nil {
		return err
	}
	row, err := s.rows.Image(ctx, imageID)
	switch {
	case err != nil && !fault.Is(err, fault.NotFound):
		return errors.Join(err, lock.Close())
	case err == nil && row.StagedStore != nil:
		return lock.Close() // staged anew, and again
	}
	return lock.Abort()
}
