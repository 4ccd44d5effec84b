package models

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ConsoleToken opens a console of a server once. Only the hash of it is kept.
type ConsoleToken struct {
	Hash      []byte
	ServerID  string
	Type      string // contract.ConsoleSerial, ConsoleVNC
	UserID    string // who asked for it
	ExpiresAt time.Time
}

// CreateConsoleToken records one.
func (s *Store) CreateConsoleToken(ctx context.Context, t ConsoleToken) error {
	err := s.exec(ctx, `INSERT INTO console_tokens (hash, server_id, type, user_id, expires_at) VALUES (@hash, @server_id, @type, @user_id, @expires_at)`,
		named{"hash": t.Hash, "server_id": t.ServerID, "type": t.Type, "user_id": t.UserID, "expires_at": t.ExpiresAt})
	return failed(err, "record a token of a console of server %s", t.ServerID)
}

// ConsoleToken reads one; NotFound where it has been used or has expired.
func (s *Store) ConsoleToken(ctx context.Context, hash []byte, now time.Time) (ConsoleToken, error) {
	return s.consoleToken(ctx, `SELECT server_id, type, user_id, expires_at FROM console_tokens WHERE hash = $1 AND expires_at > $2`, hash, now)
}

// UseConsoleToken is ConsoleToken, and nobody uses it again.
func (s *Store) UseConsoleToken(ctx context.Context, hash []byte, now time.Time) (ConsoleToken, error) {
	return s.consoleToken(ctx, `DELETE FROM console_tokens WHERE hash = $1 AND expires_at > $2 RETURNING server_id, type, user_id, expires_at`, hash, now)
}

func (s *Store) consoleToken(ctx context.Context, sql string, hash []byte, now time.Time) (ConsoleToken, error) {
	t := ConsoleToken{Hash: hash}
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, sql, hash, now).Scan(&t.ServerID, &t.Type, &t.UserID, &t.ExpiresAt)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ConsoleToken{}, fault.New(fault.NotFound, "Token not found")
	}
	return t, failed(err, "read a token of a console")
}
