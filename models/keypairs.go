package models

import "context"

// CreateKeyPair adds a key; Conflict when the name is taken, OverQuota when the user has limit of them (-1 is unlimited).
func (s *Store) CreateKeyPair(ctx context.Context, k KeyPair, limit int) (KeyPair, error) {
	return KeyPair{}, errPending
}

// KeyPair by user and name.
func (s *Store) KeyPair(ctx context.Context, userID, name string) (KeyPair, error) {
	return KeyPair{}, errPending
}

// ListKeyPairs lists a user's keys by name, after the marker (a name); limit 0 is all.
func (s *Store) ListKeyPairs(ctx context.Context, userID, marker string, limit int) ([]KeyPair, error) {
	return nil, errPending
}

// DeleteKeyPair removes it; NotFound when it is not there.
func (s *Store) DeleteKeyPair(ctx context.Context, userID, name string) error { return errPending }
