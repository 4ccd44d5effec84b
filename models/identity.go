package models

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Project owns everything a user makes (Keystone's project).
type Project struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	DomainID    string // always "default" for now
	Description string
	Enabled     bool
	CreatedAt   time.Time
}

// User is a person or a program with a password (Keystone's user).
type User struct {
	ID           string `gorm:"primaryKey"`
	Name         string
	DomainID     string
	PasswordHash string // bcrypt
	Enabled      bool
	CreatedAt    time.Time
}

// RoleAssignment gives a user a role on a project: admin, member or reader.
type RoleAssignment struct {
	UserID    string `gorm:"primaryKey"`
	ProjectID string `gorm:"primaryKey"`
	Role      string `gorm:"primaryKey"`
}

// Token is an issued credential. Only its hash is kept.
type Token struct {
	Hash      []byte `gorm:"primaryKey"` // SHA-256 of the token
	AuditID   string
	UserID    string
	ProjectID string // "" for an unscoped token
	Methods   string // comma separated: password, token
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// TokenInfo is a token with what it stands for.
type TokenInfo struct {
	Token   Token
	User    User
	Project *Project // nil for an unscoped token
	Roles   []string
}

// EnsureProject returns the project of that domain and name, making it if it is not there.
func (s *Store) EnsureProject(ctx context.Context, p Project) (Project, error) {
	if p.CreatedAt.IsZero() {
		p.CreatedAt = now()
	}
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "domain_id"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"name"}), // nothing changes, but the row is returned
	}, clause.Returning{}).Create(&p).Error
	if violates(err, "projects_pkey") {
		return Project{}, fault.New(fault.Conflict, "Conflict occurred attempting to store project - Duplicate ID, %s.", p.ID)
	}
	return p, failed(err, "ensure project %s", p.Name)
}

// EnsureUser returns the user of that domain and name, making it if it is not there and replacing a different password hash.
func (s *Store) EnsureUser(ctx context.Context, u User) (User, error) {
	if u.CreatedAt.IsZero() {
		u.CreatedAt = now()
	}
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "domain_id"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"password_hash"}),
	}, clause.Returning{}).Create(&u).Error
	if violates(err, "users_pkey") {
		return User{}, fault.New(fault.Conflict, "Conflict occurred attempting to store user - Duplicate ID, %s.", u.ID)
	}
	return u, failed(err, "ensure user %s", u.Name)
}

// EnsureRole gives the user the role on the project; again is success.
func (s *Store) EnsureRole(ctx context.Context, userID, projectID, role string) error {
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).
		Create(&RoleAssignment{UserID: userID, ProjectID: projectID, Role: role}).Error
	switch {
	case violates(err, "role_assignments_user_id_fkey"):
		return noUser(userID)
	case violates(err, "role_assignments_project_id_fkey"):
		return noProject(projectID)
	case violates(err, "role_assignments_role_check"):
		return fault.New(fault.NotFound, "Could not find role: %s.", role)
	}
	return failed(err, "give user %s the role %s on project %s", userID, role, projectID)
}

// The texts are Keystone's.
func noUser(id string) error    { return fault.New(fault.NotFound, "Could not find user: %s.", id) }
func noProject(id string) error { return fault.New(fault.NotFound, "Could not find project: %s.", id) }

// User by id.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	var u User
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&u).Error
	if isAbsent(err) {
		return u, noUser(id)
	}
	return u, failed(err, "read user %s", id)
}

// UserByName within a domain.
func (s *Store) UserByName(ctx context.Context, domainID, name string) (User, error) {
	var u User
	err := s.db.WithContext(ctx).Where("domain_id = ? AND name = ?", domainID, name).Take(&u).Error
	if isAbsent(err) {
		return u, noUser(name)
	}
	return u, failed(err, "read user %s", name)
}

// Project by id.
func (s *Store) Project(ctx context.Context, id string) (Project, error) {
	var p Project
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&p).Error
	if isAbsent(err) {
		return p, noProject(id)
	}
	return p, failed(err, "read project %s", id)
}

// ProjectByName within a domain.
func (s *Store) ProjectByName(ctx context.Context, domainID, name string) (Project, error) {
	var p Project
	err := s.db.WithContext(ctx).Where("domain_id = ? AND name = ?", domainID, name).Take(&p).Error
	if isAbsent(err) {
		return p, noProject(name)
	}
	return p, failed(err, "read project %s", name)
}

// ProjectsOf lists the projects on which the user has a role, by name.
func (s *Store) ProjectsOf(ctx context.Context, userID string) ([]Project, error) {
	var all []Project
	err := s.db.WithContext(ctx).Where("id IN (SELECT project_id FROM role_assignments WHERE user_id = ?)", userID).
		Order("name, id").Find(&all).Error
	return all, failed(err, "list the projects of user %s", userID)
}

// Roles of a user on a project, sorted; empty when there are none.
func (s *Store) Roles(ctx context.Context, userID, projectID string) ([]string, error) {
	roles := []string{}
	err := s.db.WithContext(ctx).Model(&RoleAssignment{}).Where("user_id = ? AND project_id = ?", userID, projectID).
		Order("role").Pluck("role", &roles).Error
	return roles, failed(err, "read the roles of user %s on project %s", userID, projectID)
}

// ListProjects lists all, by name.
func (s *Store) ListProjects(ctx context.Context) ([]Project, error) {
	var all []Project
	return all, failed(s.db.WithContext(ctx).Order("name, id").Find(&all).Error, "list the projects")
}

// ListUsers lists all, by name.
func (s *Store) ListUsers(ctx context.Context) ([]User, error) {
	var all []User
	return all, failed(s.db.WithContext(ctx).Order("name, id").Find(&all).Error, "list the users")
}

// CreateToken records an issued token.
func (s *Store) CreateToken(ctx context.Context, t Token) error {
	err := s.exec(ctx, `INSERT INTO tokens (hash, audit_id, user_id, project_id, methods, issued_at, expires_at)
		VALUES (@hash, @audit_id, @user_id, NULLIF(@project_id, ''), @methods, @issued_at, @expires_at)`,
		named{
			"hash": t.Hash, "audit_id": t.AuditID, "user_id": t.UserID, "project_id": t.ProjectID, "methods": t.Methods,
			"issued_at": t.IssuedAt, "expires_at": t.ExpiresAt,
		})
	switch {
	case violates(err, "tokens_user_id_fkey"):
		return noUser(t.UserID)
	case violates(err, "tokens_project_id_fkey"):
		return noProject(t.ProjectID)
	}
	return failed(err, "record a token of user %s", t.UserID)
}

// Every request asks this once.
const tokenSQL = `
SELECT t.hash, t.audit_id, t.user_id, COALESCE(t.project_id, ''), t.methods, t.issued_at, t.expires_at,
       u.id, u.name, u.domain_id, u.password_hash, u.enabled, u.created_at,
       COALESCE(p.id, ''), COALESCE(p.name, ''), COALESCE(p.domain_id, ''), COALESCE(p.description, ''),
       COALESCE(p.enabled, false), COALESCE(p.created_at, t.issued_at),
       ARRAY(SELECT r.role FROM role_assignments r WHERE r.user_id = t.user_id AND r.project_id = t.project_id ORDER BY r.role)
FROM tokens t
JOIN users u ON u.id = t.user_id AND u.enabled
LEFT JOIN projects p ON p.id = t.project_id
WHERE t.hash = $1 AND t.expires_at > $2 AND (t.project_id IS NULL OR p.enabled)`

// Token finds a live token and what it stands for in one query. NotFound when it is absent or expired, its user or project
// is disabled, or it is scoped to a project on which the user has no role any more.
func (s *Store) Token(ctx context.Context, hash []byte, now time.Time) (TokenInfo, error) {
	var (
		i TokenInfo
		p Project
	)
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, tokenSQL, hash, now).Scan(
			&i.Token.Hash, &i.Token.AuditID, &i.Token.UserID, &i.Token.ProjectID, &i.Token.Methods, &i.Token.IssuedAt, &i.Token.ExpiresAt,
			&i.User.ID, &i.User.Name, &i.User.DomainID, &i.User.PasswordHash, &i.User.Enabled, &i.User.CreatedAt,
			&p.ID, &p.Name, &p.DomainID, &p.Description, &p.Enabled, &p.CreatedAt, &i.Roles)
	})
	scoped := i.Token.ProjectID != ""
	if errors.Is(err, pgx.ErrNoRows) || err == nil && scoped && len(i.Roles) == 0 {
		return TokenInfo{}, fault.New(fault.NotFound, "Could not find token.")
	}
	if err != nil {
		return TokenInfo{}, failed(err, "read a token")
	}
	if scoped {
		i.Project = &p
	}
	return i, nil
}

// DeleteToken revokes; an absent token is success.
func (s *Store) DeleteToken(ctx context.Context, hash []byte) error {
	return failed(s.db.WithContext(ctx).Where("hash = ?", hash).Delete(&Token{}).Error, "revoke a token")
}

// PurgeTokens deletes those that expired before the time and says how many.
func (s *Store) PurgeTokens(ctx context.Context, before time.Time) (int64, error) {
	d := s.db.WithContext(ctx).Where("expires_at < ?", before).Delete(&Token{})
	return d.RowsAffected, failed(d.Error, "purge expired tokens")
}
