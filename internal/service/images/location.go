package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// location is the innermost layer: rows in the database, bytes in the stores, and where the ones belong to the others
// (Glance's location.ImageRepoProxy and StoreImageProxy). What is announced of a change is written with it.
type location struct {
	*Service
	notifier
}

func (l *location) Add(ctx context.Context, draft models.Image) (models.Image, error) {
	return l.rows.CreateImage(ctx, draft, l.announce("image.create"))
}

func (l *location) Get(ctx context.Context, id string) (models.Image, error) {
	return l.rows.Image(ctx, id)
}

func (l *location) List(ctx context.Context, f models.ImageFilter) ([]models.Image, error) {
	return l.rows.ListImages(ctx, f)
}

func (l *location) Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error) {
	change.IfUpdatedAt = &was.UpdatedAt
	change.Announce = l.announce("image.update")
	change.Frozen = imagesignature.Properties() // what was verified stays what is shown
	return l.rows.UpdateImage(ctx, was.ID, change)
}

func (l *location) Switch(ctx context.Context, was models.Image, to models.ImageStatus) (models.Image, error) {
	if was.Status == to {
		return was, nil // Glance: deactivating twice is no error
	}
	from, verb := models.ImageActive, "deactivate"
	if to == models.ImageActive {
		from, verb = models.ImageDeactivated, "reactivate"
	}
	announced := l.announce("image." + verb)
	image, err := l.rows.MoveImage(ctx, was.ID, models.ImageMove{From: from, To: to, Announce: announced})
	if fault.Is(err, fault.Conflict) {
		return was, fault.Wrap(fault.Forbidden, err, "Not allowed to %s image in status '%s'", verb, was.Status)
	}
	return image, err
}

// Remove takes the row away first: bytes without a row are settled later, a row without bytes would be a broken image.
func (l *location) Remove(ctx context.Context, was models.Image) error {
	gone, err := l.rows.DeleteImage(ctx, was.ID, l.announce("image.delete"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	if err := l.removeBytes(ctx, gone); err != nil {
		l.log.Error("the bytes of a deleted image stay until they are settled", "image_id", was.ID, "error", err)
	}
	return nil
}

// removeBytes ends a delete: staged bytes, stored ones, and then the row's last state.
func (s *Service) removeBytes(ctx context.Context, gone models.Image) error {
	if err := s.dropStaged(ctx, gone); err != nil {
		return err
	}
	if gone.Status != models.ImagePendingDelete {
		return nil
	}
	if err := s.stores.Delete(ctx, gone.ID); err != nil {
		return err
	}
	return s.rows.ForgetImage(ctx, gone.ID)
}

// Upload implements Repository: see there.
func (l *location) Upload(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if was.DiskFormat == nil || was.ContainerFormat == nil {
		return was, fault.New(fault.Invalid, "Properties disk_format, container_format must be set prior to saving data.")
	}
	if data.From == "" {
		data.From = models.ImageSaving
	}
	if data.From == models.ImageSaving && was.Status != models.ImageQueued || data.From != models.ImageSaving && was.Status != data.From {
		return was, wrongStatus(was, data.From)
	}
	name, store, err := l.target(data.Store)
	if err != nil {
		return was, err
	}
	// What has begun is ended properly even if the client is gone.
	last := context.WithoutCancel(ctx)
	// The lock comes before the state: so an image in saving whose lock is free belongs to a dead process (see Settle).
	up, err := lockUpload(last, store, was.ID, data.InPlace)
	if err != nil {
		if data.Task != "" {
			err = underWay(err)
		}
		return was, err
	}
	defer up.Close()
	row, err := l.begin(last, was.ID, data)
	if err != nil || data.Task != "" && row.LiesIn(name) { // another try of the same import was faster
		return row, err
	}
	image, err := l.store(last, row, name, store, up, data)
	if err != nil {
		return was, l.giveUp(last, up, was.ID, name, data.From, err)
	}
	if data.InPlace {
		if err := up.SetAside(last, false); err != nil {
			l.log.Error("an image stays set aside until it is settled", "image_id", was.ID, "store", name, "error", err)
		}
	}
	return image, nil
}

// begin moves an image to saving, and answers it whole: the caller may not see every property that counts.
func (l *location) begin(ctx context.Context, id string, data Data) (models.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	if data.Task != "" {
		return l.imported(ctx, id, data.Task)
	}
	row, err := l.rows.MoveImage(ctx, id, models.ImageMove{From: models.ImageQueued, To: data.From})
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return row, fault.Wrap(fault.Conflict, err, "Image status transition to %s is not allowed: another upload of image %s came first.", data.From, id)
	}
	return row, err
}

// store takes the bytes into a store whose lock is held and makes the image active.
func (l *location) store(ctx context.Context, was models.Image, name string, store imagestore.Store, up imagestore.Upload, data Data) (models.Image, error) {
	// A signature that cannot be checked is refused before any byte is taken.
	signature, err := imagesignature.New(ctx, was.Properties, l.config.Certificates)
	if err != nil {
		return was, err
	}
	stored, err := l.take(ctx, up, *was.DiskFormat, signature, data)
	if err != nil {
		return was, err
	}
	if err := up.Commit(stored.SHA512); err != nil {
		return was, fmt.Errorf("publish image %s: %w", was.ID, err)
	}
	to, announced := models.ImageActive, l.announce("image.upload", "image.activate")
	if data.Stays {
		to, announced = "", l.announce("image.upload") // EndImport announces the other
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	image, err := l.rows.MoveImage(ctx, was.ID, models.ImageMove{
		From: data.From, To: to, Task: data.Task, Bytes: &stored, Limit: data.Limits.Project, Announce: announced,
		Stored: []models.ImageLocation{{Store: name, URL: store.Location(was.ID)}},
	})
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return was, &Gone{was.ID, err}
	}
	return image, err
}

// Gone is an image that was deleted while its bytes came (Glance answers 410).
type Gone struct {
	ImageID string
	cause   error
}

func (g *Gone) Error() string {
	return fmt.Sprintf("Image %s could not be found after upload. The image may have been deleted during the upload.", g.ImageID)
}

func (g *Gone) Unwrap() error { return g.cause }

func wrongStatus(i models.Image, to models.ImageStatus) error {
	return fault.New(fault.Conflict, "Image status transition from %s to %s is not allowed: image %s takes data only once, while it is queued.", i.Status, to, i.ID)
}

func (s *Service) target(name string) (string, imagestore.Store, error) {
	if name == "" {
		name = s.stores.Default()
	}
	store, err := s.stores.Store(name)
	return name, store, err
}

// endPatience is how long the database may take to hear how an upload ended; what it did not hear is settled later.
const endPatience = 30 * time.Second

// giveUp takes back what was stored and gives back why; an image in saving returns to queued, and what becomes of one that is
// imported is the import's to say. The lock goes last, and the client hears of it when all is done: nobody can begin again
// before. Where the database does not answer, or had taken the bytes although it said otherwise, they stay, and Settle
// decides by the row.
func (l *location) giveUp(ctx context.Context, up imagestore.Upload, id, name string, from models.ImageStatus, why error) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	var err error
	if from == models.ImageSaving {
		_, err = l.rows.MoveImage(ctx, id, models.ImageMove{From: from, To: models.ImageQueued})
	}
	if err == nil || fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		var row models.Image
		row, err = l.rows.Image(ctx, id)
		gone := fault.Is(err, fault.NotFound)
		if gone || err == nil && !row.LiesIn(name) {
			if err := up.Abort(); err != nil {
				l.log.Error("the bytes of a refused image stay until they are settled", "image_id", id, "error", err)
			}
			return why
		}
	}
	if err != nil {
		l.log.Error("what became of an upload is not known until it is settled", "image_id", id, "error", err)
	}
	return errors.Join(why, up.Close())
}

// hasBytes says whether an image in the state has bytes that must not be taken away.
func hasBytes(s models.ImageStatus) bool {
	return s == models.ImageActive || s == models.ImageDeactivated
}

// take stores, sums and judges the bytes in one pass.
func (l *location) take(ctx context.Context, up imagestore.Upload, declared string, signature *imagesignature.Verifier, data Data) (models.ImageBytes, error) {
	var none models.ImageBytes
	look := imageformat.New(imageformat.Rules{Declared: declared, MaxVirtualBytes: l.config.Virtual, Upload: true})
	to := []io.Writer{up, judge{look}}
	if signature != nil {
		to = append(to, signature)
	}
	stored, err := copySummed(io.MultiWriter(to...), data)
	if err != nil {
		return none, err
	}
	info, err := look.Finish()
	if err != nil {
		return none, err
	}
	if signature != nil {
		if err := signature.Verify(); err != nil {
			return none, err
		}
	}
	stored.Virtual = info.VirtualBytes
	if local, ok := up.(imagestore.Local); ok {
		if err := checkWithQEMU(ctx, "qemu-img", local.Path(), info); err != nil {
			return none, err
		}
	}
	return stored, nil
}

// judge ends the copying as soon as it is certain that the image is refused.
type judge struct{ *imageformat.Inspector }

func (j judge) Write(p []byte) (int, error) {
	n, _ := j.Inspector.Write(p)
	return n, j.Refused()
}

// Open implements Repository.
func (l *location) Open(ctx context.Context, was models.Image, offset, length int64) (io.ReadCloser, error) {
	body, err := l.Service.Open(ctx, was, offset, length)
	if fault.Is(err, fault.NotFound) {
		// An image that has bytes and whose bytes are not there is broken, not unknown.
		return nil, fault.Wrap(fault.Internal, err, "The image has no data.")
	}
	return body, err
}

// Open reads an image's bytes, whoever asks, from the first store that has them, the default one before the others; NotFound
// where none has.
func (s *Service) Open(ctx context.Context, image models.Image, offset, length int64) (io.ReadCloser, error) {
	var problems []error
	for _, name := range s.stores.Names() {
		if !image.LiesIn(name) {
			continue
		}
		store, err := s.stores.Store(name)
		if err != nil {
			return nil, err
		}
		body, err := store.Open(ctx, image.ID, offset, length)
		if err == nil {
			return body, nil
		}
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	// Stored before places were recorded, or in a store that has another name now.
	return s.stores.Open(ctx, image.ID, offset, length)
}

// Drop implements Repository. The row goes first, as in Remove.
func (l *location) Drop(ctx context.Context, was models.Image, name string) error {
	store, err := l.stores.Store(name)
	if err != nil {
		return fault.Wrap(fault.Conflict, err, "%s", fault.Public(err))
	}
	// Under the lock: a copy that comes to the store again would lose its bytes.
	lock, err := store.Hold(ctx, was.ID)
	if err != nil {
		return err
	}
	if _, err := l.rows.RemoveImageLocation(ctx, was.ID, name, l.announce("image.update")); err != nil {
		return errors.Join(err, lock.Close())
	}
	if err := lock.Abort(); err != nil {
		l.log.Error("the bytes of an image stay in a store that it left until they are settled", "image_id", was.ID, "store", name, "error", err)
	}
	return nil
}

func (l *location) Members(ctx context.Context, of models.Image, project string) ([]models.ImageMember, error) {
	return l.rows.ImageMembers(ctx, of.ID, project)
}

func (l *location) Share(ctx context.Context, of models.Image, project string) (models.ImageMember, error) {
	return l.rows.AddImageMember(ctx, of.ID, project, maxMembers, l.announceMember("image.member.create"))
}

func (l *location) Answer(ctx context.Context, of models.Image, project, status string) (models.ImageMember, error) {
	return l.rows.SetImageMember(ctx, of.ID, project, status, l.announceMember("image.member.update"))
}

func (l *location) Unshare(ctx context.Context, of models.Image, project string) error {
	return l.rows.RemoveImageMember(ctx, of.ID, project, l.announceMember("image.member.delete"))
}

// NoMember is what is answered about a project that an image is not shared with.
func NoMember(imageID, project string) error {
	return fault.New(fault.NotFound, "%s not found in the member list of the image %s.", project, imageID)
}
