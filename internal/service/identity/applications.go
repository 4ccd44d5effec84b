package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// NewApplication is an application credential to be made. It is the caller's, for the project of the caller's token.
type NewApplication struct {
	Name         string
	Description  *string
	Secret       string   // "" has one generated
	Roles        []string // by name, which the token has; nil are all of them
	Unrestricted bool
	ExpiresAt    *time.Time
}

func domainless(models.User) string { return "" }

// MayMakeApplications refuses who cannot make any for a user: they are made by oneself, with a token for a project.
func (r *Repository) MayMakeApplications(userID string) error {
	const rule = "create_application_credential"
	if err := r.unrestricted(rule); err != nil {
		return err
	}
	if userID != r.caller.UserID {
		return forbidden(rule)
	}
	if r.caller.ProjectID == "" {
		return fault.New(fault.Forbidden, "This needs a token that is scoped to a project: an application credential is for that.")
	}
	return nil
}

// secretBytes of randomness are 43 characters: bcrypt looks at 72.
const secretBytes = 32

// CreateApplication makes one, and gives its secret, which nobody gets to see again.
func (r *Repository) CreateApplication(ctx context.Context, userID string, n NewApplication) (a models.ApplicationCredential, secret string, err error) {
	if err := r.MayMakeApplications(userID); err != nil {
		return a, "", err
	}
	at := time.Now().UTC()
	if n.ExpiresAt != nil && !n.ExpiresAt.After(at) {
		return a, "", fault.New(fault.Invalid, "Invalid input for field 'expires_at': it is in the past.")
	}
	roles, err := r.lend(n.Roles)
	if err != nil {
		return a, "", err
	}
	if secret = n.Secret; secret == "" {
		raw := make([]byte, secretBytes)
		rand.Read(raw) // never fails: crypto/rand ends the process instead
		secret = base64.RawURLEncoding.EncodeToString(raw)
	}
	hash, err := auth.HashPassword(secret)
	if err != nil {
		return a, "", fault.Wrap(fault.Invalid, err, "Invalid input for field 'secret': it may have at most 72 bytes.")
	}
	a = models.ApplicationCredential{
		ID: newID(), Name: n.Name, UserID: userID, ProjectID: r.caller.ProjectID, Description: n.Description, SecretHash: hash,
		Unrestricted: n.Unrestricted, ExpiresAt: n.ExpiresAt, CreatedAt: at, Roles: roles,
	}
	return a, secret, r.store.CreateApplicationCredential(ctx, a)
}

// lend is the roles that are asked for, or all that the token has. It has those that its roles include, too.
func (r *Repository) lend(asked []string) ([]string, error) {
	has := append(auth.Implied(r.caller.Roles), r.caller.Roles...)
	if len(asked) == 0 {
		asked = has
	}
	for _, role := range asked {
		if !slices.Contains(has, role) {
			return nil, fault.New(fault.Invalid, "Invalid application credential: Cannot create an application credential with unassigned role %s.", role)
		}
	}
	roles := slices.Clone(asked)
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

// RoleNames are the names of roles that are named by it or by their id.
func (r *Repository) RoleNames(ctx context.Context, refs []models.Named) ([]string, error) {
	var names []string
	for _, ref := range refs {
		if ref.ID == "" {
			names = append(names, ref.Name)
			continue
		}
		role, err := r.store.Role(ctx, ref.ID)
		if err != nil {
			return nil, err
		}
		names = append(names, role.Name)
	}
	return names, nil
}

// seesUser is a user whose application credentials the caller sees: the own, and to who reads the system everybody's.
func (r *Repository) seesUser(ctx context.Context, rule, id string) error {
	u, err := r.store.User(ctx, id)
	if err == nil && id == r.caller.UserID {
		return nil
	}
	_, err = judged(r, reads, rule, domainless, u, err)
	return err
}

// Applications lists those of a user, or the one of a name.
func (r *Repository) Applications(ctx context.Context, userID, name string) ([]models.ApplicationCredential, error) {
	if err := r.seesUser(ctx, "list_application_credentials", userID); err != nil {
		return nil, err
	}
	return r.store.ListApplicationCredentials(ctx, userID, name)
}

// Application is one of a user's.
func (r *Repository) Application(ctx context.Context, userID, id string) (models.ApplicationCredential, error) {
	if err := r.seesUser(ctx, "get_application_credential", userID); err != nil {
		return models.ApplicationCredential{}, err
	}
	return r.applicationOf(ctx, userID, id)
}

func (r *Repository) applicationOf(ctx context.Context, userID, id string) (models.ApplicationCredential, error) {
	a, err := r.store.ApplicationCredential(ctx, id)
	if err == nil && a.UserID != userID {
		return a, fault.New(fault.NotFound, "Could not find Application Credential: %s.", id)
	}
	return a, err
}

// DeleteApplication deletes one of a user's, which the user does, and an admin.
func (r *Repository) DeleteApplication(ctx context.Context, userID, id string) error {
	if err := r.Owns("delete_application_credential", userID); err != nil {
		return err
	}
	if _, err := r.applicationOf(ctx, userID, id); err != nil {
		return err
	}
	return r.store.DeleteApplicationCredential(ctx, id)
}

// AccessRules says whether the caller sees what access rules a user has: there are none, as no application credential is made with one.
func (r *Repository) AccessRules(ctx context.Context, userID string) error {
	return r.seesUser(ctx, "list_access_rules", userID)
}
