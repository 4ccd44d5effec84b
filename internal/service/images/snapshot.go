package images

import (
	"context"
	"io"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// RecordSnapshot makes the row of an image that is made of a server, by rows that may be those of a taking. One that is shared is shared with
// the project whose the server is, which has not asked for it (nova/image/glance.py, create). Again is success.
func (s *Service) RecordSnapshot(ctx context.Context, rows *models.Store, caller Caller, draft models.Image, serversProject string) error {
	taking := &Service{rows: rows, stores: s.stores, config: s.config, log: s.log}
	made, err := taking.For(caller).Add(ctx, draft)
	if fault.Is(err, fault.Conflict) {
		known, again := s.rows.Image(ctx, draft.ID)
		if again != nil || known.SnapshotOf == nil || *known.SnapshotOf != *draft.SnapshotOf {
			return err
		}
		made, err = known, nil
	}
	if err != nil || made.Visibility != imagepolicy.Shared {
		return err
	}
	if _, err := taking.Internally(caller).Share(ctx, made, serversProject); err != nil && !fault.Is(err, fault.Conflict) { // it was shared before
		return err
	}
	return nil
}

// ForgetSnapshot deletes an image whose bytes have not all come. One that is active is whole, and somebody may have seen it so: it
// stays, as does one that its owner protects.
func (s *Service) ForgetSnapshot(ctx context.Context, caller Caller, imageID string) error {
	row, err := s.rows.Image(ctx, imageID)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil || hasBytes(row.Status) {
		return err
	}
	err = s.Internally(caller).Remove(ctx, row)
	if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound) {
		s.log.WarnContext(ctx, "an image that was not made of a server stays", "image_id", imageID, "error", err)
		return nil
	}
	return err
}

// RemoveSnapshot deletes an image that was made of a server, whatever has become of it; absent is success. One that its owner protects,
// or that is not of that server, stays.
func (s *Service) RemoveSnapshot(ctx context.Context, caller Caller, serverID, imageID string) error {
	row, err := s.rows.Image(ctx, imageID)
	if fault.Is(err, fault.NotFound) || err == nil && (row.SnapshotOf == nil || *row.SnapshotOf != serverID) {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.Internally(caller).Remove(ctx, row)
	if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		s.log.WarnContext(ctx, "an image that was made of a server stays", "image_id", imageID, "error", err)
		return nil
	}
	return err
}

// StoreSnapshot takes the bytes of an image that is made of a server. One that is active has them already. Where somebody else
// works on them, as the process that began to take them may for a moment, it is Unavailable.
func (s *Service) StoreSnapshot(ctx context.Context, image models.Image, data Data, requestID string) error {
	if hasBytes(image.Status) {
		return nil
	}
	if image.Status == models.ImageSaving {
		var err error
		if image, err = s.abandoned(ctx, image.ID); err != nil {
			return err
		}
	}
	caller := Caller{Caller: imagepolicy.Caller{UserID: image.Properties["user_id"], ProjectID: image.OwnerID}, RequestID: requestID}
	data.Body = &wanted{Reader: data.Body, looked: time.Now(), look: func() error {
		_, err := s.rows.Image(ctx, image.ID)
		if fault.Is(err, fault.NotFound) {
			return &Gone{image.ID, err}
		}
		return nil // the end will tell
	}}
	_, err := s.Internally(caller).Upload(ctx, image, data)
	return underWay(err)
}

// abandoned is an image in saving whose process has died, queued again; Unavailable where it lives.
func (s *Service) abandoned(ctx context.Context, imageID string) (models.Image, error) {
	installation, err := s.rows.Installation(ctx)
	if err != nil {
		return models.Image{}, err
	}
	if err := s.settle(ctx, imageID, installation, &Settled{}); err != nil {
		return models.Image{}, err
	}
	image, err := s.rows.Image(ctx, imageID)
	if err == nil && image.Status == models.ImageSaving {
		err = fault.New(fault.Unavailable, "Another process works on the image's bytes.")
	}
	return image, err
}

// wanted ends the reading of bytes for an image that is there no more.
type wanted struct {
	io.Reader
	looked time.Time
	look   func() error
}

// lookEvery is how often an image is looked for while its bytes come.
const lookEvery = 2 * time.Second

func (w *wanted) Read(p []byte) (int, error) {
	if time.Since(w.looked) > lookEvery {
		w.looked = time.Now()
		if err := w.look(); err != nil {
			return 0, err
		}
	}
	return w.Reader.Read(p)
}
