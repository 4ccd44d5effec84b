package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Token is an issued credential. Only its hash is kept.
type Token struct {
	Hash      []byte `gorm:"primaryKey"` // SHA-256 of the token
	AuditID   string
	Chain     string // audit id of the first of the tokens that this one was bought with, one with the other; "" for that one
	Parent    []byte // hash of the token that this one was bought with, and dies with; nil for the first
	UserID    string
	Scope     Scope  `gorm:"embedded"`
	Methods   string // comma separated: password, token, application_credential
	IssuedAt  time.Time
	ExpiresAt time.Time

	ApplicationCredentialID string // that it was got with, and ends with; "" for none
}

// Named is an id with its name.
type Named struct{ ID, Name string }

// TokenInfo is a token with what it stands for. The parts that its scope has not are zero.
type TokenInfo struct {
	Token         Token
	User          Named
	UserDomain    Named
	Project       Named
	ProjectDomain Named
	Domain        Named
	Roles         []string
	Application   Application
}

// Caller is who asks with the token.
func (i TokenInfo) Caller() auth.Caller {
	scope := i.Token.Scope
	return auth.Caller{
		UserID: i.User.ID, ProjectID: scope.ProjectID, DomainID: scope.DomainID, System: scope.System, Roles: i.Roles,
		Application: i.Application.ID, Restricted: i.Application.ID != "" && !i.Application.Unrestricted,
	}
}

// CreateToken records an issued token.
func (s *Store) CreateToken(ctx context.Context, t Token) error {
	err := s.exec(ctx, `INSERT INTO tokens (hash, audit_id, chain, parent, user_id, project_id, domain_id, system, methods, issued_at, expires_at, application_credential_id)
		VALUES (@hash, @audit_id, @chain, @parent, @user_id, NULLIF(@project_id, ''), NULLIF(@domain_id, ''), @system, @methods, @issued_at, @expires_at,
			NULLIF(@application_credential_id, ''))`,
		named{
			"hash": t.Hash, "audit_id": t.AuditID, "chain": t.Chain, "parent": t.Parent, "user_id": t.UserID,
			"project_id": t.Scope.ProjectID, "domain_id": t.Scope.DomainID, "system": t.Scope.System,
			"methods": t.Methods, "issued_at": t.IssuedAt, "expires_at": t.ExpiresAt, "application_credential_id": t.ApplicationCredentialID,
		})
	switch {
	case violates(err, "tokens_user_id_fkey"):
		return noUser(t.UserID)
	case violates(err, "tokens_project_id_fkey"):
		return noProject(t.Scope.ProjectID)
	case violates(err, "tokens_domain_id_fkey"):
		return noDomain(t.Scope.DomainID)
	case violates(err, "tokens_parent_fkey"):
		return errNoToken
	case violates(err, "tokens_application_credential_id_fkey"):
		return noApplicationCredential(t.ApplicationCredentialID)
	}
	return failed(err, "record a token of user %s", t.UserID)
}

var errNoToken = fault.New(fault.NotFound, "Could not find token.") // never with the token in it

// Every request asks this once.
var tokenSQL = `
SELECT t.hash, t.audit_id, t.chain, t.parent, t.user_id, COALESCE(t.project_id, ''), COALESCE(t.domain_id, ''), t.system,
       t.methods, t.issued_at, t.expires_at, u.id, u.name, ud.id, ud.name,
       COALESCE(p.id, ''), COALESCE(p.name, ''), COALESCE(pd.id, ''), COALESCE(pd.name, ''), COALESCE(d.id, ''), COALESCE(d.name, ''),
       ARRAY(` + fmt.Sprintf(rolesSQL, "t.user_id", "t.project_id", "p.domain_id", "t.domain_id", "t.system") + `),` + fmt.Sprintf(applicationSQL, "t.application_credential_id") + `
FROM tokens t
JOIN users u ON u.id = t.user_id AND u.enabled AND u.deleted_at IS NULL
JOIN domains ud ON ud.id = u.domain_id AND ud.enabled
LEFT JOIN projects p ON p.id = t.project_id AND p.enabled AND p.deleted_at IS NULL
LEFT JOIN domains pd ON pd.id = p.domain_id AND pd.enabled
LEFT JOIN domains d ON d.id = t.domain_id AND d.enabled
LEFT JOIN application_credentials a ON a.id = t.application_credential_id
WHERE t.hash = $1 AND t.expires_at > $2 AND (t.project_id IS NULL OR pd.id IS NOT NULL) AND (t.domain_id IS NULL OR d.id IS NOT NULL)`

// Token finds a live token and what it stands for in one query. NotFound when it is absent or expired, its user, project or
// domain is disabled, or it is scoped to what the user has no role on any more.
func (s *Store) Token(ctx context.Context, hash []byte, now time.Time) (TokenInfo, error) {
	var i TokenInfo
	var limits []string
	t, a := &i.Token, &i.Application
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, tokenSQL, hash, now).Scan(
			&t.Hash, &t.AuditID, &t.Chain, &t.Parent, &t.UserID, &t.Scope.ProjectID, &t.Scope.DomainID, &t.Scope.System,
			&t.Methods, &t.IssuedAt, &t.ExpiresAt, &i.User.ID, &i.User.Name, &i.UserDomain.ID, &i.UserDomain.Name,
			&i.Project.ID, &i.Project.Name, &i.ProjectDomain.ID, &i.ProjectDomain.Name, &i.Domain.ID, &i.Domain.Name, &i.Roles,
			&a.ID, &a.Name, &a.Unrestricted, &limits)
	})
	i.Roles, t.ApplicationCredentialID = a.limited(i.Roles, limits), a.ID
	if errors.Is(err, pgx.ErrNoRows) || err == nil && t.Scope != (Scope{}) && len(i.Roles) == 0 {
		return TokenInfo{}, errNoToken
	}
	return i, failed(err, "read a token")
}

// DeleteToken revokes a token and those that were bought with it; an absent one is success.
func (s *Store) DeleteToken(ctx context.Context, hash []byte) error {
	return failed(s.db.WithContext(ctx).Where("hash = ?", hash).Delete(&Token{}).Error, "revoke a token")
}

// DeleteTokensOf revokes all of a user's, and says how many.
func (s *Store) DeleteTokensOf(ctx context.Context, userID string) (int64, error) {
	d := s.db.WithContext(ctx).Where("user_id = ?", userID).Delete(&Token{})
	return d.RowsAffected, failed(d.Error, "revoke the tokens of user %s", userID)
}

// PurgeTokens deletes those that expired before the time, of consoles too, and says how many.
func (s *Store) PurgeTokens(ctx context.Context, before time.Time) (int64, error) {
	var purged int64
	for _, table := range []any{&Token{}, &ConsoleToken{}} {
		d := s.db.WithContext(ctx).Where("expires_at < ?", before).Delete(table)
		if d.Error != nil {
			return purged, failed(d.Error, "purge expired tokens")
		}
		purged += d.RowsAffected
	}
	return purged, nil
}
