package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// KeyPair is a user's public key.
type KeyPair struct {
	UserID      string `gorm:"primaryKey"`
	Name        string `gorm:"primaryKey"`
	Type        string // ssh or x509
	PublicKey   string
	Fingerprint string // MD5, colons, as Nova shows it
	// MadeFingerprint is EC2's, where the private half alone tells it: of a key that was made here. "" where it does not.
	MadeFingerprint string
	CreatedAt       time.Time
}

var keyPairOrder = order{id: "name", preset: Sort{Key: "name"}, keys: map[string]string{"name": "name"}}

// CreateKeyPair adds a key; Conflict when the name is taken, OverQuota when the user has limit of them (-1 is unlimited).
func (s *Store) CreateKeyPair(ctx context.Context, k KeyPair, limit int) (KeyPair, error) {
	if k.CreatedAt.IsZero() {
		k.CreatedAt = now()
	}
	err := s.tx(ctx, func(tx *gorm.DB) error {
		// The user's row is what serializes the claimants.
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", k.UserID).Take(&User{}).Error
		if isAbsent(err) {
			return noUser(k.UserID)
		}
		if err != nil {
			return err
		}
		var names []string
		if err := tx.Model(&KeyPair{}).Where("user_id = ?", k.UserID).Pluck("name", &names).Error; err != nil {
			return err
		}
		for _, n := range names {
			if n == k.Name {
				return fault.New(fault.Conflict, "Key pair '%s' already exists.", k.Name)
			}
		}
		if limit >= 0 && len(names) >= limit {
			return fault.New(fault.OverQuota, "Quota exceeded, too many key pairs.")
		}
		return tx.Create(&k).Error
	})
	if err != nil {
		return KeyPair{}, failed(err, "create key pair %s of user %s", k.Name, k.UserID)
	}
	return k, nil
}

// KeyPair by user and name.
func (s *Store) KeyPair(ctx context.Context, userID, name string) (KeyPair, error) {
	var k KeyPair
	err := s.db.WithContext(ctx).Where("user_id = ? AND name = ?", userID, name).Take(&k).Error
	if isAbsent(err) {
		return k, noKeyPair(userID, name)
	}
	return k, failed(err, "read key pair %s of user %s", name, userID)
}

func noKeyPair(userID, name string) error {
	return fault.New(fault.NotFound, "Keypair %s not found for user %s", name, userID)
}

// ListKeyPairs lists a user's keys by name, after the marker (a name); limit 0 is all.
func (s *Store) ListKeyPairs(ctx context.Context, userID, marker string, limit int) ([]KeyPair, error) {
	all := []KeyPair{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		own := func() *gorm.DB { return tx.Model(&KeyPair{}).Where("user_id = ?", userID) }
		q, err := keyPairOrder.page(own(), own(), nil, marker, limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the key pairs of user %s", userID)
}

// DeleteKeyPair removes it; NotFound when it is not there.
func (s *Store) DeleteKeyPair(ctx context.Context, userID, name string) error {
	d := s.db.WithContext(ctx).Where("user_id = ? AND name = ?", userID, name).Delete(&KeyPair{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noKeyPair(userID, name)
	}
	return failed(d.Error, "delete key pair %s of user %s", name, userID)
}
