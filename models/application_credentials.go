package models

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// ApplicationCredential lets a program log in as its user, on one project, with some of the roles that the user has there.
type ApplicationCredential struct {
	ID           string `gorm:"primaryKey"`
	Name         string // the user has one of it
	UserID       string
	ProjectID    string
	Description  *string
	SecretHash   string // bcrypt
	Unrestricted bool   // who logs in with it may make credentials
	ExpiresAt    *time.Time
	CreatedAt    time.Time
	Roles        []string `gorm:"-"` // by name, sorted
}

type applicationCredentialRole struct{ ApplicationCredentialID, Role string }

// MaxApplicationCredentials is how many a user may have.
const MaxApplicationCredentials = 100

func noApplicationCredential(id string) error {
	return fault.New(fault.NotFound, "Could not find Application Credential: %s.", id)
}

// CreateApplicationCredential records one. Conflict where the user has one of its name, Invalid where the user has not all of its
// roles on its project, Forbidden where the user has as many as it may.
func (s *Store) CreateApplicationCredential(ctx context.Context, a ApplicationCredential) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		// Whoever takes a role away waits, and ends it then (endUnfounded).
		if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", adminsLock).Error; err != nil {
			return err
		}
		if err := standing[User](tx, a.UserID, "UPDATE", noUser(a.UserID)); err != nil {
			return err
		}
		if err := standing[Project](tx, a.ProjectID, "SHARE", noProject(a.ProjectID)); err != nil {
			return err
		}
		var has int64
		if err := tx.Model(&ApplicationCredential{}).Where("user_id = ?", a.UserID).Count(&has).Error; err != nil {
			return err
		}
		if has >= MaxApplicationCredentials {
			return fault.New(fault.Forbidden, "Unable to create additional application credentials, maximum of %d already exceeded for user.", MaxApplicationCredentials)
		}
		if err := tx.Create(&a).Error; err != nil {
			return err
		}
		for _, role := range a.Roles {
			if err := tx.Create(&applicationCredentialRole{a.ID, role}).Error; err != nil {
				return err
			}
		}
		var unfounded int64
		if err := tx.Raw("SELECT count(*) FROM ("+unfoundedSQL+") u WHERE id = ?", a.ID).Scan(&unfounded).Error; err != nil {
			return err
		}
		if unfounded > 0 {
			return fault.New(fault.Invalid, "Invalid application credential: the user has not all of its roles on project %s.", a.ProjectID)
		}
		return nil
	})
	switch {
	case violates(err, "application_credentials_name_key"):
		return fault.New(fault.Conflict, "Conflict occurred attempting to store application_credential - Duplicate entry found with name %s.", a.Name)
	case violates(err, "application_credential_roles_role_fkey"):
		return fault.New(fault.NotFound, "Could not find role: one of %s.", strings.Join(a.Roles, ", "))
	}
	return failed(err, "create application credential %s of user %s", a.Name, a.UserID)
}

// unfoundedSQL selects those with a role that their user does not have on their project any more, itself or by one that includes it.
var unfoundedSQL = `
SELECT DISTINCT a.id FROM application_credentials a
JOIN application_credential_roles r ON r.application_credential_id = a.id
JOIN projects p ON p.id = a.project_id
WHERE NOT EXISTS (
    SELECT FROM grants g
    WHERE (g.user_id = a.user_id OR g.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = a.user_id))
      AND ((g.project_id = a.project_id AND NOT g.inherited) OR (g.inherited AND g.domain_id = p.domain_id))
      AND (g.role = r.role OR (g.role, r.role) IN (VALUES ` + includedRoles() + `)))`

// includedRoles are the pairs of a role and one that it includes, for SQL.
func includedRoles() string {
	var pairs []string
	for _, role := range auth.Roles() {
		for _, included := range auth.Implied([]string{role})[1:] {
			pairs = append(pairs, fmt.Sprintf("('%s', '%s')", role, included))
		}
	}
	return joined(pairs)
}

// endUnfounded ends the application credentials that rest on roles which are not there any more: they do not come back with these.
func endUnfounded(tx *gorm.DB) error {
	return tx.Exec("DELETE FROM application_credentials WHERE id IN (" + unfoundedSQL + ")").Error
}

// ApplicationCredential by id.
func (s *Store) ApplicationCredential(ctx context.Context, id string) (ApplicationCredential, error) {
	return s.applicationCredential(ctx, noApplicationCredential(id), "id = ?", id)
}

// ApplicationCredentialByName of a user.
func (s *Store) ApplicationCredentialByName(ctx context.Context, userID, name string) (ApplicationCredential, error) {
	return s.applicationCredential(ctx, noApplicationCredential(name), "user_id = ? AND name = ?", userID, name)
}

func (s *Store) applicationCredential(ctx context.Context, absent error, where string, args ...any) (ApplicationCredential, error) {
	a, err := found[ApplicationCredential](ctx, s, absent, where, args...)
	if err != nil {
		return a, err
	}
	all := []ApplicationCredential{a}
	err = withRolesOf(s.db.WithContext(ctx), all)
	return all[0], failed(err, "read the roles of application credential %s", a.ID)
}

// withRolesOf adds their roles.
func withRolesOf(tx *gorm.DB, all []ApplicationCredential) error {
	ids, at := make(texts, len(all)), map[string]int{}
	for i, a := range all {
		ids[i], at[a.ID] = a.ID, i
	}
	var roles []applicationCredentialRole
	if err := tx.Where("application_credential_id = ANY(?)", ids).Order("role").Find(&roles).Error; err != nil {
		return err
	}
	for _, r := range roles {
		a := &all[at[r.ApplicationCredentialID]]
		a.Roles = append(a.Roles, r.Role)
	}
	return nil
}

// ListApplicationCredentials lists those of a user by name, or the one of a name.
func (s *Store) ListApplicationCredentials(ctx context.Context, userID, name string) ([]ApplicationCredential, error) {
	all := []ApplicationCredential{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		rows := tx.Where("user_id = ?", userID)
		if name != "" {
			rows = rows.Where("name = ?", name)
		}
		if err := rows.Order("name").Find(&all).Error; err != nil {
			return err
		}
		return withRolesOf(tx, all)
	})
	return all, failed(err, "list the application credentials of user %s", userID)
}

// DeleteApplicationCredential deletes one, with the tokens and the access keys that were got with it.
func (s *Store) DeleteApplicationCredential(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&ApplicationCredential{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noApplicationCredential(id)
	}
	return failed(d.Error, "delete application credential %s", id)
}

// RehashSecret sets another hash of the same secret.
func (s *Store) RehashSecret(ctx context.Context, id, from, to string) error {
	u := s.db.WithContext(ctx).Model(&ApplicationCredential{}).Where("id = ? AND secret_hash = ?", id, from).Update("secret_hash", to)
	return failed(u.Error, "hash the secret of application credential %s anew", id)
}

// Application is the application credential that something was got with; zero where it is none.
type Application struct {
	ID, Name     string
	Unrestricted bool
}

// applicationSQL are the columns of an Application, and its roles, where %s is its id, which may be NULL.
const applicationSQL = `
       COALESCE(a.id, ''), COALESCE(a.name, ''), COALESCE(a.unrestricted, false),
       ARRAY(SELECT r.role FROM application_credential_roles r WHERE r.application_credential_id = %s)`

// limited are the roles of a user, as they are now, that an application credential lets through.
func (a Application) limited(users, own []string) []string {
	if a.ID == "" {
		return users
	}
	has := append(auth.Implied(users), users...)
	return slices.DeleteFunc(own, func(role string) bool { return !slices.Contains(has, role) })
}
