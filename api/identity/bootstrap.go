package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
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
	System   string // the role on the system
}

// DefaultBootstrap is the projects admin and demo, the user demo (member of demo) where a password is given, and the user admin
// (admin on both and on the system).
func DefaultBootstrap(adminPassword, demoPassword string) BootstrapOptions {
	o := BootstrapOptions{Projects: []string{"admin", "demo"}}
	if demoPassword != "" {
		o.Users = append(o.Users, BootstrapUser{Name: "demo", Password: demoPassword, Roles: map[string]string{"demo": auth.RoleMember}})
	}
	o.Users = append(o.Users, BootstrapUser{
		Name: "admin", Password: adminPassword, Roles: map[string]string{"admin": auth.RoleAdmin, "demo": auth.RoleAdmin}, System: auth.RoleAdmin,
	})
	return o
}

// Bootstrap makes who is there from the beginning, until somebody is an admin: from then on who there is is the admins' to say.
// The last of its users is that admin, so that one that died on the way goes on. Any number of processes may call it at once,
// and at every start.
func Bootstrap(ctx context.Context, store *models.Store, o BootstrapOptions) error {
	if done, err := store.HasAdmin(ctx); err != nil || done {
		return err
	}
	ids := map[string]string{}
	for _, name := range o.Projects {
		p, err := store.EnsureProject(ctx, models.Project{
			ID: newID(), Name: name, DomainID: models.DefaultDomain, Enabled: true, CreatedAt: time.Now().UTC(),
		})
		if err != nil {
			return fmt.Errorf("bootstrap project %s: %w", name, err)
		}
		ids[name] = p.ID
	}
	for _, u := range o.Users {
		if err := bootstrapUser(ctx, store, u, ids); err != nil {
			return fmt.Errorf("bootstrap user %s: %w", u.Name, err)
		}
	}
	return nil
}

func bootstrapUser(ctx context.Context, store *models.Store, u BootstrapUser, projects map[string]string) error {
	if u.Password == "" {
		return errors.New("it has no password")
	}
	for project := range u.Roles {
		if projects[project] == "" {
			return fmt.Errorf("its project %s is not among the projects", project)
		}
	}
	hash, err := auth.HashPassword(u.Password)
	if err != nil {
		return err
	}
	known, err := store.EnsureUser(ctx, models.User{
		ID: newID(), Name: u.Name, DomainID: models.DefaultDomain, PasswordHash: hash, Enabled: true, CreatedAt: time.Now().UTC(),
	})
	if err != nil {
		return err
	}
	for project, role := range u.Roles {
		if err := store.EnsureRole(ctx, known.ID, projects[project], role); err != nil {
			return fmt.Errorf("role %s on project %s: %w", role, project, err)
		}
	}
	if u.System == "" {
		return nil
	}
	return store.EnsureGrant(ctx, models.Grant{Role: u.System, UserID: &known.ID})
}

// newID is an id as Keystone makes them: a UUID without dashes.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
