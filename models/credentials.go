package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Credential is something secret that a user keeps here (Keystone's credential), sealed.
type Credential struct {
	ID        string `gorm:"primaryKey"` // of an access key the SHA-256 of it, as in Keystone
	Type      string
	UserID    string
	ProjectID *string // of an access key, what it is for
	KeyID     string
	Sealed    []byte
	CreatedAt time.Time

	ApplicationCredentialID *string // that it was made with, is limited to and ends with
}

// CredentialEC2 is the type of access keys of the EC2 API.
const CredentialEC2 = "ec2"

// MaxCredentials is how many a user may keep.
const MaxCredentials = 100

func noCredential(id string) error {
	return fault.New(fault.NotFound, "Could not find credential: %s.", id)
}

// CreateCredential records one. Conflict where there is one of that id, NotFound where its user or project is none, Forbidden where
// the user has as many as it may.
func (s *Store) CreateCredential(ctx context.Context, c Credential) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := standing[User](tx, c.UserID, "UPDATE", noUser(c.UserID)); err != nil {
			return err
		}
		if c.ProjectID != nil {
			if err := standing[Project](tx, *c.ProjectID, "SHARE", noProject(*c.ProjectID)); err != nil {
				return err
			}
		}
		var has int64
		if err := tx.Model(&Credential{}).Where("user_id = ?", c.UserID).Count(&has).Error; err != nil {
			return err
		}
		if has >= MaxCredentials {
			return fault.New(fault.Forbidden, "Unable to create additional credentials, maximum of %d already exceeded for user.", MaxCredentials)
		}
		return tx.Create(&c).Error
	})
	if violates(err, "credentials_pkey") {
		return fault.New(fault.Conflict, "Conflict occurred attempting to store credential - Duplicate entry found with ID %s.", c.ID)
	}
	return failed(err, "create a credential of user %s", c.UserID)
}

// standing locks a row that is not deleted, so that a delete waits: what is made in the transaction goes with it.
func standing[T any](tx *gorm.DB, id, strength string, absent error) error {
	var row T
	err := tx.Clauses(clause.Locking{Strength: strength}).Select("id").Where("id = ?", id).Take(&row).Error
	if isAbsent(err) {
		return absent
	}
	return err
}

// Credential by id.
func (s *Store) Credential(ctx context.Context, id string) (Credential, error) {
	return found[Credential](ctx, s, noCredential(id), "id = ?", id)
}

// CredentialFilter selects and pages credentials; "" is any.
type CredentialFilter struct {
	UserID, Type, Marker string
	Limit                int // 0 is all
}

var credentialOrder = order{keys: map[string]string{"id": "id"}, id: "id", preset: Sort{Key: "id"}}

// ListCredentials lists them by id.
func (s *Store) ListCredentials(ctx context.Context, f CredentialFilter) ([]Credential, error) {
	all := []Credential{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			rows := tx.Model(&Credential{})
			if f.UserID != "" {
				rows = rows.Where("user_id = ?", f.UserID)
			}
			if f.Type != "" {
				rows = rows.Where("type = ?", f.Type)
			}
			return rows
		}
		rows, err := credentialOrder.page(visible(), visible(), nil, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return rows.Find(&all).Error
	})
	return all, failed(err, "list the credentials")
}

// ReviseCredential changes what is sealed in one, and the project that it is for, while nobody else does.
func (s *Store) ReviseCredential(ctx context.Context, id string, revise func(Credential) (Credential, error)) (Credential, error) {
	var c Credential
	err := s.tx(ctx, func(tx *gorm.DB) error {
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&c).Error
		if isAbsent(err) {
			return noCredential(id)
		}
		if err != nil {
			return err
		}
		was := c.ProjectID
		if c, err = revise(c); err != nil {
			return err
		}
		if c.ProjectID != nil && (was == nil || *was != *c.ProjectID) {
			if err := standing[Project](tx, *c.ProjectID, "SHARE", noProject(*c.ProjectID)); err != nil {
				return err
			}
		}
		return tx.Model(&Credential{}).Where("id = ?", id).
			Updates(map[string]any{"project_id": c.ProjectID, "key_id": c.KeyID, "sealed": c.Sealed}).Error
	})
	return c, failed(err, "change credential %s", id)
}

// DeleteCredential deletes one.
func (s *Store) DeleteCredential(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Credential{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noCredential(id)
	}
	return failed(d.Error, "delete credential %s", id)
}

// AccessKey is an access key's credential with whom it lets in, as they are now.
type AccessKey struct {
	Credential    Credential
	User, Project Named
	Roles         []string
	Application   Application
}

// Every request of the EC2 API asks this once, as others ask for their token.
var accessKeySQL = `
SELECT c.id, c.user_id, c.key_id, c.sealed, u.id, u.name, p.id, p.name,
       ARRAY(` + fmt.Sprintf(rolesSQL, "c.user_id", "c.project_id", "p.domain_id", "NULL::text", "false") + `),` + fmt.Sprintf(applicationSQL, "c.application_credential_id") + `
FROM credentials c
JOIN users u ON u.id = c.user_id AND u.enabled AND u.deleted_at IS NULL
JOIN domains ud ON ud.id = u.domain_id AND ud.enabled
JOIN projects p ON p.id = c.project_id AND p.enabled AND p.deleted_at IS NULL
JOIN domains pd ON pd.id = p.domain_id AND pd.enabled
LEFT JOIN application_credentials a ON a.id = c.application_credential_id
WHERE c.id = $1 AND (a.expires_at IS NULL OR a.expires_at > $2) AND c.type = '` + CredentialEC2 + `'`

// AccessKey finds one by its credential's id. NotFound where there is none, its user or project is disabled, the user has no role on
// the project any more, or the application credential that it was made with has expired.
func (s *Store) AccessKey(ctx context.Context, id string, now time.Time) (AccessKey, error) {
	k := AccessKey{Credential: Credential{Type: CredentialEC2}}
	var limits []string
	c, a := &k.Credential, &k.Application
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, accessKeySQL, id, now).Scan(&c.ID, &c.UserID, &c.KeyID, &c.Sealed, &k.User.ID, &k.User.Name,
			&k.Project.ID, &k.Project.Name, &k.Roles, &a.ID, &a.Name, &a.Unrestricted, &limits)
	})
	k.Roles = a.limited(k.Roles, limits)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && len(k.Roles) == 0 {
		return AccessKey{}, noCredential(id)
	}
	c.ProjectID = &k.Project.ID
	return k, failed(err, "read an access key")
}

// CredentialKeys says how many credentials are sealed with each key.
func (s *Store) CredentialKeys(ctx context.Context) (map[string]int, error) {
	return s.sealedWith(ctx, "credentials")
}

// ResealCredentials seals some credentials, at most limit, that are sealed with another key than keyID, and says how many; 0 is none
// left. One that cannot be sealed anew leaves all as they were.
func (s *Store) ResealCredentials(ctx context.Context, keyID string, limit int, reseal func(Credential) (Credential, error)) (int, error) {
	done := 0
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var old []Credential
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("key_id <> ?", keyID).Order("id").Limit(limit).Find(&old).Error; err != nil {
			return err
		}
		for _, c := range old {
			fresh, err := reseal(c)
			if err != nil {
				return err
			}
			if err := tx.Model(&Credential{}).Where("id = ?", c.ID).Updates(map[string]any{"key_id": fresh.KeyID, "sealed": fresh.Sealed}).Error; err != nil {
				return err
			}
		}
		done = len(old)
		return nil
	})
	return done, failed(err, "seal credentials anew")
}
