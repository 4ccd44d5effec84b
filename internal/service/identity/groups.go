package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func domainOfGroup(g models.Group) string { return g.DomainID }

// Groups lists them.
func (r *Repository) Groups(ctx context.Context, f models.IdentityFilter) ([]models.Group, error) {
	f, err := r.within("list_groups", f)
	if err != nil {
		return nil, err
	}
	return r.store.ListGroups(ctx, f)
}

// Group by id.
func (r *Repository) Group(ctx context.Context, id string) (models.Group, error) {
	return r.groupFor(ctx, reads, "get_group", id)
}

func (r *Repository) groupFor(ctx context.Context, has right, rule, id string) (models.Group, error) {
	g, err := r.store.Group(ctx, id)
	return judged(r, has, rule, domainOfGroup, g, err)
}

// CreateGroup makes one.
func (r *Repository) CreateGroup(ctx context.Context, g models.Group) (models.Group, error) {
	g.DomainID = r.domainOr(g.DomainID)
	if err := r.may(writes, "create_group", g.DomainID); err != nil {
		return g, err
	}
	g.ID, g.CreatedAt = newID(), time.Now().UTC()
	return g, r.store.CreateGroup(ctx, g)
}

// keptGroup is a group that the caller may change, and say who is in it. One that makes admins elsewhere than in its domain is not
// the domain's admin's to change.
func (r *Repository) keptGroup(ctx context.Context, rule, id string) (models.Group, error) {
	g, err := r.groupFor(ctx, writes, rule, id)
	if err != nil || r.caller.Admin() {
		return g, err
	}
	above, err := r.store.MakesAdminsElsewhere(ctx, g, r.service.above)
	if err == nil && above {
		err = forbidden(rule)
	}
	return g, err
}

// UpdateGroup changes one; domainID is nil, or the one that it has.
func (r *Repository) UpdateGroup(ctx context.Context, id string, domainID *string, p models.GroupPatch) (models.Group, error) {
	g, err := r.keptGroup(ctx, "update_group", id)
	if err != nil {
		return g, err
	}
	if err := stays(domainID, g.DomainID); err != nil {
		return g, err
	}
	return r.store.UpdateGroup(ctx, id, p)
}

// DeleteGroup deletes one.
func (r *Repository) DeleteGroup(ctx context.Context, id string) error {
	if _, err := r.keptGroup(ctx, "delete_group", id); err != nil {
		return err
	}
	return r.store.DeleteGroup(ctx, id)
}

// Members lists a group's users.
func (r *Repository) Members(ctx context.Context, id string, f models.IdentityFilter) ([]models.User, error) {
	if _, err := r.groupFor(ctx, reads, "list_users_in_group", id); err != nil {
		return nil, err
	}
	f.GroupID = id
	return r.store.ListUsers(ctx, f)
}

// membership is a user's whom the caller may put into the group, or take out of it.
func (r *Repository) membership(ctx context.Context, rule, groupID, userID string) error {
	if _, err := r.keptGroup(ctx, rule, groupID); err != nil {
		return err
	}
	u, err := r.store.User(ctx, userID)
	_, err = judged(r, writes, rule, domainOfUser, u, err)
	return err
}

func noMember(groupID, userID string) error {
	return fault.New(fault.NotFound, "User %s is not found in group %s.", userID, groupID)
}

// Join puts a user into a group; again is success.
func (r *Repository) Join(ctx context.Context, groupID, userID string) error {
	if err := r.membership(ctx, "add_user_to_group", groupID, userID); err != nil {
		return err
	}
	return r.store.JoinGroup(ctx, groupID, userID)
}

// IsMember is NotFound where the user is not in the group.
func (r *Repository) IsMember(ctx context.Context, groupID, userID string) error {
	const rule = "check_user_in_group"
	if _, err := r.groupFor(ctx, reads, rule, groupID); err != nil {
		return err
	}
	u, err := r.store.User(ctx, userID)
	if _, err := judged(r, reads, rule, domainOfUser, u, err); err != nil {
		return err
	}
	in, err := r.store.InGroup(ctx, groupID, userID)
	if err == nil && !in {
		return noMember(groupID, userID)
	}
	return err
}

// Leave takes a user out of a group; NotFound where it is not in it.
func (r *Repository) Leave(ctx context.Context, groupID, userID string) error {
	if err := r.membership(ctx, "remove_user_from_group", groupID, userID); err != nil {
		return err
	}
	was, err := r.store.LeaveGroup(ctx, groupID, userID)
	if err == nil && !was {
		return noMember(groupID, userID)
	}
	return err
}
