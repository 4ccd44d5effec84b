package models

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Grant gives a role to a user or to a group, on a project, on a domain, or on the system where it names neither (Keystone's
// role assignment). An inherited one of a domain holds on each of its projects, and not on the domain.
type Grant struct {
	Role                string
	UserID, GroupID     *string // one of them
	ProjectID, DomainID *string // one or none of them
	Inherited           bool
}

// Scope is what roles are had on, and what a token is for: a project, a domain, the system, or nothing.
type Scope struct {
	ProjectID, DomainID string
	System              bool
}

// heldBy selects the grants g of a user, its own and its groups'.
const heldBy = "(g.user_id = ? OR g.group_id = ANY(ARRAY(SELECT m.group_id FROM group_members m WHERE m.user_id = ?)))"

// EnsureGrant gives a role; again is success. NotFound says what of it is not there.
func (s *Store) EnsureGrant(ctx context.Context, g Grant) error {
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&g).Error
	for constraint, absent := range map[string]func() error{
		"grants_role_fkey":       func() error { return noRole(g.Role) },
		"grants_user_id_fkey":    func() error { return noUser(*g.UserID) },
		"grants_group_id_fkey":   func() error { return noGroup(*g.GroupID) },
		"grants_project_id_fkey": func() error { return noProject(*g.ProjectID) },
		"grants_domain_id_fkey":  func() error { return noDomain(*g.DomainID) },
	} {
		if violates(err, constraint) {
			return absent()
		}
	}
	return failed(err, "give the role %s", g.Role)
}

// EnsureRole gives the user the role on the project; again is success.
func (s *Store) EnsureRole(ctx context.Context, userID, projectID, role string) error {
	return s.EnsureGrant(ctx, Grant{Role: role, UserID: &userID, ProjectID: &projectID})
}

// at selects a grant's row, and others of the same actor and target where it names no role.
func (g Grant) at(rows *gorm.DB) *gorm.DB {
	rows = rows.Where("inherited = ?", g.Inherited)
	for column, value := range map[string]*string{"user_id": g.UserID, "group_id": g.GroupID, "project_id": g.ProjectID, "domain_id": g.DomainID} {
		rows = rows.Where(column+" IS NOT DISTINCT FROM ?", value)
	}
	if g.Role != "" {
		rows = rows.Where("role = ?", g.Role)
	}
	return rows
}

// Granted lists the roles that are given exactly so, by name; g.Role asks for one of them.
func (s *Store) Granted(ctx context.Context, g Grant) ([]Role, error) {
	all := []Role{}
	err := s.db.WithContext(ctx).Where("name IN (?)", g.at(s.db.Model(&Grant{})).Select("role")).Order("name").Find(&all).Error
	return all, failed(err, "read the roles that are given")
}

// DeleteGrant takes a role away, and says whether it was given. Who has none left on what a token is for has no token, and what
// application credentials rest on it end.
func (s *Store) DeleteGrant(ctx context.Context, g Grant) (bool, error) {
	was := false
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		d := g.at(tx).Delete(&Grant{})
		if was = d.RowsAffected > 0; !was {
			return d.Error
		}
		return endUnfounded(tx)
	})
	return was, failed(err, "take the role %s away", g.Role)
}

// rolesSQL are the names of the roles that the user @user_id has on @project_id of the domain @owner_id, on @domain_id, or on the system.
const rolesSQL = `
SELECT DISTINCT g.role FROM grants g
WHERE (g.user_id = %[1]s OR g.group_id = ANY(ARRAY(SELECT m.group_id FROM group_members m WHERE m.user_id = %[1]s)))
  AND CASE WHEN %[2]s IS NOT NULL THEN (g.project_id = %[2]s AND NOT g.inherited) OR (g.inherited AND g.domain_id = %[3]s)
           WHEN %[4]s IS NOT NULL THEN g.domain_id = %[4]s AND NOT g.inherited
           ELSE %[5]s AND g.project_id IS NULL AND g.domain_id IS NULL END
ORDER BY g.role`

// Roles of a user on what a token may be for, sorted; empty when there are none.
func (s *Store) Roles(ctx context.Context, userID string, on Scope) ([]string, error) {
	sql := fmt.Sprintf(rolesSQL, "@user_id", "NULLIF(@project_id::text, '')", "(SELECT p.domain_id FROM projects p WHERE p.id = @project_id::text)",
		"NULLIF(@domain_id::text, '')", "@system::boolean")
	rows, err := s.pool.Query(ctx, sql, named{"user_id": userID, "project_id": on.ProjectID, "domain_id": on.DomainID, "system": on.System})
	if err != nil {
		return nil, failed(err, "read the roles of user %s", userID)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return roles, failed(err, "read the roles of user %s", userID)
}

// GrantFilter selects grants; "" is any. Effective ones are what users have, with what their groups and domains give them.
type GrantFilter struct {
	UserID, GroupID, Role, ProjectID, DomainID string
	System                                     bool
	Inherited                                  *bool
	Effective                                  bool
}

// directSQL and effectiveSQL are the grants, and what they come to for each user: a group's are its users', and a domain's
// inherited ones are its projects'.
const (
	directSQL    = `SELECT role, user_id, group_id, project_id, domain_id, inherited FROM grants`
	effectiveSQL = `
SELECT DISTINCT g.role, COALESCE(g.user_id, m.user_id) AS user_id, NULL::text AS group_id,
       COALESCE(g.project_id, p.id) AS project_id, CASE WHEN g.inherited THEN NULL ELSE g.domain_id END AS domain_id, false AS inherited
FROM grants g
LEFT JOIN group_members m ON m.group_id = g.group_id
LEFT JOIN projects p ON g.inherited AND p.domain_id = g.domain_id AND p.deleted_at IS NULL
WHERE COALESCE(g.user_id, m.user_id) IS NOT NULL AND (NOT g.inherited OR p.id IS NOT NULL)`
)

// Assignment is a grant with the names of what it refers to; what it does not refer to is zero.
type Assignment struct {
	Role          Named `gorm:"embedded;embeddedPrefix:role_"`
	User          Named `gorm:"embedded;embeddedPrefix:user_"`
	UserDomain    Named `gorm:"embedded;embeddedPrefix:user_domain_"`
	Group         Named `gorm:"embedded;embeddedPrefix:group_"`
	GroupDomain   Named `gorm:"embedded;embeddedPrefix:group_domain_"`
	Project       Named `gorm:"embedded;embeddedPrefix:project_"`
	ProjectDomain Named `gorm:"embedded;embeddedPrefix:project_domain_"`
	Domain        Named `gorm:"embedded;embeddedPrefix:domain_"`
	Inherited     bool
}

const assignmentsSQL = `
SELECT r.id AS role_id, r.name AS role_name, u.id AS user_id, u.name AS user_name, ud.id AS user_domain_id, ud.name AS user_domain_name,
       gr.id AS group_id, gr.name AS group_name, gd.id AS group_domain_id, gd.name AS group_domain_name,
       p.id AS project_id, p.name AS project_name, pd.id AS project_domain_id, pd.name AS project_domain_name,
       d.id AS domain_id, d.name AS domain_name, a.inherited
FROM (%s) AS a
JOIN roles r ON r.name = a.role
LEFT JOIN users u ON u.id = a.user_id
LEFT JOIN domains ud ON ud.id = u.domain_id
LEFT JOIN groups gr ON gr.id = a.group_id
LEFT JOIN domains gd ON gd.id = gr.domain_id
LEFT JOIN projects p ON p.id = a.project_id
LEFT JOIN domains pd ON pd.id = p.domain_id
LEFT JOIN domains d ON d.id = a.domain_id`

// Assignments lists the grants, in a stable order.
func (s *Store) Assignments(ctx context.Context, f GrantFilter) ([]Assignment, error) {
	from := directSQL
	if f.Effective {
		from = effectiveSQL
		if f.Inherited != nil { // where they come from: what they come to is inherited no more
			from += " AND g.inherited = " + strconv.FormatBool(*f.Inherited)
			f.Inherited = nil
		}
	}
	rows := s.db.WithContext(ctx).Table("(" + fmt.Sprintf(assignmentsSQL, from) + ") AS assignments")
	for column, value := range map[string]string{
		"user_id": f.UserID, "group_id": f.GroupID, "role_name": f.Role, "project_id": f.ProjectID, "domain_id": f.DomainID,
	} {
		if value != "" {
			rows = rows.Where(column+" = ?", value)
		}
	}
	if f.System {
		rows = rows.Where("project_id IS NULL AND domain_id IS NULL")
	}
	if f.Inherited != nil {
		rows = rows.Where("inherited = ?", *f.Inherited)
	}
	all := []Assignment{}
	err := rows.Order("role_name, user_name, group_name, project_name, domain_name, user_id, group_id, project_id, domain_id, inherited").Find(&all).Error
	return all, failed(err, "list the role assignments")
}

// adminsSQL is whether somebody is left who may change everything: an enabled user with a password, and the role admin on an
// enabled project or on the system.
var adminsSQL = `
SELECT EXISTS (
    SELECT FROM (` + strings.TrimSpace(effectiveSQL) + `) AS e
    JOIN users u ON u.id = e.user_id AND u.enabled AND u.password_hash <> '' AND u.deleted_at IS NULL
    JOIN domains d ON d.id = u.domain_id AND d.enabled
    LEFT JOIN projects p ON p.id = e.project_id
    LEFT JOIN domains o ON o.id = p.domain_id
    WHERE e.role = 'admin' AND e.domain_id IS NULL AND (e.project_id IS NULL OR p.enabled AND p.deleted_at IS NULL AND o.enabled))`

// HasAdmin says whether there is such a user.
func (s *Store) HasAdmin(ctx context.Context) (bool, error) {
	var has bool
	err := s.pool.QueryRow(ctx, adminsSQL).Scan(&has)
	return has, failed(err, "look for an admin")
}

// adminElsewhereSQL is whether there is a grant of such a role, on anything but the domain itself, to actors of a condition.
const adminElsewhereSQL = `
SELECT EXISTS (SELECT FROM grants g WHERE g.role = ANY(@roles) AND (g.domain_id IS NULL OR g.inherited OR g.domain_id <> @domain_id) AND %s)`

// IsAdminElsewhere says whether a user, itself or by a group, has the role admin, or another of these roles, on something else than its domain.
func (s *Store) IsAdminElsewhere(ctx context.Context, u User, roles []string) (bool, error) {
	return s.adminElsewhere(ctx, "(g.user_id = @id OR g.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = @id))", u.ID, u.DomainID, roles)
}

// MakesAdminsElsewhere says whether a group has the role admin, or another of these roles, on something else than its domain.
func (s *Store) MakesAdminsElsewhere(ctx context.Context, g Group, roles []string) (bool, error) {
	return s.adminElsewhere(ctx, "g.group_id = @id", g.ID, g.DomainID, roles)
}

func (s *Store) adminElsewhere(ctx context.Context, actors, id, domainID string, roles []string) (is bool, err error) {
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, fmt.Sprintf(adminElsewhereSQL, actors), named{"id": id, "domain_id": domainID, "roles": roles}).Scan(&is)
	})
	return is, failed(err, "look for what %s is an admin of", id)
}

// adminsLock is taken by whatever may take somebody's rights away: of two that would each leave the other's admin, one sees none.
const adminsLock = 0x61646d696e // "admin"

// keepingAnAdmin runs f in a transaction, and takes it back where it leaves nobody who may change everything: Forbidden.
func (s *Store) keepingAnAdmin(ctx context.Context, f func(tx *gorm.DB) error) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", adminsLock).Error; err != nil {
			return err
		}
		var before, after bool
		if err := tx.Raw(adminsSQL).Scan(&before).Error; err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		if err := tx.Raw(adminsSQL).Scan(&after).Error; err != nil {
			return err
		}
		if before && !after {
			return fault.New(fault.Forbidden, "That would leave nobody with the role admin: give it to another user first.")
		}
		return nil
	})
}
