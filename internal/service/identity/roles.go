package identity

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Roles lists them to everybody who has a token.
func (r *Repository) Roles(ctx context.Context, f models.IdentityFilter) ([]models.Role, error) {
	return r.store.ListRoles(ctx, f)
}

// Role by id.
func (r *Repository) Role(ctx context.Context, id string) (models.Role, error) {
	return r.store.Role(ctx, id)
}

// Fixed says whether a role is one of those that the policy knows, which nobody changes.
func Fixed(role models.Role) bool { return slices.Contains(auth.Roles(), role.Name) }

// CreateRole makes one. It means something to the policy where an operator's rules name it.
func (r *Repository) CreateRole(ctx context.Context, role models.Role) (models.Role, error) {
	if err := r.may(writes, "create_role", ""); err != nil {
		return role, err
	}
	role.ID, role.CreatedAt = newID(), time.Now().UTC()
	return role, r.store.CreateRole(ctx, role)
}

// changeable is a role that is not fixed.
func (r *Repository) changeable(ctx context.Context, rule, verb, id string) error {
	if err := r.may(writes, rule, ""); err != nil {
		return err
	}
	role, err := r.store.Role(ctx, id)
	if err == nil && Fixed(role) {
		return fault.New(fault.Forbidden, "Unable to %s immutable role resource: `%s. Set resource option \"immutable\" to false first.", verb, id)
	}
	return err
}

// UpdateRole changes one.
func (r *Repository) UpdateRole(ctx context.Context, id string, p models.RolePatch) (models.Role, error) {
	if err := r.changeable(ctx, "update_role", "update", id); err != nil {
		return models.Role{}, err
	}
	return r.store.UpdateRole(ctx, id, p)
}

// DeleteRole deletes one, wherever it was given.
func (r *Repository) DeleteRole(ctx context.Context, id string) error {
	if err := r.changeable(ctx, "delete_role", "delete", id); err != nil {
		return err
	}
	return r.store.DeleteRole(ctx, id)
}
