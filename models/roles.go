package models

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Role is a name that users and groups are given (Keystone's role). What admin, member and reader may is the policy's; what others
// may, an operator's rules.
type Role struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	Description *string
	Extra       Extra `gorm:"serializer:json"`
	CreatedAt   time.Time
}

// RolePatch is what changes of a role; nil leaves it.
type RolePatch struct {
	Name, Description *string
	Extra             Extra
}

// CreateRole records one; Conflict where another has its name.
func (s *Store) CreateRole(ctx context.Context, r Role) error {
	err := s.db.WithContext(ctx).Create(&r).Error
	if violates(err, "roles_name_key") {
		return duplicate("role", r.Name)
	}
	return failed(err, "create role %s", r.Name)
}

// Role by id.
func (s *Store) Role(ctx context.Context, id string) (Role, error) {
	return found[Role](ctx, s, noRole(id), "id = ?", id)
}

// ListRoles lists them by name.
func (s *Store) ListRoles(ctx context.Context, f IdentityFilter) ([]Role, error) {
	all, err := listed[Role](ctx, s, f)
	return all, failed(err, "list the roles")
}

// RolesNamed are those of the names.
func (s *Store) RolesNamed(ctx context.Context, names []string) ([]Role, error) {
	var all []Role
	err := s.db.WithContext(ctx).Where("name = ANY(?)", texts(names)).Find(&all).Error
	return all, failed(err, "read %d roles", len(names))
}

// UpdateRole changes one.
func (s *Store) UpdateRole(ctx context.Context, id string, p RolePatch) (Role, error) {
	var r Role
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		r, err = revised[Role](tx, id, columns{"name": p.Name, "description": p.Description, "extra": p.Extra}.set(), noRole(id))
		return err
	})
	if violates(err, "roles_name_key") {
		return r, duplicate("role", *p.Name)
	}
	return r, failed(err, "change role %s", id)
}

// DeleteRole deletes one, wherever it was given, and ends the application credentials that have it.
func (s *Store) DeleteRole(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`DELETE FROM application_credentials WHERE id IN (
			SELECT a.application_credential_id FROM application_credential_roles a JOIN roles r ON r.name = a.role WHERE r.id = ?)`, id).Error; err != nil {
			return err
		}
		d := tx.Where("id = ?", id).Delete(&Role{})
		if d.Error == nil && d.RowsAffected == 0 {
			return noRole(id)
		}
		return d.Error
	})
	return failed(err, "delete role %s", id)
}
