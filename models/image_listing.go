package models

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ImageFilter selects images that are not deleted. A project sees its own, the public ones, those whose sharing it
// accepted, and by asking for Visibility "community" those; an admin sees all. Sort keys are Glance's: created_at (default,
// newest first), updated_at, name, status, size, disk_format, container_format, id.
type ImageFilter struct {
	ProjectID        string // who asks
	Admin            bool
	IDs              []string
	Names            []string
	Statuses         []ImageStatus
	Visibility       string // "" is what the asker sees by default; "all" includes community
	MemberStatus     string // of what is shared with the asker: accepted where "", or all
	OwnerID          string
	DiskFormats      []string
	ContainerFormats []string
	Protected        *bool
	Hidden           bool // only hidden ones, else only the others
	AnyHidden        bool // both
	Compare          []Comparison
	Tags             []string          // all of them
	Properties       map[string]string // all of them
	Sort             []Sort
	Marker           string
	Limit            int // 0 is all
}

// Comparison compares one of Comparable's attributes with a value of its type.
type Comparison struct {
	Attribute string
	Op        string // eq, neq, gt, gte, lt, lte
	Value     any
}

var (
	comparableImage = map[string]string{
		"size": "size_bytes", "min_disk": "min_disk_gib", "min_ram": "min_ram_mib", "created_at": "created_at", "updated_at": "updated_at",
		"checksum": "md5", "os_hash_value": "sha512", "virtual_size": "virtual_bytes",
	}
	comparisons = map[string]string{"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
)

// ImageComparisons are the operators of a Comparison.
func ImageComparisons() []string { return slices.Sorted(maps.Keys(comparisons)) }

var imageOrder = order{
	id: "id", preset: Sort{Key: "created_at", Desc: true},
	keys: map[string]string{
		"created_at": "created_at", "updated_at": "updated_at", "id": "id", "name": "COALESCE(name, '')", "status": "status",
		"size": "COALESCE(size_bytes, -1)", "disk_format": "COALESCE(disk_format, '')", "container_format": "COALESCE(container_format, '')",
	},
}

// ListImages lists what the filter selects.
func (s *Store) ListImages(ctx context.Context, f ImageFilter) ([]Image, error) {
	all := []Image{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB { return f.visible(tx.Model(&Image{}).Where("deleted_at IS NULL")) }
		q, err := f.narrow(visible())
		if err != nil {
			return err
		}
		if q, err = imageOrder.page(q, visible(), f.Sort, f.Marker, f.Limit); err != nil {
			return err
		}
		if err := q.Find(&all).Error; err != nil {
			return err
		}
		found := make([]*Image, len(all))
		for i := range all {
			found[i] = &all[i]
		}
		return locate(tx, found)
	})
	return all, failed(err, "list the images")
}

// visible leaves what the asker may see.
func (f ImageFilter) visible(q *gorm.DB) *gorm.DB {
	if f.Admin {
		return q
	}
	mine := "owner_id = ? OR visibility = 'public' OR visibility = 'shared' AND id IN (SELECT image_id FROM image_members WHERE member_id = ?"
	args := []any{f.ProjectID, f.ProjectID}
	switch f.MemberStatus {
	case "all":
		mine += ")"
	case "":
		mine += " AND status = 'accepted')"
	default:
		mine += " AND status = ?)"
		args = append(args, f.MemberStatus)
	}
	if f.Visibility == "community" || f.Visibility == "all" {
		mine += " OR visibility = 'community'"
	}
	return q.Where(mine, args...)
}

func (f ImageFilter) narrow(q *gorm.DB) (*gorm.DB, error) {
	if f.Visibility != "" && f.Visibility != "all" {
		q = q.Where("visibility = ?", f.Visibility)
	}
	if f.OwnerID != "" {
		q = q.Where("owner_id = ?", f.OwnerID)
	}
	if !f.AnyHidden {
		q = q.Where("hidden = ?", f.Hidden)
	}
	q = among(q, "id", f.IDs)
	q = among(q, "name", f.Names)
	q = among(q, "status", f.Statuses)
	q = among(q, "disk_format", f.DiskFormats)
	q = among(q, "container_format", f.ContainerFormats)
	if f.Protected != nil {
		q = q.Where("protected = ?", *f.Protected)
	}
	for _, c := range f.Compare {
		column, op := comparableImage[c.Attribute], comparisons[c.Op]
		if column == "" || op == "" {
			return nil, fault.New(fault.Invalid, "Images cannot be filtered by '%s' with '%s'.", c.Attribute, c.Op)
		}
		q = q.Where(fmt.Sprintf("%s %s ?", column, op), c.Value)
	}
	if len(f.Tags) > 0 {
		q = q.Where("tags @> ?::jsonb", asJSON(f.Tags))
	}
	if len(f.Properties) > 0 {
		q = q.Where("properties @> ?::jsonb", asJSON(f.Properties))
	}
	return q, nil
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
