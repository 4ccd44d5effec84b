package models

import (
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Sort is one key of an order; the id always breaks ties.
type Sort struct {
	Key  string
	Desc bool
}

// order is the stable order of a listing: the sort keys, then the id.
type order struct {
	keys   map[string]string // what a caller may sort by → a SQL expression that is never null
	id     string            // the tie-break, unique; also what a marker names
	preset Sort              // where the caller names none
}

// page orders rows and cuts the page after the marker. visible is the table with the conditions of who may see what:
// a marker that it does not show is unknown. One more query where there is a marker.
func (o order) page(rows, visible *gorm.DB, sort []Sort, marker string, limit int) (*gorm.DB, error) {
	p, err := o.paging(visible, sort, marker, limit)
	if err != nil {
		return nil, err
	}
	return p.of(rows), nil
}

// paging is an order, where in it a page begins, and how long it is.
type paging struct {
	exprs []string
	descs []bool
	after []any // the expressions' values at the marker; nil begins at the beginning
	limit int
}

// paging is page for rows that come from several queries.
func (o order) paging(visible *gorm.DB, sort []Sort, marker string, limit int) (paging, error) {
	if len(sort) == 0 {
		sort = []Sort{o.preset}
	}
	p := paging{limit: limit}
	tied := true
	for _, k := range sort {
		e, ok := o.keys[k.Key]
		if !ok {
			return p, fault.New(fault.Invalid, "Invalid sort key: %s. It must be one of the following: %s.",
				k.Key, strings.Join(slices.Sorted(maps.Keys(o.keys)), ", "))
		}
		if slices.Contains(p.exprs, e) {
			continue
		}
		p.exprs, p.descs = append(p.exprs, e), append(p.descs, k.Desc)
		tied = tied && e != o.id
	}
	if tied {
		p.exprs, p.descs = append(p.exprs, o.id), append(p.descs, p.descs[0])
	}
	if marker == "" {
		return p, nil
	}
	at := make([]any, len(p.exprs))
	into := make([]any, len(p.exprs))
	for i := range at {
		into[i] = &at[i]
	}
	found, err := visible.Select(joined(p.exprs)).Where(o.id+" = ?", marker).Limit(1).Rows()
	if err != nil {
		return p, fmt.Errorf("find marker %s: %w", marker, err)
	}
	defer found.Close()
	if !found.Next() {
		if err := found.Err(); err != nil {
			return p, fmt.Errorf("find marker %s: %w", marker, err)
		}
		return p, fault.New(fault.Invalid, "marker [%s] not found", marker)
	}
	if err := found.Scan(into...); err != nil {
		return p, fmt.Errorf("read marker %s: %w", marker, err)
	}
	p.after = at
	return p, nil
}

// of is the page of the rows.
func (p paging) of(rows *gorm.DB) *gorm.DB {
	for _, by := range p.order() {
		rows = rows.Order(by)
	}
	if p.limit > 0 {
		rows = rows.Limit(p.limit)
	}
	if p.after != nil {
		after, args := comesAfter(p.exprs, p.descs, p.after)
		rows = rows.Where(after, args...)
	}
	return rows
}

func (p paging) order() []string {
	by := slices.Clone(p.exprs)
	for i := range by {
		if p.descs[i] {
			by[i] += " DESC"
		}
	}
	return by
}

// comesAfter is the condition "comes after these values". With one direction it is a row comparison, which an index serves.
func comesAfter(exprs []string, descs []bool, at []any) (string, []any) {
	op := func(desc bool) string {
		if desc {
			return "<"
		}
		return ">"
	}
	if !slices.Contains(descs, !descs[0]) {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(at)), ", ")
		return fmt.Sprintf("(%s) %s (%s)", joined(exprs), op(descs[0]), marks), at
	}
	var (
		either []string
		args   []any
	)
	for i := range exprs {
		var all []string
		for j := range i {
			all = append(all, exprs[j]+" = ?")
			args = append(args, at[j])
		}
		all = append(all, exprs[i]+" "+op(descs[i])+" ?")
		args = append(args, at[i])
		either = append(either, "("+strings.Join(all, " AND ")+")")
	}
	return "(" + strings.Join(either, " OR ") + ")", args
}

func joined(parts []string) string { return strings.Join(parts, ", ") }

// texts passes a list through gorm as one text[] parameter, for "= ANY(?)": gorm would spread a plain slice over as many
// parameters, another statement for each length.
type texts []string

var inArray = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Value is the array as Postgres writes it.
func (t texts) Value() (driver.Value, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range t {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(inArray.Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String(), nil
}
