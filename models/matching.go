package models

import (
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// Match selects the rows of which an attribute, by its API's name, is one of the values. Of tags it is in Neutron's four ways: all
// ("tags"), any ("tags-any"), not all and not any; each value may be several with commas between them.
type Match struct {
	Key    string
	Values []string
}

// matching is what rows can be selected by: an attribute's name → a condition on an array of texts.
type matching map[string]string

// Columns of these types are compared with texts.
func textIs(column string) string { return column + " = ANY(?::text[])" }
func numberIs(column string) string {
	return column + " = ANY(?::bigint[])"
}
func flagIs(column string) string { return column + " = ANY(?::boolean[])" }

// with are these and the conditions that all of Neutron's resources have.
func (m matching) with(table string) matching {
	m["id"], m["description"] = textIs(table+".id"), textIs(table+".description")
	m["project_id"], m["name"] = textIs(table+".project_id"), textIs(table+".name")
	m["changed_since"] = table + ".updated_at >= (?::timestamptz[])[1]"
	m["revision_number"] = numberIs(table + ".revision")
	tags := table + ".tags"
	m["tags"], m["not-tags"] = tags+" @> to_jsonb(?::text[])", "NOT "+tags+" @> to_jsonb(?::text[])"
	m["tags-any"], m["not-tags-any"] = "jsonb_exists_any("+tags+", ?::text[])", "NOT jsonb_exists_any("+tags+", ?::text[])"
	return m
}

// of selects by all of them.
func (m matching) of(q *gorm.DB, wanted []Match) (*gorm.DB, error) {
	for _, w := range wanted {
		condition, ok := m[w.Key]
		if !ok {
			return nil, fault.New(fault.Invalid, "%s is no attribute to select by.", w.Key)
		}
		values := texts(slices.Clone(w.Values))
		if strings.Contains(w.Key, "tags") {
			values = strings.Split(strings.Join(w.Values, ","), ",")
		}
		q = q.Where(condition, values)
	}
	return q, nil
}

// neutronSorts are the sort keys that all of Neutron's resources have, and the others.
func neutronSorts(others map[string]string) map[string]string {
	for _, key := range []string{"created_at", "updated_at", "name", "id", "project_id"} {
		others[key] = key
	}
	return others
}

// AtRevision is the store for a change that is made only while its row has this revision.
func (s *Store) AtRevision(n int64) *Store {
	c := *s
	c.revision = &n
	return &c
}

// unrevised refuses a row that has changed since the caller looked.
func (s *Store) unrevised(revision int64) error {
	if s.revision != nil && *s.revision != revision {
		return ipam.Refuse(ipam.Outdated, fault.Conflict, "Constrained to %d, but current revision is %d", *s.revision, revision)
	}
	return nil
}
