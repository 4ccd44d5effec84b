package models

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"gorm.io/gorm"
)

// Options of a Store.
type Options struct {
	MaxConns int          // at most this many connections; 0 is 10
	Logger   *slog.Logger // nil is slog.Default()
}

// Store is the state of one Slipway installation. Each method is one transaction. Errors are faults: NotFound, Conflict,
// OverQuota, Invalid, HostUnfit with the text users see; Unavailable when Postgres does not answer; anything else is
// unknown and so Internal.
type Store struct {
	pool *pgxpool.Pool
	db   *gorm.DB
	log  *slog.Logger
}

// Sort is one key of an order; the id always breaks ties.
type Sort struct {
	Key  string
	Desc bool
}

// Open connects to the database that the DSN names (URL or key=value form, both of libpq).
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) { return nil, errPending }

// Close gives the connections back.
func (s *Store) Close() error { return errPending }

// Ping asks whether Postgres answers.
func (s *Store) Ping(ctx context.Context) error { return errPending }

// Migrate brings the schema to this binary's version. Any number of processes may call it at once.
func (s *Store) Migrate(ctx context.Context) error { return errPending }

// Version is the schema's version; 0 before the first migration.
func (s *Store) Version(ctx context.Context) (int64, error) { return 0, errPending }

// Snapshot is every table as sorted JSON rows, for tests that compare the world before with the world after. omit leaves
// out "table" or "table.column".
func (s *Store) Snapshot(ctx context.Context, omit ...string) (map[string][]string, error) {
	return nil, errPending
}
