package identity

import (
	"cmp"
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Given is a role of an actor on a target, by their ids: a user or a group; a project, a domain, or the system where it names
// neither. Inherited is a domain's for its projects; a project's holds below it, where there is nothing.
type Given struct {
	RoleID, UserID, GroupID, ProjectID, DomainID string
	Inherited                                    bool
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// resolved is the grant of those ids, where all of them are and the caller has the right to actor and target.
func (r *Repository) resolved(ctx context.Context, has right, rule string, g Given) (models.Grant, error) {
	grant := models.Grant{
		UserID: optional(g.UserID), GroupID: optional(g.GroupID), ProjectID: optional(g.ProjectID), DomainID: optional(g.DomainID), Inherited: g.Inherited,
	}
	if err := r.target(ctx, has, rule, g); err != nil {
		return grant, err
	}
	if err := r.actor(ctx, has, rule, g); err != nil {
		return grant, err
	}
	if g.RoleID == "" {
		return grant, nil
	}
	role, err := r.store.Role(ctx, g.RoleID)
	grant.Role = role.Name
	return grant, err
}

func (r *Repository) target(ctx context.Context, has right, rule string, g Given) error {
	switch {
	case g.ProjectID != "":
		p, err := r.store.Project(ctx, g.ProjectID)
		_, err = judged(r, has, rule, domainOfProject, p, err)
		return err
	case g.DomainID != "":
		d, err := r.store.Domain(ctx, g.DomainID)
		_, err = judged(r, has, rule, func(d models.Domain) string { return d.ID }, d, err)
		return err
	}
	return r.may(has, rule, "")
}

func (r *Repository) actor(ctx context.Context, has right, rule string, g Given) error {
	if g.UserID != "" {
		u, err := r.store.User(ctx, g.UserID)
		_, err = judged(r, has, rule, domainOfUser, u, err)
		return err
	}
	_, err := r.groupFor(ctx, has, rule, g.GroupID)
	return err
}

// Grant gives a role; again is success.
func (r *Repository) Grant(ctx context.Context, g Given) error {
	grant, err := r.disposable(ctx, "create_grant", g)
	if err != nil {
		return err
	}
	return r.store.EnsureGrant(ctx, grant)
}

// disposable is a grant that the caller may give and take away. A domain's admin makes nobody an admin beyond its domain, and takes
// that from nobody: who is one on a project may change everything. So it is with roles to which an operator's rules lend an admin's.
func (r *Repository) disposable(ctx context.Context, rule string, g Given) (models.Grant, error) {
	grant, err := r.resolved(ctx, writes, rule, g)
	if err == nil && slices.Contains(r.service.above, grant.Role) && (grant.DomainID == nil || grant.Inherited) && !r.caller.Admin() {
		err = forbidden(rule)
	}
	return grant, err
}

func noGrant(g Given) error {
	return fault.New(fault.NotFound, "Could not find role assignment with role: %s, user or group: %s, project, domain, or system: %s.",
		g.RoleID, cmp.Or(g.UserID, g.GroupID), cmp.Or(g.ProjectID, g.DomainID, "system"))
}

// IsGranted is NotFound where the role is not given exactly so.
func (r *Repository) IsGranted(ctx context.Context, g Given) error {
	roles, err := r.Granted(ctx, g)
	if err == nil && len(roles) == 0 {
		return noGrant(g)
	}
	return err
}

// Granted lists the roles that are given exactly so.
func (r *Repository) Granted(ctx context.Context, g Given) ([]models.Role, error) {
	grant, err := r.resolved(ctx, reads, "list_grants", g)
	if err != nil {
		return nil, err
	}
	return r.store.Granted(ctx, grant)
}

// Revoke takes a role away; NotFound where it is not given.
func (r *Repository) Revoke(ctx context.Context, g Given) error {
	grant, err := r.disposable(ctx, "revoke_grant", g)
	if err != nil {
		return err
	}
	was, err := r.store.DeleteGrant(ctx, grant)
	if err == nil && !was {
		return noGrant(g)
	}
	return err
}

// Assignments lists who has which role on what, to who reads the system, or what the filter names of its domain.
func (r *Repository) Assignments(ctx context.Context, f models.GrantFilter, roleID string) ([]models.Assignment, error) {
	domainID := f.DomainID
	if f.ProjectID != "" {
		p, err := r.store.Project(ctx, f.ProjectID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		domainID = p.DomainID
	}
	if err := r.may(reads, "list_role_assignments", domainID); err != nil {
		return nil, err
	}
	if roleID != "" {
		role, err := r.store.Role(ctx, roleID)
		if err != nil {
			return nil, err
		}
		f.Role = role.Name
	}
	return r.store.Assignments(ctx, f)
}
