package models

import (
	"context"
	"time"
)

// EnsureProject returns the project of that domain and name, making it if it is not there.
func (s *Store) EnsureProject(ctx context.Context, p Project) (Project, error) {
	return Project{}, errPending
}

// EnsureUser returns the user of that domain and name, making it if it is not there and replacing a different password hash.
func (s *Store) EnsureUser(ctx context.Context, u User) (User, error) { return User{}, errPending }

// EnsureRole gives the user the role on the project; again is success.
func (s *Store) EnsureRole(ctx context.Context, userID, projectID, role string) error {
	return errPending
}

// User by id.
func (s *Store) User(ctx context.Context, id string) (User, error) { return User{}, errPending }

// UserByName within a domain.
func (s *Store) UserByName(ctx context.Context, domainID, name string) (User, error) {
	return User{}, errPending
}

// Project by id.
func (s *Store) Project(ctx context.Context, id string) (Project, error) {
	return Project{}, errPending
}

// ProjectByName within a domain.
func (s *Store) ProjectByName(ctx context.Context, domainID, name string) (Project, error) {
	return Project{}, errPending
}

// ProjectsOf lists the projects on which the user has a role, by name.
func (s *Store) ProjectsOf(ctx context.Context, userID string) ([]Project, error) {
	return nil, errPending
}

// Roles of a user on a project, sorted; empty when there are none.
func (s *Store) Roles(ctx context.Context, userID, projectID string) ([]string, error) {
	return nil, errPending
}

// ListProjects lists all, by name.
func (s *Store) ListProjects(ctx context.Context) ([]Project, error) { return nil, errPending }

// ListUsers lists all, by name.
func (s *Store) ListUsers(ctx context.Context) ([]User, error) { return nil, errPending }

// CreateToken records an issued token.
func (s *Store) CreateToken(ctx context.Context, t Token) error { return errPending }

// Token finds a live token and what it stands for in one query. NotFound when it is absent or expired, its user or project
// is disabled, or it is scoped to a project on which the user has no role any more.
func (s *Store) Token(ctx context.Context, hash []byte, now time.Time) (TokenInfo, error) {
	return TokenInfo{}, errPending
}

// DeleteToken revokes; an absent token is success.
func (s *Store) DeleteToken(ctx context.Context, hash []byte) error { return errPending }

// PurgeTokens deletes those that expired before the time and says how many.
func (s *Store) PurgeTokens(ctx context.Context, before time.Time) (int64, error) {
	return 0, errPending
}
