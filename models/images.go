package models

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ImageStatus is where an image stands; see imageTransitions.
type ImageStatus string

// Image states, Glance's. Bytes are to be had in active and deactivated; pending_delete is deleted for everybody, but bytes
// are still to be removed.
const (
	ImageQueued        ImageStatus = "queued"
	ImageSaving        ImageStatus = "saving"
	ImageUploading     ImageStatus = "uploading" // to where imports take it from (stage)
	ImageImporting     ImageStatus = "importing"
	ImageActive        ImageStatus = "active"
	ImageDeactivated   ImageStatus = "deactivated"
	ImageKilled        ImageStatus = "killed" // declared as in Glance, which leaves it to version 1 of its API
	ImagePendingDelete ImageStatus = "pending_delete"
	ImageDeleted       ImageStatus = "deleted"
)

// Image is one image of the store (Glance's image).
type Image struct {
	ID              string `gorm:"primaryKey"`
	Name            *string
	OwnerID         string // project
	Status          ImageStatus
	Visibility      string // public, private, shared, community
	Hidden          bool   // Glance's os_hidden: not listed unless asked for
	Protected       bool
	DiskFormat      *string
	ContainerFormat *string
	MinDiskGiB      int               `gorm:"column:min_disk_gib"`
	MinRAMMiB       int               `gorm:"column:min_ram_mib"`
	SizeBytes       *int64            // of the stored bytes
	VirtualBytes    *int64            // of the disk inside
	MD5             *string           `gorm:"column:md5"` // Glance's "checksum"
	SHA512          *string           `gorm:"column:sha512"`
	SnapshotOf      *string           // the server that it is made of, whose host may bring the bytes
	StagedStore     *string           // which store has bytes that wait for their import
	StagedBytes     *int64            // how many
	Tags            []string          `gorm:"serializer:json"`
	Properties      map[string]string `gorm:"serializer:json"`
	CreatedAt       time.Time
	UpdatedAt       time.Time
	DeletedAt       *time.Time

	Locations []ImageLocation `gorm:"-"` // where the bytes lie
	AskerIs   string          `gorm:"-"` // the status of whoever asks as a member of the shared image; "" is none
}

// LiesIn says whether the store is one of the places of the image's bytes.
func (i Image) LiesIn(store string) bool {
	return slices.ContainsFunc(i.Locations, func(l ImageLocation) bool { return l.Store == store })
}

// ImageLocation is one of the places where an image's bytes lie.
type ImageLocation struct {
	ImageID   string `gorm:"primaryKey"`
	Store     string `gorm:"primaryKey"` // its name in the configuration
	URL       string
	CreatedAt time.Time
}

// Announce makes the notifications of a change from the image as it is after it: they are written with it, or neither is.
// nil announces nothing.
type Announce func(Image) []Notification

// ImageBytes describes stored bytes.
type ImageBytes struct {
	Size    int64
	Virtual int64 // of the disk inside
	MD5     string
	SHA512  string
}

// ImageMove is one step of an image between its states, with everything that becomes true by it.
type ImageMove struct {
	From     ImageStatus     // "" is every state from which To can be reached
	To       ImageStatus     // "" leaves the image in the state that it has
	Task     string          // the import that does it: Conflict when it is not the image's any more
	Bytes    *ImageBytes     // what was stored
	Stored   []ImageLocation // and where
	Limit    int64           // of the bytes of all images of the owner together, these included; 0 is none
	Set      map[string]string
	Unset    []string // Set and Unset change properties that are the system's own (Glance's os_glance_…)
	Announce Announce
}

// ImageUpdate is a change of an image's description; what is nil stays as it is.
type ImageUpdate struct {
	Name            *string
	ClearName       bool // the name becomes null
	OwnerID         *string
	Visibility      *string
	Hidden          *bool
	Protected       *bool
	MinDiskGiB      *int
	MinRAMMiB       *int
	DiskFormat      *string            // only before there are bytes
	ContainerFormat *string            // only before there are bytes
	Tags            *[]string          // the whole new list
	Properties      *map[string]string // the whole new set
	Frozen          []string           // properties that change only while the image is queued
	IfUpdatedAt     *time.Time         // Conflict when the row was changed since it was read
	Announce        Announce
}

// CreateImage adds an image, queued; Conflict when the id is taken, by a deleted image too.
func (s *Store) CreateImage(ctx context.Context, i Image, announced Announce) (Image, error) {
	if i.CreatedAt.IsZero() {
		i.CreatedAt = now()
	}
	i.Status, i.UpdatedAt, i.DeletedAt = ImageQueued, i.CreatedAt, nil
	fillNils(&i)
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Create(&i).Error; err != nil {
			return err
		}
		return announceImage(tx, announced, i)
	})
	switch {
	case violates(err, "images_pkey"):
		return Image{}, fault.New(fault.Conflict, "Image ID %s already exists!", i.ID)
	case violates(err, "images_owner_id_fkey"):
		return Image{}, noProject(i.OwnerID)
	}
	return i, failed(err, "create image %s", i.ID)
}

func fillNils(i *Image) {
	if i.Tags == nil {
		i.Tags = []string{}
	}
	if i.Properties == nil {
		i.Properties = map[string]string{}
	}
}

func announceImage(tx *gorm.DB, announced Announce, i Image) error {
	if announced == nil {
		return nil
	}
	for _, n := range announced(i) {
		if err := announce(tx, n); err != nil {
			return err
		}
	}
	return nil
}

// Image by id, whoever asks; NotFound when deleted.
func (s *Store) Image(ctx context.Context, id string) (Image, error) {
	var i Image
	db := s.db.WithContext(ctx)
	err := db.Where("id = ? AND deleted_at IS NULL", id).Take(&i).Error
	if isAbsent(err) {
		return i, noImage(id)
	}
	if err == nil {
		err = locate(db, []*Image{&i})
	}
	return i, failed(err, "read image %s", id)
}

// KnownImages says which of the ids images have or had.
func (s *Store) KnownImages(ctx context.Context, ids []string) (map[string]bool, error) {
	var found []string
	err := s.db.WithContext(ctx).Model(&Image{}).Where("id = ANY(?)", texts(ids)).Pluck("id", &found).Error
	known := make(map[string]bool, len(found))
	for _, id := range found {
		known[id] = true
	}
	return known, failed(err, "look images up")
}

func noImage(id string) error { return fault.New(fault.NotFound, "No image found with ID %s", id) }

// locate fills in where images' bytes lie.
func locate(db *gorm.DB, images []*Image) error {
	byID := map[string]*Image{}
	ids := texts{}
	for _, i := range images {
		i.Locations = []ImageLocation{}
		if i.SizeBytes != nil {
			byID[i.ID] = i
			ids = append(ids, i.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var all []ImageLocation
	if err := db.Where("image_id = ANY(?)", ids).Order("image_id, created_at, store").Find(&all).Error; err != nil {
		return err
	}
	for _, l := range all {
		byID[l.ImageID].Locations = append(byID[l.ImageID].Locations, l)
	}
	return nil
}

// locked reads an image that is not deleted and keeps others from changing it until the transaction ends.
func lockedImage(tx *gorm.DB, id string) (Image, error) {
	var i Image
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ? AND deleted_at IS NULL", id).Take(&i).Error
	if isAbsent(err) {
		return i, noImage(id)
	}
	if err == nil {
		err = locate(tx, []*Image{&i})
	}
	return i, err
}

// MoveImage moves an image between states; Conflict when it is not where the move begins or the table forbids the step,
// TooLarge when the owner's images become larger than the limit, NotFound when it is deleted.
func (s *Store) MoveImage(ctx context.Context, id string, m ImageMove) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if m.Limit > 0 {
			// Before the image: whoever stores for the project waits here for the other.
			if err := lockOwner(tx, id); err != nil {
				return err
			}
		}
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		return move(tx, &i, m)
	})
	return i, failed(err, "move image %s to %s", id, m.To)
}

// move does it to an image that is locked.
func move(tx *gorm.DB, i *Image, m ImageMove) error {
	// The text of Glance's InvalidImageStatusTransition, with the state that the image is really in.
	if m.From != "" && i.Status != m.From {
		return fault.New(fault.Conflict, "Image status transition from %s to %s is not allowed", i.Status, cmp.Or(m.To, m.From))
	}
	if m.Task != "" && i.Properties[ImportTaskProperty] != m.Task {
		return fault.New(fault.Conflict, "The import of image %s has ended.", i.ID)
	}
	if m.To != "" {
		if err := imageTransitions.check("Image", i.Status, m.To); err != nil {
			return err
		}
		i.Status = m.To
	}
	at := now()
	i.UpdatedAt = at
	if m.To == ImageQueued || m.To == ImageActive || m.To == ImageKilled {
		i.StagedStore, i.StagedBytes = nil, nil
	}
	if m.To == ImageQueued && i.SizeBytes != nil { // an import that gave up had brought it to some of its stores
		i.SizeBytes, i.VirtualBytes, i.MD5, i.SHA512, i.Locations = nil, nil, nil, nil, []ImageLocation{}
		if err := tx.Where("image_id = ?", i.ID).Delete(&ImageLocation{}).Error; err != nil {
			return err
		}
	}
	if b := m.Bytes; b != nil {
		i.SizeBytes, i.VirtualBytes, i.MD5, i.SHA512 = &b.Size, &b.Virtual, &b.MD5, &b.SHA512
	}
	i.Properties = changed(i.Properties, m.Set, m.Unset)
	if m.Task != "" && len(m.Stored) > 0 {
		i.Properties[ImportingProperty] = storesWithout(i.Properties[ImportingProperty], m.Stored)
	}
	if err := tx.Save(i).Error; err != nil {
		return err
	}
	if err := store(tx, i, m.Stored, at); err != nil {
		return err
	}
	if err := checkImageBytes(tx, i.OwnerID, m.Limit); err != nil {
		return err
	}
	return announceImage(tx, m.Announce, *i)
}

// changed is the properties with some set and some removed.
func changed(properties, set map[string]string, unset []string) map[string]string {
	out := map[string]string{}
	for k, v := range properties {
		if !slices.Contains(unset, k) {
			out[k] = v
		}
	}
	for k, v := range set {
		out[k] = v
	}
	return out
}

func store(tx *gorm.DB, i *Image, locations []ImageLocation, at time.Time) error {
	for _, l := range locations {
		l.ImageID, l.CreatedAt = i.ID, at
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&l).Error; err != nil {
			return err
		}
		if !i.LiesIn(l.Store) {
			i.Locations = append(i.Locations, l)
		}
	}
	return nil
}

// lockOwner makes whoever stores bytes for the image's project come one after the other.
func lockOwner(tx *gorm.DB, id string) error {
	return tx.Exec("SELECT FROM projects WHERE id = (SELECT owner_id FROM images WHERE id = ?) FOR NO KEY UPDATE", id).Error
}

const imageUsageSQL = `
SELECT COALESCE((SELECT sum(i.size_bytes * GREATEST(1, (SELECT count(*) FROM image_locations l WHERE l.image_id = i.id)))
                 FROM images i WHERE i.owner_id = $1 AND i.deleted_at IS NULL), 0)
     + COALESCE((SELECT sum(i.staged_bytes) FROM images i WHERE i.owner_id = $1 AND i.deleted_at IS NULL), 0)`

// ImageUsage is how many bytes the project's images take, each once for every store that has it, and with what waits for its
// import.
func (s *Store) ImageUsage(ctx context.Context, projectID string) (int64, error) {
	var used int64
	err := s.pool.QueryRow(ctx, imageUsageSQL, projectID).Scan(&used)
	return used, failed(err, "add up the images of project %s", projectID)
}

// checkImageBytes refuses more bytes than the limit, which is 0 where there is none.
func checkImageBytes(tx *gorm.DB, projectID string, limit int64) error {
	if limit <= 0 {
		return nil
	}
	var used int64
	if err := tx.Raw(imageUsageSQL, projectID).Scan(&used).Error; err != nil {
		return err
	}
	if used > limit {
		return OverImageLimit(used, limit)
	}
	return nil
}

// OverImageLimit is the refusal of bytes that would make a project's images larger than they may be together (Glance's
// StorageQuotaFull).
func OverImageLimit(needed, limit int64) error {
	return fault.New(fault.TooLarge, "The size of the data exceeds the quota: the project's images would take %d of %d bytes.", needed, limit)
}

// StageImage records bytes that wait for their import: of an image that is uploading and has none yet. Errors are
// MoveImage's.
func (s *Store) StageImage(ctx context.Context, id, inStore string, bytes, limit int64) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if err := lockOwner(tx, id); err != nil {
			return err
		}
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		if i.Status != ImageUploading || i.StagedStore != nil {
			return fault.New(fault.Conflict, "Image status transition from %s to %s is not allowed", i.Status, ImageUploading)
		}
		i.StagedStore, i.StagedBytes, i.UpdatedAt = &inStore, &bytes, now()
		if err := tx.Save(&i).Error; err != nil {
			return err
		}
		return checkImageBytes(tx, i.OwnerID, limit)
	})
	return i, failed(err, "record what is staged of image %s", id)
}

// AddImageLocation records one more store that has an active image's bytes. Errors are MoveImage's.
func (s *Store) AddImageLocation(ctx context.Context, id string, l ImageLocation, limit int64) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if err := lockOwner(tx, id); err != nil {
			return err
		}
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		if i.SizeBytes == nil {
			return fault.New(fault.Conflict, "Image %s has no data: it is %s.", id, i.Status)
		}
		i.UpdatedAt = now()
		if err := tx.Save(&i).Error; err != nil {
			return err
		}
		if err := store(tx, &i, []ImageLocation{l}, i.UpdatedAt); err != nil {
			return err
		}
		return checkImageBytes(tx, i.OwnerID, limit)
	})
	return i, failed(err, "record where image %s lies", id)
}

// RenameImageLocation says that the place of an image's bytes has another store's name now.
func (s *Store) RenameImageLocation(ctx context.Context, l ImageLocation, name string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if _, err := lockedImage(tx, l.ImageID); err != nil {
			return err
		}
		if err := tx.Where("url = ?", l.URL).Delete(&ImageLocation{ImageID: l.ImageID, Store: l.Store}).Error; err != nil {
			return err
		}
		l.Store = name
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&l).Error
	})
	return failed(err, "record where image %s lies", l.ImageID)
}

// RemoveImageLocation takes one of several places away; Forbidden for the last, NotFound for one that is not there.
func (s *Store) RemoveImageLocation(ctx context.Context, id, inStore string, announced Announce) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		at := slices.IndexFunc(i.Locations, func(l ImageLocation) bool { return l.Store == inStore })
		switch {
		case i.Status != ImageActive:
			return fault.New(fault.Conflict, "It's not allowed to remove image data from store if image status is not 'active'")
		case at < 0:
			return fault.New(fault.NotFound, "Image %s is not stored in store %s.", id, inStore)
		case len(i.Locations) == 1:
			return fault.New(fault.Forbidden, "Cannot delete image data from the only store containing it. Consider deleting the image instead.")
		}
		if err := tx.Delete(&i.Locations[at]).Error; err != nil {
			return err
		}
		i.Locations = slices.Delete(i.Locations, at, at+1)
		i.UpdatedAt = now()
		if err := tx.Save(&i).Error; err != nil {
			return err
		}
		return announceImage(tx, announced, i)
	})
	return i, failed(err, "forget that image %s lies in store %s", id, inStore)
}

// UpdateImage changes the description and returns the image as it is then.
func (s *Store) UpdateImage(ctx context.Context, id string, u ImageUpdate) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		if u.IfUpdatedAt != nil && !u.IfUpdatedAt.Equal(i.UpdatedAt) {
			return fault.New(fault.Conflict, "Image %s was changed by another request. Please try again.", id)
		}
		if i.Status != ImageQueued {
			for name, change := range map[string]struct{ old, new *string }{
				"disk_format": {i.DiskFormat, u.DiskFormat}, "container_format": {i.ContainerFormat, u.ContainerFormat},
			} {
				if change.new != nil && (change.old == nil || *change.old != *change.new) {
					return fault.New(fault.Forbidden, "Attribute %s can be only replaced for a queued image.", name)
				}
			}
		}
		for _, name := range u.Frozen {
			if i.Status != ImageQueued && u.Properties != nil && i.Properties[name] != (*u.Properties)[name] {
				return fault.New(fault.Forbidden, "Property %s can be only changed for a queued image.", name)
			}
		}
		if u.ClearName {
			i.Name = nil
		}
		put(&i.OwnerID, u.OwnerID)
		put(&i.Visibility, u.Visibility)
		put(&i.Hidden, u.Hidden)
		put(&i.Protected, u.Protected)
		put(&i.MinDiskGiB, u.MinDiskGiB)
		put(&i.MinRAMMiB, u.MinRAMMiB)
		put(&i.Tags, u.Tags)
		put(&i.Properties, u.Properties)
		for to, from := range map[**string]*string{&i.Name: u.Name, &i.DiskFormat: u.DiskFormat, &i.ContainerFormat: u.ContainerFormat} {
			if from != nil {
				*to = from
			}
		}
		fillNils(&i)
		i.UpdatedAt = now()
		if err := tx.Save(&i).Error; err != nil {
			return err
		}
		return announceImage(tx, u.Announce, i)
	})
	if violates(err, "images_owner_id_fkey") {
		return Image{}, noProject(*u.OwnerID)
	}
	if err != nil {
		return Image{}, failed(err, "update image %s", id)
	}
	return i, nil
}

func put[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// DeleteImage takes an image away from everybody: to pending_delete where it has bytes, which Forget ends when they are gone,
// else to deleted. Forbidden (as in Glance) when the image is protected. Again is NotFound.
func (s *Store) DeleteImage(ctx context.Context, id string, announced Announce) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		if i, err = lockedImage(tx, id); err != nil {
			return err
		}
		if i.Protected {
			return fault.New(fault.Forbidden, "Image %s is protected and cannot be deleted.", id)
		}
		to := ImageDeleted
		if i.SizeBytes != nil || imageTransitions.check("", i.Status, to) != nil {
			to = ImagePendingDelete
		}
		at := now()
		i.Status, i.DeletedAt, i.UpdatedAt = to, &at, at
		if err := tx.Save(&i).Error; err != nil {
			return err
		}
		if err := tx.Where("image_id = ?", id).Delete(&ImageMember{}).Error; err != nil {
			return err
		}
		return announceImage(tx, announced, i)
	})
	return i, failed(err, "delete image %s", id)
}

// ForgetImage ends a delete whose bytes are gone; again is success.
func (s *Store) ForgetImage(ctx context.Context, id string) error {
	err := s.exec(ctx, `
WITH gone AS (UPDATE images SET status = 'deleted', updated_at = $2 WHERE id = $1 AND status = 'pending_delete' RETURNING id)
DELETE FROM image_locations WHERE image_id IN (SELECT id FROM gone)`, id, now())
	return failed(err, "end the delete of image %s", id)
}

// ImagesByStatus lists images of the status that have not changed since olderThan, for settling what dead processes left.
// It is the one listing that shows deleted images.
func (s *Store) ImagesByStatus(ctx context.Context, status ImageStatus, olderThan time.Time) ([]Image, error) {
	all := []Image{}
	err := s.db.WithContext(ctx).Where("status = ? AND updated_at < ?", status, olderThan).Order("updated_at, id").Find(&all).Error
	return all, failed(err, "list the images that are %s", status)
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, lists and maps of strings, and plain structs come here
	}
	return string(b)
}
