package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/models"
)

// Recover makes a user of the default domain an admin of the project admin and of the system, with that password. It is for
// whoever holds the database, where no admin can log in any more; again is success.
func (s *Service) Recover(ctx context.Context, name, password string) error {
	hash, err := hashed(password)
	if err != nil {
		return err
	}
	at := time.Now().UTC()
	u, err := s.store.EnsureUser(ctx, models.User{ID: newID(), Name: name, DomainID: models.DefaultDomain, PasswordHash: hash, Enabled: true, CreatedAt: at})
	if err != nil {
		return err
	}
	p, err := s.store.EnsureProject(ctx, models.Project{ID: newID(), Name: "admin", DomainID: models.DefaultDomain, Enabled: true, CreatedAt: at})
	if err != nil {
		return err
	}
	if _, err := s.store.UpdateUser(ctx, u.ID, models.UserPatch{PasswordHash: &hash, Enabled: new(true)}); err != nil {
		return err
	}
	if _, err := s.store.UpdateProject(ctx, p.ID, models.ProjectPatch{Enabled: new(true)}); err != nil {
		return err
	}
	if err := s.store.EnsureRole(ctx, u.ID, p.ID, auth.RoleAdmin); err != nil {
		return err
	}
	return s.store.EnsureGrant(ctx, models.Grant{Role: auth.RoleAdmin, UserID: &u.ID})
}
