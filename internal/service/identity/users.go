package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func domainOfUser(u models.User) string { return u.DomainID }

// Users lists them.
func (r *Repository) Users(ctx context.Context, f models.IdentityFilter) ([]models.User, error) {
	f, err := r.within("list_users", f)
	if err != nil {
		return nil, err
	}
	return r.store.ListUsers(ctx, f)
}

// User by id; everybody sees itself.
func (r *Repository) User(ctx context.Context, id string) (models.User, error) {
	return r.userFor(ctx, reads, "get_user", id)
}

func (r *Repository) userFor(ctx context.Context, has right, rule, id string) (models.User, error) {
	u, err := r.store.User(ctx, id)
	if err == nil && id == r.caller.UserID {
		return u, nil
	}
	return judged(r, has, rule, domainOfUser, u, err)
}

// NewUser is a user to be made; Password "" is none, with which nobody logs in.
type NewUser struct {
	models.User
	Password string
}

// hashed is what is kept of a password.
func hashed(password string) (string, error) {
	if password == "" {
		return "", nil
	}
	hash, err := auth.HashPassword(password)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "Invalid input for field 'password': %s.", err)
	}
	return hash, nil
}

// CreateUser makes one.
func (r *Repository) CreateUser(ctx context.Context, n NewUser) (models.User, error) {
	u := n.User
	u.DomainID = r.domainOr(u.DomainID)
	if err := r.may(writes, "create_user", u.DomainID); err != nil {
		return u, err
	}
	var err error
	if u.PasswordHash, err = hashed(n.Password); err != nil {
		return u, err
	}
	u.ID, u.CreatedAt = newID(), time.Now().UTC()
	return u, r.store.CreateUser(ctx, u)
}

// keptUser is a user whom the caller may change. An admin everywhere else than in the caller's domain is not the domain's admin's to
// change: who sets somebody's password is that one.
func (r *Repository) keptUser(ctx context.Context, rule, id string) (models.User, error) {
	u, err := r.store.User(ctx, id)
	if u, err = judged(r, writes, rule, domainOfUser, u, err); err != nil || r.caller.Admin() {
		return u, err
	}
	above, err := r.store.IsAdminElsewhere(ctx, u, r.service.above)
	if err == nil && above {
		err = forbidden(rule)
	}
	return u, err
}

// UserChange is what changes of a user; nil leaves it.
type UserChange struct {
	models.UserPatch
	Password, DomainID *string // DomainID is the one that it has
}

// UpdateUser changes one.
func (r *Repository) UpdateUser(ctx context.Context, id string, change UserChange) (models.User, error) {
	u, err := r.keptUser(ctx, "update_user", id)
	if err != nil {
		return u, err
	}
	if err := stays(change.DomainID, u.DomainID); err != nil {
		return u, err
	}
	p := change.UserPatch
	if change.Password != nil {
		hash, err := hashed(*change.Password)
		if err != nil {
			return u, err
		}
		p.PasswordHash = &hash
	}
	return r.store.UpdateUser(ctx, id, p)
}

// ChangePassword sets the password of a user whose own was checked, and ends its tokens.
func (s *Service) ChangePassword(ctx context.Context, id, password string) error {
	hash, err := hashed(password)
	if err != nil {
		return err
	}
	_, err = s.store.UpdateUser(ctx, id, models.UserPatch{PasswordHash: &hash})
	return err
}

// DeleteUser deletes one.
func (r *Repository) DeleteUser(ctx context.Context, id string) error {
	if _, err := r.keptUser(ctx, "delete_user", id); err != nil {
		return err
	}
	return r.store.DeleteUser(ctx, id)
}

// RevokeTokens ends all of a user's tokens, and says how many: its own does everybody, and others' who may change the user.
func (r *Repository) RevokeTokens(ctx context.Context, id string) (int64, error) {
	const rule = "revoke_tokens"
	if id == r.caller.UserID {
		if err := r.unrestricted(rule); err != nil {
			return 0, err
		}
	} else if _, err := r.keptUser(ctx, rule, id); err != nil {
		return 0, err
	}
	return r.store.DeleteTokensOf(ctx, id)
}

// ProjectsOf lists the projects on which a user has a role.
func (r *Repository) ProjectsOf(ctx context.Context, id string, f models.IdentityFilter) ([]models.Project, error) {
	if _, err := r.userFor(ctx, reads, "list_user_projects", id); err != nil {
		return nil, err
	}
	f.UserID = id
	return r.store.ListProjects(ctx, f)
}

// GroupsOf lists the groups that a user is in.
func (r *Repository) GroupsOf(ctx context.Context, id string, f models.IdentityFilter) ([]models.Group, error) {
	if _, err := r.userFor(ctx, reads, "list_groups_for_user", id); err != nil {
		return nil, err
	}
	f.UserID = id
	return r.store.ListGroups(ctx, f)
}

// OwnDomains lists the domains on which the caller has a role.
func (r *Repository) OwnDomains(ctx context.Context, f models.IdentityFilter) ([]models.Domain, error) {
	f.UserID = r.caller.UserID
	return r.store.ListDomains(ctx, f)
}

// OnSystem says whether the caller has a role on the system.
func (r *Repository) OnSystem(ctx context.Context) (bool, error) {
	roles, err := r.store.Roles(ctx, r.caller.UserID, models.Scope{System: true})
	return len(roles) > 0, err
}
