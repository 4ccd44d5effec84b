package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// Bytes that no row ever was of may be another installation's, or of a database that is newer than this one: they are
// never deleted because they are not known. They are set aside, kept for the time of the quarantine, and become an image
// again when a row knows them, or when somebody adopts them.

// Few is how many such images are set aside in a store at once. More are no leftover: this may be the wrong database, or
// the wrong store. Nothing happens to them unless somebody names them.
const Few = 5

// Orphan is published bytes of an image that no row knows.
type Orphan struct {
	imagestore.Orphan // Since is zero until it is set aside
	Store             string
	Until             time.Time // when it is deleted; zero for never, and before it is set aside
}

// Orphans lists what is set aside in the stores that answer, and what no row knows. With errors comes what could be listed.
func (s *Service) Orphans(ctx context.Context) ([]Orphan, error) {
	var all []Orphan
	var problems []error
	for _, name := range s.stores.Names() {
		some, err := s.orphansIn(ctx, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("image store %s: %w", name, err))
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b Orphan) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Store, b.Store)) })
	return all, errors.Join(problems...)
}

func (s *Service) orphansIn(ctx context.Context, name string) ([]Orphan, error) {
	store, err := s.stores.Store(name)
	if err != nil {
		return nil, err
	}
	aside, err := store.Orphans(ctx)
	if err != nil {
		return nil, err
	}
	var all []Orphan
	for _, o := range aside {
		all = append(all, s.orphan(name, o))
	}
	ids, err := store.IDs(ctx)
	if err != nil {
		return all, err
	}
	known, err := s.known(ctx, ids)
	if err != nil {
		return all, err
	}
	for _, id := range ids {
		if known[id] {
			continue
		}
		size, err := store.Size(ctx, id)
		if fault.Is(err, fault.NotFound) {
			continue // an upload that began, whosever it is
		}
		if err != nil {
			return all, err
		}
		all = append(all, s.orphan(name, imagestore.Orphan{ID: id, Bytes: size}))
	}
	return all, nil
}

func (s *Service) orphan(store string, o imagestore.Orphan) Orphan {
	orphan := Orphan{Orphan: o, Store: store}
	if s.config.Quarantine > 0 && !o.Since.IsZero() {
		orphan.Until = o.Since.Add(s.config.Quarantine)
	}
	return orphan
}

// known says of which names in a store there is a row, or was one.
func (s *Service) known(ctx context.Context, names []string) (map[string]bool, error) {
	const page = 5000
	known := map[string]bool{}
	for some := range slices.Chunk(names, page) {
		ids := make([]string, len(some))
		for i, name := range some {
			ids[i], _ = isStaged(name)
		}
		rows, err := s.rows.KnownImages(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i, name := range some {
			known[name] = rows[ids[i]]
		}
	}
	return known, nil
}

// setAside sets aside what no row knows, unless it is too much: then it answers that it was stopped.
func (s *Service) setAside(ctx context.Context, name string, store imagestore.Store, unknown []string, done *Settled) (stopped bool, err error) {
	var published []string
	for _, id := range unknown {
		_, err := store.Size(ctx, id)
		switch {
		case err == nil:
			published = append(published, id)
		case !fault.Is(err, fault.NotFound): // an upload that began, whosever it is
			return false, err
		}
		if len(published) > Few {
			break
		}
	}
	if stopped = len(published) > Few; s.stops(name, stopped) {
		s.log.Warn("an image store holds many images that the database does not know: nothing of it is removed. Is this the right database, and the right store? See slipway image orphans list",
			"store", name, "more_than", Few)
	}
	if stopped {
		return true, nil
	}
	var problems []error
	for _, id := range published {
		err := s.underLock(ctx, store, id, func(hold imagestore.Hold) error {
			known, err := s.known(ctx, []string{id})
			if err != nil || known[id] {
				return errors.Join(err, hold.Close())
			}
			s.log.Warn("bytes of an image that is not known are set aside: see slipway image orphans list", "image_id", id, "store", name, "kept_for", s.config.Quarantine.String())
			done.SetAside++
			return errors.Join(hold.SetAside(ctx, true), hold.Close())
		})
		problems = append(problems, err)
	}
	return false, errors.Join(problems...)
}

// stops notes whether a store's sweep is stopped, and says whether that is new.
func (s *Service) stops(name string, stopped bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := stopped && !s.stopped[name]
	s.stopped[name] = stopped
	return news
}

// underLock does something with the lock of an image in a store, unless somebody has it.
func (s *Service) underLock(ctx context.Context, store imagestore.Store, id string, do func(imagestore.Hold) error) error {
	hold, err := store.Hold(ctx, id)
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	if err != nil {
		return err
	}
	return do(hold)
}

// fate is what becomes of bytes that are set aside.
type fate int

const (
	staysAside fate = iota
	returns         // a row knows them
	ends
)

func (s *Service) fateOf(ctx context.Context, name string, o imagestore.Orphan) (fate, error) {
	imageID, staged := isStaged(o.ID)
	image, err := s.rows.Image(ctx, imageID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return staysAside, err
	}
	switch {
	case staged && image.StagedStore != nil && *image.StagedStore == name,
		!staged && hasBytes(image.Status) && (image.LiesIn(name) || len(image.Locations) == 0):
		return returns, nil
	case image.Status == models.ImageImporting: // they may be adopted just now
		return staysAside, nil
	case s.config.Quarantine > 0 && time.Since(o.Since) > s.config.Quarantine:
		return ends, nil
	}
	return staysAside, nil
}

// tendAside gives back what a row knows by now, and deletes what was kept for long enough, unless that is stopped.
func (s *Service) tendAside(ctx context.Context, name string, store imagestore.Store, stopped bool, done *Settled) error {
	aside, err := store.Orphans(ctx)
	problems := []error{err}
	for _, o := range aside {
		fate, err := s.fateOf(ctx, name, o)
		if err != nil || fate == staysAside || fate == ends && stopped {
			problems = append(problems, err)
			continue
		}
		problems = append(problems, s.underLock(ctx, store, o.ID, func(hold imagestore.Hold) error {
			now, err := s.fateOf(ctx, name, o)
			switch {
			case err != nil || now != fate:
				return errors.Join(err, hold.Close())
			case now == returns:
				s.log.Warn("bytes that were set aside are an image's again", "image_id", o.ID, "store", name)
				done.Returned++
				return errors.Join(hold.SetAside(ctx, false), hold.Close())
			}
			s.log.Warn("bytes of an image that is not known are deleted: nobody adopted them", "image_id", o.ID, "store", name, "bytes", o.Bytes, "set_aside_at", o.Since)
			done.Removed++
			return hold.Abort()
		}))
	}
	return errors.Join(problems...)
}

// find is the orphan that somebody names: by its id, and by its store where more than one has it.
func (s *Service) find(ctx context.Context, id, store string) (Orphan, imagestore.Store, error) {
	all, err := s.Orphans(ctx)
	all = slices.DeleteFunc(all, func(o Orphan) bool { return o.ID != id || store != "" && o.Store != store })
	switch {
	case len(all) == 0 && err != nil:
		return Orphan{}, nil, err
	case len(all) == 0:
		return Orphan{}, nil, fault.New(fault.NotFound, "There are no bytes of an unknown image '%s'. `slipway image orphans list` shows those that there are.", id)
	case len(all) > 1:
		names := make([]string, len(all))
		for i, o := range all {
			names[i] = o.Store
		}
		return Orphan{}, nil, fault.New(fault.Conflict, "More than one store has bytes of an unknown image '%s': name one of %s.", id, strings.Join(names, ", "))
	}
	in, err := s.stores.Store(all[0].Store)
	return all[0], in, err
}

// SetAside sets aside bytes that somebody names, however many there are.
func (s *Service) SetAside(ctx context.Context, id, store string) (Orphan, error) {
	o, in, err := s.find(ctx, id, store)
	if err != nil || !o.Since.IsZero() {
		return o, err
	}
	if err := s.mark(ctx, in, id); err != nil {
		return o, err
	}
	o, _, err = s.find(ctx, id, o.Store)
	return o, err
}

func (s *Service) mark(ctx context.Context, store imagestore.Store, id string) error {
	hold, err := store.Hold(ctx, id)
	if err != nil {
		return err
	}
	known, err := s.known(ctx, []string{id})
	if err == nil && known[id] {
		err = fault.New(fault.Conflict, "Image %s is known by now.", id)
	}
	if err == nil {
		err = hold.SetAside(ctx, true)
	}
	return errors.Join(err, hold.Close())
}

// DeleteOrphan deletes bytes that somebody names.
func (s *Service) DeleteOrphan(ctx context.Context, id, store string) error {
	o, in, err := s.find(ctx, id, store)
	if err != nil {
		return err
	}
	if o.Since.IsZero() {
		if err := s.mark(ctx, in, id); err != nil {
			return err
		}
	}
	hold, err := in.Hold(ctx, id)
	if err != nil {
		return err
	}
	switch fate, err := s.fateOf(ctx, o.Store, o.Orphan); {
	case err != nil:
		return errors.Join(err, hold.Close())
	case fate == returns:
		return errors.Join(fault.New(fault.Conflict, "Image %s is known by now.", id), hold.Close())
	}
	s.log.Warn("bytes of an image that is not known are deleted: somebody named them", "image_id", id, "store", o.Store, "bytes", o.Bytes)
	return hold.Abort()
}

// Adopt makes an image, queued, for bytes that somebody names: its import (contract.ImportOrphan) reads and judges them where
// they are. draft needs no id and no format. Where an earlier try left the image, that one is taken.
func (s *Service) Adopt(ctx context.Context, caller Caller, id, store string, draft models.Image) (models.Image, Orphan, error) {
	o, in, err := s.find(ctx, id, store)
	if err != nil {
		return draft, o, err
	}
	draft.ID, _ = isStaged(id)
	if uuid.Validate(draft.ID) != nil {
		draft.ID = ids.Adopted(id)
	}
	if draft.DiskFormat == nil {
		format, err := s.Recognise(ctx, o)
		if err != nil {
			return draft, o, err
		}
		draft.DiskFormat = &format
	}
	if draft.ContainerFormat == nil {
		bare := "bare"
		draft.ContainerFormat = &bare
	}
	// Before there is a row: to it, bytes that are not set aside would be what a dead upload left.
	if o.Since.IsZero() {
		if err := s.mark(ctx, in, id); err != nil {
			return draft, o, err
		}
	}
	image, err := s.rows.Image(ctx, draft.ID)
	switch {
	case fault.Is(err, fault.NotFound):
		if image, err = s.For(caller).Add(ctx, draft); fault.Is(err, fault.NotFound) {
			err = fault.Wrap(fault.Invalid, err, "There is no project '%s' to own the image.", draft.OwnerID)
		}
	case err == nil && image.Status != models.ImageQueued:
		err = fault.New(fault.Conflict, "Image %s is %s by now.", image.ID, image.Status)
	}
	return image, o, err
}

// Recognise is the disk format of an orphan, by its first bytes.
func (s *Service) Recognise(ctx context.Context, o Orphan) (string, error) {
	store, err := s.stores.Store(o.Store)
	if err != nil {
		return "", err
	}
	body, err := store.Open(ctx, o.ID, 0, imageformat.HeadBytes)
	if err != nil {
		return "", err
	}
	defer body.Close()
	head, err := io.ReadAll(body)
	if err != nil {
		return "", fmt.Errorf("read the head of %s: %w", o.ID, err)
	}
	format, trouble := imageformat.Recognise(head, nil)
	if trouble != "" || format == "aki" || format == "ari" {
		format = string(imageformat.Raw) // of a disk it is a proposal: the inspection says what it thinks of it
	}
	return format, nil
}

// OpenOrphan reads the bytes of an orphan.
func (s *Service) OpenOrphan(ctx context.Context, id, name string) (io.ReadCloser, int64, error) {
	store, err := s.stores.Store(name)
	if err != nil {
		return nil, 0, err
	}
	size, err := store.Size(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	body, err := store.Open(ctx, id, 0, -1)
	return body, size, err
}

// inPlace is the upload of bytes that are in the store already, under the image's own id and set aside: they are only read, and
// stay whatever becomes of it.
type inPlace struct{ imagestore.Hold }

func (inPlace) Write(p []byte) (int, error) { return len(p), nil }

func (inPlace) Commit(string) error { return nil }

func (i inPlace) Abort() error { return i.Close() }

// lockUpload takes the lock of an upload.
func lockUpload(ctx context.Context, store imagestore.Store, id string, there bool) (imagestore.Upload, error) {
	if !there {
		return store.Create(ctx, id)
	}
	hold, err := store.Hold(ctx, id)
	if err != nil {
		return nil, err
	}
	return inPlace{hold}, nil
}
