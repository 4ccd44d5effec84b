package models

import (
	"context"
	"encoding/json"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ImageFilter selects images that are not deleted. A project sees its own, the public ones, and by asking for
// Visibility "community" those; an admin sees all. Sort keys are Glance's: created_at (default, newest first), updated_at,
// name, status, size, disk_format, container_format, id.
type ImageFilter struct {
	ProjectID        string // who asks
	Admin            bool
	IDs              []string
	Names            []string
	Statuses         []ImageStatus
	Visibility       string // "" is what the asker sees by default; "all" includes community
	OwnerID          string
	DiskFormats      []string
	ContainerFormats []string
	Protected        *bool
	SizeMin          *int64
	SizeMax          *int64
	Tags             []string          // all of them
	Properties       map[string]string // all of them
	Sort             []Sort
	Marker           string
	Limit            int // 0 is all
}

// ImageBytes describes stored bytes; what is nil stays as it is.
type ImageBytes struct {
	SizeBytes    *int64
	VirtualBytes *int64
	MD5          *string
	SHA512       *string
}

// ImageUpdate is a change of an image's description; what is nil stays as it is.
type ImageUpdate struct {
	Name            *string
	ClearName       bool // the name becomes null
	Visibility      *string
	Protected       *bool
	MinDiskGiB      *int
	MinRAMMiB       *int
	DiskFormat      *string            // only while queued
	ContainerFormat *string            // only while queued
	Tags            *[]string          // the whole new list
	Properties      *map[string]string // the whole new set
	IfUpdatedAt     *time.Time         // Conflict when the row was changed since it was read
}

var imageOrder = order{
	id: "id", preset: Sort{Key: "created_at", Desc: true},
	keys: map[string]string{
		"created_at": "created_at", "updated_at": "updated_at", "id": "id", "name": "COALESCE(name, '')", "status": "status",
		"size": "COALESCE(size_bytes, -1)", "disk_format": "COALESCE(disk_format, '')", "container_format": "COALESCE(container_format, '')",
	},
}

// CreateImage adds an image, queued; Conflict when the id is taken, by a deleted image too.
func (s *Store) CreateImage(ctx context.Context, i Image) (Image, error) {
	if i.CreatedAt.IsZero() {
		i.CreatedAt = now()
	}
	i.Status, i.UpdatedAt, i.DeletedAt = ImageQueued, i.CreatedAt, nil
	if i.Tags == nil {
		i.Tags = []string{}
	}
	if i.Properties == nil {
		i.Properties = map[string]string{}
	}
	err := s.db.WithContext(ctx).Create(&i).Error
	switch {
	case violates(err, "images_pkey"):
		return Image{}, fault.New(fault.Conflict, "Image ID %s already exists!", i.ID)
	case violates(err, "images_owner_id_fkey"):
		return Image{}, noProject(i.OwnerID)
	}
	return i, failed(err, "create image %s", i.ID)
}

// Image by id, whoever asks; NotFound when deleted.
func (s *Store) Image(ctx context.Context, id string) (Image, error) {
	var i Image
	err := s.db.WithContext(ctx).Where("id = ? AND deleted_at IS NULL", id).Take(&i).Error
	if isAbsent(err) {
		return i, noImage(id)
	}
	return i, failed(err, "read image %s", id)
}

func noImage(id string) error { return fault.New(fault.NotFound, "No image found with ID %s", id) }

// ListImages lists what the filter selects.
func (s *Store) ListImages(ctx context.Context, f ImageFilter) ([]Image, error) {
	all := []Image{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			q := tx.Model(&Image{}).Where("deleted_at IS NULL")
			switch {
			case f.Admin:
				return q
			case f.Visibility == "community" || f.Visibility == "all":
				return q.Where("owner_id = ? OR visibility IN ('public', 'community')", f.ProjectID)
			}
			return q.Where("owner_id = ? OR visibility = 'public'", f.ProjectID)
		}
		q := visible()
		if f.Visibility != "" && f.Visibility != "all" {
			q = q.Where("visibility = ?", f.Visibility)
		}
		if f.OwnerID != "" {
			q = q.Where("owner_id = ?", f.OwnerID)
		}
		q = among(q, "id", f.IDs)
		q = among(q, "name", f.Names)
		q = among(q, "status", f.Statuses)
		q = among(q, "disk_format", f.DiskFormats)
		q = among(q, "container_format", f.ContainerFormats)
		if f.Protected != nil {
			q = q.Where("protected = ?", *f.Protected)
		}
		if f.SizeMin != nil {
			q = q.Where("size_bytes >= ?", *f.SizeMin)
		}
		if f.SizeMax != nil {
			q = q.Where("size_bytes <= ?", *f.SizeMax)
		}
		if len(f.Tags) > 0 {
			q = q.Where("tags @> ?::jsonb", asJSON(f.Tags))
		}
		if len(f.Properties) > 0 {
			q = q.Where("properties @> ?::jsonb", asJSON(f.Properties))
		}
		q, err := imageOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the images")
}

// TransitionImage moves an image between states; Conflict when it is not in from or the table forbids the step.
func (s *Store) TransitionImage(ctx context.Context, id string, from, to ImageStatus, b ImageBytes) error {
	if err := imageTransitions.check("Image", from, to); err != nil {
		return err
	}
	at := now()
	set := map[string]any{"status": to, "updated_at": at}
	if to == ImageDeleted {
		set["deleted_at"] = at
	}
	if b.SizeBytes != nil {
		set["size_bytes"] = *b.SizeBytes
	}
	if b.VirtualBytes != nil {
		set["virtual_bytes"] = *b.VirtualBytes
	}
	if b.MD5 != nil {
		set["md5"] = *b.MD5
	}
	if b.SHA512 != nil {
		set["sha512"] = *b.SHA512
	}
	if to == ImageQueued {
		// What a failed upload has learnt is void.
		for _, c := range []string{"size_bytes", "virtual_bytes", "md5", "sha512"} {
			set[c] = nil
		}
	}
	u := s.db.WithContext(ctx).Model(&Image{}).Where("id = ? AND status = ?", id, from).Updates(set)
	if u.Error != nil || u.RowsAffected == 1 {
		return failed(u.Error, "move image %s from %s to %s", id, from, to)
	}
	i, err := s.Image(ctx, id)
	if err != nil {
		return err
	}
	// The text of Glance's InvalidImageStatusTransition, with the state that the image is really in.
	return fault.New(fault.Conflict, "Image status transition from %s to %s is not allowed", i.Status, to)
}

// UpdateImage changes the description and returns the image as it is then.
func (s *Store) UpdateImage(ctx context.Context, id string, u ImageUpdate) (Image, error) {
	var i Image
	err := s.tx(ctx, func(tx *gorm.DB) error {
		i = Image{}
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ? AND deleted_at IS NULL", id).Take(&i).Error
		if isAbsent(err) {
			return noImage(id)
		}
		if err != nil {
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
		if u.ClearName {
			i.Name = nil
		}
		put(&i.Visibility, u.Visibility)
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
		if i.Tags == nil {
			i.Tags = []string{}
		}
		if i.Properties == nil {
			i.Properties = map[string]string{}
		}
		i.UpdatedAt = now()
		return tx.Save(&i).Error
	})
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

// DeleteImage moves any state to deleted; Forbidden (as in Glance) when the image is protected. Again is NotFound.
func (s *Store) DeleteImage(ctx context.Context, id string) error {
	at := now()
	d := s.db.WithContext(ctx).Model(&Image{}).
		Where("id = ? AND NOT protected AND status = ANY(?)", id, texts(imageTransitions.origins(ImageDeleted))).
		Updates(map[string]any{"status": ImageDeleted, "deleted_at": at, "updated_at": at})
	if d.Error != nil || d.RowsAffected == 1 {
		return failed(d.Error, "delete image %s", id)
	}
	if _, err := s.Image(ctx, id); err != nil {
		return err
	}
	return fault.New(fault.Forbidden, "Image %s is protected and cannot be deleted.", id)
}

// ImagesByStatus lists images of the status that have not changed since olderThan, for settling crashed uploads. It is
// the one listing that shows deleted images.
func (s *Store) ImagesByStatus(ctx context.Context, status ImageStatus, olderThan time.Time) ([]Image, error) {
	all := []Image{}
	err := s.db.WithContext(ctx).Where("status = ? AND updated_at < ?", status, olderThan).Order("updated_at, id").Find(&all).Error
	return all, failed(err, "list the images that are %s", status)
}

// among narrows a column to the values; none is any.
func among[S ~string](q *gorm.DB, column string, values []S) *gorm.DB {
	if len(values) == 0 {
		return q
	}
	list := make(texts, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return q.Where(column+" = ANY(?)", list)
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, lists and maps of strings, and plain structs come here
	}
	return string(b)
}
