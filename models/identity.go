package models

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// DefaultDomain is the id of the domain that every installation has from the beginning.
const DefaultDomain = "default"

// nameOfDeleted is, in SQL, what a row is called that is deleted and kept: its name is free again, and this one is longer than any that
// can be chosen.
const nameOfDeleted = "rpad(id, 256)"

// maxExtra is how much a row keeps beside its attributes, in bytes.
const maxExtra = 64 << 10

// Extra is what a body held beside the attributes that are known, kept and shown as it was given, as Keystone does.
type Extra map[string]any

// IdentityFilter selects and pages lists of domains, projects, users, groups and roles.
type IdentityFilter struct {
	DomainID string
	Enabled  *bool
	Texts    []TextFilter
	Tags     []TagFilter // of projects
	GroupID  string      // users that are in it
	UserID   string      // groups that it is in; projects and domains on which it has a role
	Marker   string      // id of the last one of the page before
	Limit    int         // 0 is all
}

// TextFilter compares an attribute's text in one of Keystone's ways (TextOps).
type TextFilter struct{ Column, Op, Value string }

// TextOps are the ways in which texts are compared, with the conditions of each on a column and a pattern.
var textOps = map[string]struct{ condition, pattern string }{
	"":            {"%s = ?", ""},
	"contains":    {`%s LIKE ?`, "%%%s%%"},
	"icontains":   {`%s ILIKE ?`, "%%%s%%"},
	"startswith":  {`%s LIKE ?`, "%s%%"},
	"istartswith": {`%s ILIKE ?`, "%s%%"},
	"endswith":    {`%s LIKE ?`, "%%%s"},
	"iendswith":   {`%s ILIKE ?`, "%%%s"},
}

// IsTextOp says whether texts can be compared so.
func IsTextOp(op string) bool {
	_, known := textOps[op]
	return known
}

func (t TextFilter) of(rows *gorm.DB) *gorm.DB {
	how := textOps[t.Op]
	value := t.Value
	if how.pattern != "" {
		value = fmt.Sprintf(how.pattern, strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(value))
	}
	return rows.Where(fmt.Sprintf(how.condition, t.Column), value)
}

// TagFilter wants all of the tags, or any of them, or the contrary of that.
type TagFilter struct {
	Any, Not bool
	Tags     []string
}

func (t TagFilter) of(rows *gorm.DB) *gorm.DB {
	function := "jsonb_exists_all"
	if t.Any {
		function = "jsonb_exists_any"
	}
	if t.Not {
		function = "NOT " + function
	}
	return rows.Where(function+"(tags, ?)", texts(t.Tags))
}

var identityOrder = order{keys: map[string]string{"name": "name"}, id: "id", preset: Sort{Key: "name"}}

// listed is the page of rows that the filter selects, by name.
func listed[T any](ctx context.Context, s *Store, f IdentityFilter) ([]T, error) {
	return listedBy[T](ctx, s, identityOrder, f)
}

func listedBy[T any](ctx context.Context, s *Store, by order, f IdentityFilter) ([]T, error) {
	all := []T{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		rows := tx.Model(new(T))
		if f.DomainID != "" {
			rows = rows.Where("domain_id = ?", f.DomainID)
		}
		if f.Enabled != nil {
			rows = rows.Where("enabled = ?", *f.Enabled)
		}
		for _, t := range f.Texts {
			rows = t.of(rows)
		}
		for _, t := range f.Tags {
			rows = t.of(rows)
		}
		rows, err := by.page(f.related(rows), tx.Model(new(T)), nil, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return rows.Find(&all).Error
	})
	return all, err
}

// related keeps what belongs to the filter's group or user.
func (f IdentityFilter) related(rows *gorm.DB) *gorm.DB {
	if f.GroupID != "" {
		rows = rows.Where("id IN (SELECT user_id FROM group_members WHERE group_id = ?)", f.GroupID)
	}
	if f.UserID == "" {
		return rows
	}
	switch rows.Statement.Model.(type) {
	case *Group:
		return rows.Where("id IN (SELECT group_id FROM group_members WHERE user_id = ?)", f.UserID)
	case *Project:
		return rows.Where("id IN (SELECT g.project_id FROM grants g WHERE NOT g.inherited AND "+heldBy+
			" UNION ALL SELECT p.id FROM grants g JOIN projects p ON p.domain_id = g.domain_id WHERE g.inherited AND "+heldBy+")",
			f.UserID, f.UserID, f.UserID, f.UserID)
	default:
		return rows.Where("id IN (SELECT g.domain_id FROM grants g WHERE NOT g.inherited AND "+heldBy+")", f.UserID, f.UserID)
	}
}

// duplicate is Keystone's refusal of a name that another of the kind has in the same domain.
func duplicate(kind, name string) error {
	return fault.New(fault.Conflict, "Conflict occurred attempting to store %s - it is not permitted to have two %ss with the same name : %s.", kind, kind, name)
}

// The texts are Keystone's.
func noUser(id string) error    { return fault.New(fault.NotFound, "Could not find user: %s.", id) }
func noProject(id string) error { return fault.New(fault.NotFound, "Could not find project: %s.", id) }
func noDomain(id string) error  { return fault.New(fault.NotFound, "Could not find domain: %s.", id) }
func noGroup(id string) error   { return fault.New(fault.NotFound, "Could not find group: %s.", id) }
func noRole(id string) error    { return fault.New(fault.NotFound, "Could not find role: %s.", id) }

// found is the one row of a condition, or the refusal.
func found[T any](ctx context.Context, s *Store, absent error, where string, args ...any) (T, error) {
	var row T
	err := s.db.WithContext(ctx).Where(where, args...).Take(&row).Error
	if isAbsent(err) {
		return row, absent
	}
	return row, failed(err, "read what may be absent (%v)", absent)
}

// revised writes columns of one row, and reads it again.
func revised[T any](tx *gorm.DB, id string, columns map[string]any, absent error) (T, error) {
	var row T
	if len(columns) > 0 {
		u := tx.Model(&row).Where("id = ?", id).Updates(columns)
		if u.Error != nil {
			return row, u.Error
		}
		var kept int
		if _, more := columns["extra"]; more {
			if err := tx.Model(&row).Where("id = ?", id).Select("octet_length(extra::text)").Scan(&kept).Error; err != nil {
				return row, err
			}
		}
		if kept > maxExtra {
			return row, fault.New(fault.Invalid, "More than %d bytes are not kept beside the attributes that are known: set some to null.", maxExtra)
		}
	}
	err := tx.Where("id = ?", id).Take(&row).Error
	if isAbsent(err) {
		return row, absent
	}
	return row, err
}

// columns are a patch's, by name; what is nil stays as it is.
type columns map[string]any

func (c columns) set() map[string]any {
	set := map[string]any{}
	for name, value := range c {
		switch v := value.(type) {
		case *string:
			if v != nil {
				set[name] = *v
			}
		case *bool:
			if v != nil {
				set[name] = *v
			}
		case *[]string:
			if v != nil {
				set[name] = gorm.Expr("?::jsonb", asJSON(*v))
			}
		case Extra: // a null takes a key away
			if len(v) > 0 {
				set[name] = gorm.Expr("jsonb_strip_nulls(extra || ?::jsonb)", asJSON(v))
			}
		}
	}
	return set
}
