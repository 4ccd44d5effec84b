package models

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/slipway-cloud/slipway/models/migrations"
)

// migrationLock is the key of the advisory lock under which migrations run ("slipway" in ASCII). It is held by the session
// for as long as they take, so no migration may use CREATE INDEX CONCURRENTLY: it would wait for those that wait here.
const migrationLock int64 = 0x736c6970776179

// Migrate brings the schema to this binary's version. Any number of processes may call it at once.
func (s *Store) Migrate(ctx context.Context) error {
	p, err := s.migrator()
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	for _, m := range done {
		s.log.InfoContext(ctx, "database migrated", "migration", m.Source.Path, "took", m.Duration)
	}
	return failed(err, "migrate the database")
}

// Version is the schema's version; 0 before the first migration.
func (s *Store) Version(ctx context.Context) (int64, error) {
	var there bool
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&there); err != nil || !there {
		return 0, failed(err, "read the schema's version")
	}
	p, err := s.migrator()
	if err != nil {
		return 0, err
	}
	v, err := p.GetDBVersion(ctx)
	return v, failed(err, "read the schema's version")
}

func (s *Store) migrator() (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, s.sql, migrations.Files,
		goose.WithSessionLocker(sessionLock{}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

// sessionLock waits inside Postgres; goose's own locker asks again every second at best.
type sessionLock struct{}

var _ lock.SessionLocker = sessionLock{}

func (sessionLock) SessionLock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrationLock)
	return err
}

func (sessionLock) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, migrationLock)
	return err
}
