package models

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ImageFilter selects images that are not deleted. A project sees its own, the public ones, those whose sharing it
// accepted, and by asking for Visibility "community" those; an admin sees all, other projects' community images only by asking
// for them too. Any image that the asker may know of can be the marker. Sort keys are Glance's: created_at (default,
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

// second is what cuts a time to what the API shows of it: an image is not later than it says itself.
const second = "date_trunc('second', "

var (
	comparableImage = map[string]string{
		"size": "size_bytes", "min_disk": "min_disk_gib", "min_ram": "min_ram_mib", "created_at": second + "created_at)", "updated_at": second + "updated_at)",
		"checksum": "md5", "os_hash_value": "sha512", "virtual_size": "virtual_bytes",
		"os_hash_algo": "CASE WHEN sha512 IS NOT NULL THEN 'sha512' END",
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
		ways := f.ways()
		known := ImageFilter{ProjectID: f.ProjectID, Admin: f.Admin, Visibility: "all", MemberStatus: "all"}
		visible := tx.Model(&Image{}).Where("deleted_at IS NULL").Where(anyOf(known.ways()))
		page, err := imageOrder.paging(visible, f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		// Each way is a page of its own, which an index serves; of these, the page is taken.
		queries := make([]any, len(ways))
		for i, way := range ways {
			q, err := f.narrow(tx.Model(&Image{}).Where("deleted_at IS NULL").Where(way))
			if err != nil {
				return err
			}
			queries[i] = page.of(q)
		}
		sql := "SELECT * FROM (" + strings.TrimSuffix(strings.Repeat("(?) UNION ALL ", len(ways)), " UNION ALL ") + ") i ORDER BY " + joined(page.order())
		if f.Limit > 0 {
			sql += fmt.Sprintf(" LIMIT %d", f.Limit)
		}
		if err := tx.Raw(sql, queries...).Scan(&all).Error; err != nil {
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

// ways are the conditions by which the asker sees images. No image fulfils two of them.
func (f ImageFilter) ways() []clause.Expr {
	if f.Admin && f.Visibility == "" {
		return []clause.Expr{gorm.Expr("(visibility <> 'community' OR owner_id = ?)", f.ProjectID)}
	}
	if f.Admin {
		return []clause.Expr{gorm.Expr("true")}
	}
	members, args := "SELECT image_id FROM image_members WHERE member_id = ?", []any{f.ProjectID, f.ProjectID}
	switch f.MemberStatus {
	case "all":
	case "":
		members += " AND status = 'accepted'"
	default:
		members += " AND status = ?"
		args = append(args, f.MemberStatus)
	}
	ways := []clause.Expr{
		gorm.Expr("owner_id = ?", f.ProjectID),
		gorm.Expr("visibility = 'public' AND owner_id <> ?", f.ProjectID),
		gorm.Expr("visibility = 'shared' AND owner_id <> ? AND id = ANY(ARRAY("+members+"))", args...),
	}
	if f.Visibility == "community" || f.Visibility == "all" {
		ways = append(ways, gorm.Expr("visibility = 'community' AND owner_id <> ?", f.ProjectID))
	}
	return ways
}

func anyOf(ways []clause.Expr) clause.Expr {
	var any clause.Expr
	for i, way := range ways {
		if i > 0 {
			any.SQL += " OR "
		}
		any.SQL += way.SQL
		any.Vars = append(any.Vars, way.Vars...)
	}
	any.SQL = "(" + any.SQL + ")"
	return any
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
