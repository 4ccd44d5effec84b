package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Domains lists all to who reads the system, and to others their own.
func (r *Repository) Domains(ctx context.Context, f models.IdentityFilter) ([]models.Domain, error) {
	if reads(r.caller, "") {
		return r.store.ListDomains(ctx, f)
	}
	own, err := r.ownDomain(ctx)
	if err != nil {
		return nil, err
	}
	f.Texts = append(f.Texts, models.TextFilter{Column: "id", Value: own})
	return r.store.ListDomains(ctx, f)
}

func (r *Repository) ownDomain(ctx context.Context) (string, error) {
	if r.caller.DomainID != "" {
		return r.caller.DomainID, nil
	}
	u, err := r.store.User(ctx, r.caller.UserID)
	return u.DomainID, err
}

// Domain by id. To others than who reads the system one that is not the own is as one that never was.
func (r *Repository) Domain(ctx context.Context, id string) (models.Domain, error) {
	if !reads(r.caller, "") {
		if own, err := r.ownDomain(ctx); err != nil {
			return models.Domain{}, err
		} else if own != id {
			return models.Domain{}, fault.New(fault.NotFound, "Could not find domain: %s.", id)
		}
	}
	return r.store.Domain(ctx, id)
}

// CreateDomain makes one.
func (r *Repository) CreateDomain(ctx context.Context, d models.Domain) (models.Domain, error) {
	if err := r.may(writes, "create_domain", ""); err != nil {
		return d, err
	}
	d.ID, d.CreatedAt = newID(), time.Now().UTC()
	return d, r.store.CreateDomain(ctx, d)
}

// UpdateDomain changes one.
func (r *Repository) UpdateDomain(ctx context.Context, id string, p models.DomainPatch) (models.Domain, error) {
	if err := r.may(writes, "update_domain", ""); err != nil {
		return models.Domain{}, err
	}
	if id == models.DefaultDomain && p.Enabled != nil && !*p.Enabled {
		return models.Domain{}, fault.New(fault.Forbidden, "The default domain cannot be disabled.")
	}
	return r.store.UpdateDomain(ctx, id, p)
}

// DeleteDomain deletes a disabled one with its users and groups; Conflict where a project of it owns something.
func (r *Repository) DeleteDomain(ctx context.Context, id string) error {
	if err := r.may(writes, "delete_domain", ""); err != nil {
		return err
	}
	return r.store.DeleteDomain(ctx, id)
}
