package models

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Properties that tell users of an image how its import goes (Glance's, which users cannot write).
const (
	ImportTaskProperty   = "os_glance_import_task"         // the task that has the image; absent while none has
	ImportingProperty    = "os_glance_importing_to_stores" // with commas between them: where it does not lie yet
	ImportFailedProperty = "os_glance_failed_import"       // where the last import did not bring it
)

// Statuses of an ImageTask.
const (
	TaskProcessing = "processing"
	TaskSuccess    = "success"
	TaskFailure    = "failure"
)

// ImageTask shows an import to users.
type ImageTask struct {
	ID        string `gorm:"primaryKey"`
	ImageID   string
	Type      string // api_image_import
	Status    string
	OwnerID   string // project of who asked
	UserID    string
	RequestID string
	Input     json.RawMessage `gorm:"type:jsonb"`
	Message   string
	CreatedAt time.Time
	UpdatedAt time.Time
	ExpiresAt *time.Time // of one that has ended: when it is forgotten
}

// ImportBegin is the beginning of an import.
type ImportBegin struct {
	Task   ImageTask
	Method string // contract.ImportStaged and so on
	Stores []string
	Skip   bool // stores that have the image already are left out; else they are a Conflict
	// AnswerBy is the instant, by this database's clock, after which it is not begun any more; zero is none.
	AnswerBy time.Time
}

// BeginImport takes an image for an import: its bytes are on their way from here, and its task is shown. An image that is
// copied stays as it is. The answer is the image and the stores that are to get it; again with the same task is the same
// answer. Conflict, in Glance's words, when the image's state does not allow it.
func (s *Store) BeginImport(ctx context.Context, b ImportBegin) (Image, []string, error) {
	var i Image
	var stores []string
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if i, err = lockedImage(tx, b.Task.ImageID); err != nil {
			return err
		}
		stores = slices.Clone(b.Stores)
		if b.Method == contract.ImportCopy {
			stores = slices.DeleteFunc(stores, func(name string) bool { return i.LiesIn(name) })
		}
		if i.Properties[ImportTaskProperty] == b.Task.ID {
			return nil
		}
		var late bool
		if err := tx.Raw("SELECT "+isLate("?"), optionalTime(b.AnswerBy)).Scan(&late).Error; err != nil {
			return err
		}
		if late {
			return tooLate()
		}
		if err := checkImportable(i, b, stores); err != nil {
			return err
		}
		m := ImageMove{Set: map[string]string{
			ImportTaskProperty: b.Task.ID, ImportingProperty: strings.Join(stores, ","), ImportFailedProperty: "",
		}}
		if b.Method != contract.ImportCopy {
			m.To = ImageImporting
		}
		if err := move(tx, &i, m); err != nil {
			return err
		}
		task := b.Task
		task.Type, task.Status, task.CreatedAt = "api_image_import", TaskProcessing, i.UpdatedAt
		task.UpdatedAt = task.CreatedAt
		return tx.Create(&task).Error
	})
	if violates(err, "image_tasks_pkey") {
		err = fault.New(fault.Conflict, "The import of image %s has ended.", i.ID)
	}
	return i, stores, failed(err, "begin the import of image %s", b.Task.ImageID)
}

// ImportBegan says whether an import was accepted: its task is there, and is not what EndImport leaves of one that never
// began.
func (s *Store) ImportBegan(ctx context.Context, taskID string) (began bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM image_tasks WHERE id = $1 AND (status <> 'failure' OR updated_at <> created_at))`,
		taskID).Scan(&began)
	return began, failed(err, "look for task %s", taskID)
}

// checkImportable holds what Glance asks of an image (import_image in glance/api/v2/images.py).
func checkImportable(i Image, b ImportBegin, missing []string) error {
	conflict := func(format string, args ...any) error { return fault.New(fault.Conflict, format, args...) }
	switch b.Method {
	case contract.ImportCopy:
		if i.Status != ImageActive {
			return conflict("Only images with status active can be targeted for copying")
		}
		if len(i.Locations) == 0 { // stored before places were recorded: what is there must not be taken for a copy
			return conflict("Where image %s lies is not recorded yet. Please try again in a minute.", i.ID)
		}
		for _, name := range b.Stores {
			if !b.Skip && !slices.Contains(missing, name) {
				return conflict("Image is already present at store '%s'", name)
			}
		}
	case contract.ImportStaged:
		switch {
		case i.Status == ImageActive:
			return conflict("Image with status active cannot be target for import")
		case i.Status != ImageUploading:
			return conflict("Image needs to be staged before 'glance-direct' method can be used")
		case i.StagedStore == nil:
			return conflict("Image needs to be staged before 'glance-direct' method can be used: its bytes are still coming")
		}
	default:
		switch {
		case i.Status == ImageActive:
			return conflict("Image with status active cannot be target for import")
		case i.Status != ImageQueued:
			return conflict("Image needs to be in 'queued' state to use '%s' method", b.Method)
		}
	}
	switch {
	case i.ContainerFormat == nil:
		return conflict("'container_format' needs to be set before import")
	case i.DiskFormat == nil:
		return conflict("'disk_format' needs to be set before import")
	case i.Properties[ImportTaskProperty] != "":
		return conflict("Image %s is being imported already.", i.ID)
	}
	return nil
}

// storesWithout is a list of stores without those that have the image now.
func storesWithout(list string, stored []ImageLocation) string {
	names := slices.DeleteFunc(strings.Split(list, ","), func(name string) bool {
		return slices.ContainsFunc(stored, func(l ImageLocation) bool { return l.Store == name })
	})
	return strings.Join(names, ",")
}

// ImportEnd is the end of an import.
type ImportEnd struct {
	Task    ImageTask
	Failed  []string // stores that the import did not bring it to
	Message string
	Expires time.Time // of the task
	// Success makes an image that is importing active; otherwise it returns to queued. One that is active stays so, and its
	// import has succeeded, unless it only was to be copied: then it leaves the stores that Drop names.
	Success  bool
	Copied   bool
	Drop     []string
	Announce Announce // of an image that becomes active
}

// EndImport gives the image free and tells its task how it went. exists is false when the image was deleted meanwhile. Again
// is success, and changes nothing; so is the end of an import that never began, which leaves a task behind that cannot begin
// any more.
func (s *Store) EndImport(ctx context.Context, e ImportEnd) (i Image, exists bool, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		i, err = lockedImage(tx, e.Task.ImageID)
		exists = !fault.Is(err, fault.NotFound)
		if exists && err != nil {
			return err
		}
		var task ImageTask
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", e.Task.ID).Take(&task).Error
		never := isAbsent(err)
		if err != nil && !never || err == nil && task.Status != TaskProcessing {
			return err
		}
		at := now()
		status, message := TaskFailure, e.Message
		switch {
		case !exists:
			message = "Image " + e.Task.ImageID + " was deleted during its import."
		case never:
		default:
			if status, err = endOn(tx, &i, e); err != nil {
				return err
			}
			if status == TaskSuccess && !e.Success {
				message = "The image is " + string(i.Status) + ", although the import ended early. " + e.Message
			}
		}
		if !never {
			return tx.Model(&task).Select("Status", "Message", "UpdatedAt", "ExpiresAt").
				Updates(ImageTask{Status: status, Message: message, UpdatedAt: at, ExpiresAt: &e.Expires}).Error
		}
		task = e.Task
		task.Type, task.Status, task.Message, task.CreatedAt, task.UpdatedAt, task.ExpiresAt = "api_image_import", status, message, at, at, &e.Expires
		err = tx.Create(&task).Error
		if violates(err, "image_tasks_image_id_fkey") {
			return errNever
		}
		return err
	})
	if err == errNever { //nolint:errorlint // never wrapped
		return i, false, nil // there never was such an image
	}
	return i, exists, failed(err, "end the import of image %s", e.Task.ImageID)
}

var errNever = fault.New(fault.NotFound, "There is no such image.")

// endOn does to the image what the end of its import means, and says how the task has ended.
func endOn(tx *gorm.DB, i *Image, e ImportEnd) (status string, err error) {
	m := ImageMove{Task: e.Task.ID, Unset: []string{ImportTaskProperty}, Set: map[string]string{ImportingProperty: ""}}
	status = TaskSuccess
	switch {
	case i.Status == ImageImporting && e.Success:
		m.To, m.Announce = ImageActive, e.Announce
	case i.Status == ImageImporting:
		m.To, status = ImageQueued, TaskFailure
	case !e.Success && e.Copied:
		status = TaskFailure
		for _, name := range e.Drop {
			if len(i.Locations) == 1 || !i.LiesIn(name) {
				continue // the last one stays, whoever brought it
			}
			if err := tx.Delete(&ImageLocation{ImageID: i.ID, Store: name}).Error; err != nil {
				return "", err
			}
			i.Locations = slices.DeleteFunc(i.Locations, func(l ImageLocation) bool { return l.Store == name })
		}
	}
	failed := slices.Clone(e.Failed)
	if m.To != ImageQueued {
		failed = slices.DeleteFunc(failed, func(name string) bool { return i.LiesIn(name) }) // its step had brought it there and could not say so
	}
	m.Set[ImportFailedProperty] = strings.Join(failed, ",")
	return status, move(tx, i, m)
}

// ImportProgress says in an import's task how far it is. wanted is false when the import has no image any more.
func (s *Store) ImportProgress(ctx context.Context, task contract.ImportTask, message string) (wanted bool, err error) {
	err = s.pool.QueryRow(ctx, `
WITH said AS (UPDATE image_tasks SET message = $3, updated_at = $4 WHERE id = $2 AND status = 'processing')
SELECT EXISTS (SELECT FROM images WHERE id = $1 AND deleted_at IS NULL AND properties->>'`+ImportTaskProperty+`' = $2)`,
		task.ImageID, task.ID, message, now()).Scan(&wanted)
	return wanted, failed(err, "tell how far the import of image %s is", task.ImageID)
}

// ImageTasks lists the tasks of an image, oldest first.
func (s *Store) ImageTasks(ctx context.Context, imageID string) ([]ImageTask, error) {
	all := []ImageTask{}
	err := s.db.WithContext(ctx).Where("image_id = ?", imageID).Order("created_at, id").Find(&all).Error
	return all, failed(err, "list the tasks of image %s", imageID)
}

// ImageTask by id; NotFound where it is forgotten.
func (s *Store) ImageTask(ctx context.Context, id string) (ImageTask, error) {
	var task ImageTask
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&task).Error
	if isAbsent(err) {
		return task, fault.New(fault.NotFound, "No task found with ID %s", id)
	}
	return task, failed(err, "read task %s", id)
}

// TaskFilter selects tasks. Sort keys are Glance's: created_at (default, newest first), updated_at, expires_at, status,
// type, id.
type TaskFilter struct {
	Status, Type string
	Sort         []Sort
	Marker       string
	Limit        int // 0 is all
}

var taskOrder = order{
	id: "id", preset: Sort{Key: "created_at", Desc: true},
	keys: map[string]string{
		"created_at": "created_at", "updated_at": "updated_at", "expires_at": "COALESCE(expires_at, 'infinity')", "status": "status",
		"type": "type", "id": "id",
	},
}

// ListImageTasks lists what the filter selects, of all images.
func (s *Store) ListImageTasks(ctx context.Context, f TaskFilter) ([]ImageTask, error) {
	all := []ImageTask{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		q := tx.Model(&ImageTask{})
		if f.Status != "" {
			q = q.Where("status = ?", f.Status)
		}
		if f.Type != "" {
			q = q.Where("type = ?", f.Type)
		}
		q, err := taskOrder.page(q, tx.Model(&ImageTask{}), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the tasks")
}

// PurgeImageTasks forgets the tasks that have expired, and says how many these were.
func (s *Store) PurgeImageTasks(ctx context.Context) (int64, error) {
	done := s.db.WithContext(ctx).Where("expires_at < ?", now()).Delete(&ImageTask{})
	return done.RowsAffected, failed(done.Error, "forget the tasks that have expired")
}
