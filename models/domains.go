package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Domain is where users, groups and projects have their names (Keystone's domain).
type Domain struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	Description string
	Enabled     bool  // a disabled one disables its users and projects
	Extra       Extra `gorm:"serializer:json"`
	CreatedAt   time.Time
}

// DomainPatch is what changes of a domain; nil leaves it.
type DomainPatch struct {
	Name, Description *string
	Enabled           *bool
	Extra             Extra
}

// CreateDomain records one; Conflict where another has its name.
func (s *Store) CreateDomain(ctx context.Context, d Domain) error {
	err := s.db.WithContext(ctx).Create(&d).Error
	if violates(err, "domains_name_key") {
		return duplicate("domain", d.Name)
	}
	return failed(err, "create domain %s", d.Name)
}

// Domain by id.
func (s *Store) Domain(ctx context.Context, id string) (Domain, error) {
	return found[Domain](ctx, s, noDomain(id), "id = ?", id)
}

// DomainByName finds it whatever the case, as Keystone's usual database does.
func (s *Store) DomainByName(ctx context.Context, name string) (Domain, error) {
	return found[Domain](ctx, s, noDomain(name), "lower(name) = lower(?)", name)
}

// ListDomains lists them by name.
func (s *Store) ListDomains(ctx context.Context, f IdentityFilter) ([]Domain, error) {
	all, err := listed[Domain](ctx, s, f)
	return all, failed(err, "list the domains")
}

// UpdateDomain changes one. Who is in a disabled one is let in no more; its tokens count again with it.
func (s *Store) UpdateDomain(ctx context.Context, id string, p DomainPatch) (Domain, error) {
	var d Domain
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) (err error) {
		d, err = revised[Domain](tx, id, columns{"name": p.Name, "description": p.Description, "enabled": p.Enabled, "extra": p.Extra}.set(), noDomain(id))
		return err
	})
	if violates(err, "domains_name_key") {
		return d, duplicate("domain", *p.Name)
	}
	return d, failed(err, "change domain %s", id)
}

// DeleteDomain deletes a disabled domain with its users and groups, and its projects where these own nothing.
func (s *Store) DeleteDomain(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		var d Domain
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&d).Error; isAbsent(err) {
			return noDomain(id)
		} else if err != nil {
			return err
		}
		if d.Enabled {
			return fault.New(fault.Forbidden, "Cannot delete a domain that is enabled, please disable it first.")
		}
		for _, in := range []struct {
			of     any
			remove func(*gorm.DB, string) error
		}{{&Project{}, deleteProject}, {&User{}, deleteUser}} {
			var members []string
			if err := tx.Model(in.of).Where("domain_id = ?", id).Order("id").Pluck("id", &members).Error; err != nil {
				return err
			}
			for _, member := range members {
				if err := in.remove(tx, member); err != nil {
					return err
				}
			}
		}
		if err := tx.Where("domain_id = ?", id).Delete(&Group{}).Error; err != nil {
			return err
		}
		// What was deleted refers to its domain for ever.
		for _, of := range []any{&Project{}, &User{}} {
			if err := tx.Unscoped().Model(of).Where("domain_id = ?", id).Update("domain_id", DefaultDomain).Error; err != nil {
				return err
			}
		}
		if err := tx.Delete(&d).Error; err != nil {
			return err
		}
		return endUnfounded(tx)
	})
	return failed(err, "delete domain %s", id)
}
