package models

import (
	"context"
	"time"
)

// ImageFilter selects images that are not deleted. A project sees its own, the public ones, and by asking for
// Visibility "community" those; an admin sees all. Sort keys are Glance's: created_at (default, newest first), updated_at,
// name, status, size, disk_format, container_format, id.
type ImageFilter struct {
	ProjectID       string // who asks
	Admin           bool
	IDs             []string
	Names           []string
	Statuses        []ImageStatus
	Visibility      string // "" is what the asker sees by default; "all" includes community
	OwnerID         string
	DiskFormats     []string
	ContainerFormat []string
	Protected       *bool
	SizeMin         *int64
	SizeMax         *int64
	Tags            []string          // all of them
	Properties      map[string]string // all of them
	Sort            []Sort
	Marker          string
	Limit           int // 0 is all
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

// CreateImage adds an image; Conflict when the id is taken, by a deleted image too.
func (s *Store) CreateImage(ctx context.Context, i Image) (Image, error) { return Image{}, errPending }

// Image by id, whoever asks; NotFound when deleted.
func (s *Store) Image(ctx context.Context, id string) (Image, error) { return Image{}, errPending }

// ListImages lists what the filter selects.
func (s *Store) ListImages(ctx context.Context, f ImageFilter) ([]Image, error) {
	return nil, errPending
}

// TransitionImage moves an image between states; Conflict when it is not in from or the table forbids the step.
func (s *Store) TransitionImage(ctx context.Context, id string, from, to ImageStatus, b ImageBytes) error {
	return errPending
}

// UpdateImage changes the description and returns the image as it is then.
func (s *Store) UpdateImage(ctx context.Context, id string, u ImageUpdate) (Image, error) {
	return Image{}, errPending
}

// DeleteImage moves any state to deleted; Forbidden (as in Glance) when the image is protected. Again is NotFound.
func (s *Store) DeleteImage(ctx context.Context, id string) error { return errPending }

// ImagesByStatus lists images of the status that have not changed since olderThan, for settling crashed uploads. It is
// the one listing that shows deleted images.
func (s *Store) ImagesByStatus(ctx context.Context, status ImageStatus, olderThan time.Time) ([]Image, error) {
	return nil, errPending
}
