package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// User is a person or a program with a password (Keystone's user).
type User struct {
	ID               string `gorm:"primaryKey"`
	Name             string
	DomainID         string
	PasswordHash     string // bcrypt; "" lets nobody in
	Enabled          bool
	Description      string
	DefaultProjectID *string // that a login without a scope is for
	Extra            Extra   `gorm:"serializer:json"` // the e-mail address among it
	CreatedAt        time.Time
	DeletedAt        gorm.DeletedAt // what it made refers to it for ever
}

// UserPatch is what changes of a user; nil leaves it. "" as the default project takes that away.
type UserPatch struct {
	Name, Description, PasswordHash, DefaultProjectID *string
	Enabled                                           *bool
	Extra                                             Extra
}

// CreateUser records one; Conflict where another of its domain has its name, NotFound where the domain is none.
func (s *Store) CreateUser(ctx context.Context, u User) error {
	err := s.db.WithContext(ctx).Create(&u).Error
	switch {
	case violates(err, "users_name_key"):
		return duplicate("user", u.Name)
	case violates(err, "users_domain_id_fkey"):
		return noDomain(u.DomainID)
	}
	return failed(err, "create user %s", u.Name)
}

// EnsureUser returns the user of that domain and name, making it if it is not there.
func (s *Store) EnsureUser(ctx context.Context, u User) (User, error) {
	if u.CreatedAt.IsZero() {
		u.CreatedAt = now()
	}
	u.Extra = Extra{}
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "domain_id"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"name"}),
	}, clause.Returning{}).Create(&u).Error
	if violates(err, "users_pkey") {
		return User{}, fault.New(fault.Conflict, "Conflict occurred attempting to store user - Duplicate ID, %s.", u.ID)
	}
	return u, failed(err, "ensure user %s", u.Name)
}

// User by id.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	return found[User](ctx, s, noUser(id), "id = ?", id)
}

// UserByName within a domain.
func (s *Store) UserByName(ctx context.Context, domainID, name string) (User, error) {
	return found[User](ctx, s, noUser(name), "domain_id = ? AND name = ?", domainID, name)
}

// ListUsers lists them by name.
func (s *Store) ListUsers(ctx context.Context, f IdentityFilter) ([]User, error) {
	all, err := listed[User](ctx, s, f)
	return all, failed(err, "list the users")
}

// UpdateUser changes one. Another password ends its tokens, and so does disabling it.
func (s *Store) UpdateUser(ctx context.Context, id string, p UserPatch) (User, error) {
	var u User
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) (err error) {
		set := columns{
			"name": p.Name, "description": p.Description, "password_hash": p.PasswordHash, "enabled": p.Enabled, "extra": p.Extra,
		}.set()
		if project := p.DefaultProjectID; project != nil {
			set["default_project_id"] = gorm.Expr("NULLIF(?, '')", *project)
		}
		if u, err = revised[User](tx, id, set, noUser(id)); err != nil {
			return err
		}
		if p.PasswordHash != nil || !u.Enabled {
			return tx.Where("user_id = ?", id).Delete(&Token{}).Error
		}
		return nil
	})
	if violates(err, "users_name_key") {
		return u, duplicate("user", *p.Name)
	}
	return u, failed(err, "change user %s", id)
}

// RehashPassword sets another hash of the same password, where it has not been changed meanwhile. Tokens stay.
func (s *Store) RehashPassword(ctx context.Context, id, from, to string) error {
	u := s.db.WithContext(ctx).Model(&User{}).Where("id = ? AND password_hash = ?", id, from).Update("password_hash", to)
	return failed(u.Error, "hash the password of user %s anew", id)
}

// DeleteUser deletes one with its key pairs, credentials, tokens, roles and places in groups. What it made in projects is theirs.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error { return deleteUser(tx, id) })
	return failed(err, "delete user %s", id)
}

func deleteUser(tx *gorm.DB, id string) error {
	d := tx.Where("id = ?", id).Delete(&User{})
	if d.Error != nil {
		return d.Error
	}
	if d.RowsAffected == 0 {
		return noUser(id)
	}
	for _, what := range []string{
		"DELETE FROM grants WHERE user_id = ?", "DELETE FROM group_members WHERE user_id = ?", "DELETE FROM tokens WHERE user_id = ?",
		"DELETE FROM key_pairs WHERE user_id = ?", "DELETE FROM credentials WHERE user_id = ?",
		"DELETE FROM application_credentials WHERE user_id = ?",
		"UPDATE users SET name = " + nameOfDeleted + ", password_hash = '', enabled = false WHERE id = ?",
	} {
		if err := tx.Exec(what, id).Error; err != nil {
			return err
		}
	}
	return nil
}
