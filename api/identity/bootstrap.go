package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// BootstrapOptions is who exists from the beginning.
type BootstrapOptions struct {
	Projects []string
	Users    []BootstrapUser
}

// BootstrapUser is a user with its roles: project name to role.
type BootstrapUser struct {
	Name     string
	Password string
	Roles    map[string]string
}

// DefaultBootstrap is the projects admin and demo, the user admin (admin on both), and, where a password is given, the
// user demo (member of demo).
func DefaultBootstrap(adminPassword, demoPassword string) BootstrapOptions {
	o := BootstrapOptions{
		Projects: []string{"admin", "demo"},
		Users: []BootstrapUser{
			{Name: "admin", Password: adminPassword, Roles: map[string]string{"admin": auth.RoleAdmin, "demo": auth.RoleAdmin}},
		},
	}
	if demoPassword != "" {
		o.Users = append(o.Users, BootstrapUser{Name: "demo", Password: demoPassword, Roles: map[string]string{"demo": auth.RoleMember}})
	}
	return o
}

// Bootstrap makes what of it is missing, and gives users whose password is another one the password of the options. Any
// number of processes may call it at once, and at every start.
func Bootstrap(ctx context.Context, store *models.Store, o BootstrapOptions) error {
	ids := map[string]string{}
	for _, name := range o.Projects {
		p, err := store.EnsureProject(ctx, models.Project{
			ID: newID(), Name: name, DomainID: DomainID, Enabled: true, CreatedAt: time.Now().UTC(),
		})
		if err != nil {
			return fmt.Errorf("bootstrap project %s: %w", name, err)
		}
		ids[name] = p.ID
	}
	for _, u := range o.Users {
		if u.Password == "" {
			return fmt.Errorf("bootstrap user %s: it has no password", u.Name)
		}
		known, err := ensureUser(ctx, store, u)
		if err != nil {
			return fmt.Errorf("bootstrap user %s: %w", u.Name, err)
		}
		for project, role := range u.Roles {
			id, ok := ids[project]
			if !ok {
				return fmt.Errorf("bootstrap user %s: its project %s is not among the projects", u.Name, project)
			}
			if err := store.EnsureRole(ctx, known.ID, id, role); err != nil {
				return fmt.Errorf("bootstrap role %s of user %s on project %s: %w", role, u.Name, project, err)
			}
		}
	}
	return nil
}

func ensureUser(ctx context.Context, store *models.Store, u BootstrapUser) (models.User, error) {
	known, err := store.UserByName(ctx, DomainID, u.Name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return known, err
	}
	// The same password never hashes to the same text, so compare before replacing.
	if err == nil && auth.CheckPassword(known.PasswordHash, u.Password) {
		return known, nil
	}
	hash, err := auth.HashPassword(u.Password)
	if err != nil {
		return known, err
	}
	return store.EnsureUser(ctx, models.User{
		ID: newID(), Name: u.Name, DomainID: DomainID, PasswordHash: hash, Enabled: true, CreatedAt: time.Now().UTC(),
	})
}

// newID is an id as Keystone makes them: a UUID without dashes.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
