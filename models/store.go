// Package models is Slipway's state in Postgres: gorm structs, state tables, queries and migrations. It is the only place
// that holds a *gorm.DB. Lifecycle writes are compare-and-set on the old state; usage is always a sum of rows (claims of
// a project, placements on a host), never a counter that can drift.
package models

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Options of a Store.
type Options struct {
	MaxConns int          // at most this many connections; 0 is 10
	Logger   *slog.Logger // nil is slog.Default()
}

// Store is the state of one Slipway installation. Each method is one transaction. Errors are faults: NotFound, Conflict,
// OverQuota, Invalid, HostUnfit with the text users see; Unavailable when Postgres does not answer; anything else is
// unknown and so Internal.
//
// Plain reads and writes go through gorm. What runs for every build or request goes through pgx as one pipeline (batch): one
// round trip, and still one transaction in which each statement sees what was committed before it started. That matters
// wherever a sum is compared with a limit: the first statement locks the row that serializes the claimants, the second adds
// up. Both in a single statement would add up what was there before the lock was waited for.
type Store struct {
	pool *pgxpool.Pool
	sql  *sql.DB // the same connections, for gorm and the migrations
	db   *gorm.DB
	log  *slog.Logger

	taking   *Taking // what its transactions take; nil where nothing gives it back
	revision *int64  // that a row has to have to be changed; nil is any
}

// Open connects to the database that the DSN names (URL or key=value form, both of libpq).
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the database's DSN: %w", err)
	}
	if opts.MaxConns <= 0 {
		opts.MaxConns = 10
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	cfg.MaxConns = int32(opts.MaxConns)
	if _, set := cfg.ConnConfig.RuntimeParams["application_name"]; !set {
		cfg.ConnConfig.RuntimeParams["application_name"] = "slipway"
	}
	cfg.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		// The APIs speak UTC.
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, failed(err, "open the database")
	}
	s := &Store{pool: pool, sql: stdlib.OpenDBFromPool(pool), log: opts.Logger}
	s.db, err = gorm.Open(postgres.New(postgres.Config{Conn: retrying{s.sql}}), &gorm.Config{
		Logger:                 logger.Discard, // errors are returned, not printed
		SkipDefaultTransaction: true,           // a single statement is a transaction already
		DisableAutomaticPing:   true,
		NowFunc:                now,
	})
	if err == nil {
		err = s.Ping(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, failed(err, "open the database")
	}
	return s, nil
}

// Close gives the connections back.
func (s *Store) Close() error {
	err := s.sql.Close()
	s.pool.Close()
	return err
}

// Ping asks whether Postgres answers.
func (s *Store) Ping(ctx context.Context) error {
	return failed(s.pool.Ping(ctx), "ping the database")
}

// now has Postgres' precision, so what is written reads back the same.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// batch sends the statements that queue adds in one round trip; they are one transaction. It may be called again after a
// serialization failure, so the callbacks of the statements only store what they read. Their errors cannot undo anything:
// each statement has to hold by itself the condition under which it writes.
func (s *Store) batch(ctx context.Context, queue func(*pgx.Batch)) error {
	return withRetries(ctx, func() error {
		var b pgx.Batch
		s.taking.queue(&b)
		queue(&b)
		return s.pool.SendBatch(ctx, &b).Close()
	})
}

// named are a statement's arguments by name, each of which it uses. From five on they are named: archtest holds that.
type named = pgx.StrictNamedArgs

// exec runs one statement.
func (s *Store) exec(ctx context.Context, sql string, args ...any) error {
	return withRetries(ctx, func() error {
		_, err := s.pool.Exec(ctx, sql, args...)
		return err
	})
}

// retrying is what gorm runs its single statements on; transactions are retried as a whole (tx, read).
type retrying struct{ *sql.DB }

// QueryContext as in sql.DB, again where Postgres asks for that: pgx reads the first row before it returns, so the failure
// is known here.
func (r retrying) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = withRetries(ctx, func() (err error) {
		rows, err = r.DB.QueryContext(ctx, query, args...)
		return err
	})
	return rows, err
}

// ExecContext as in sql.DB, again where Postgres asks for that.
func (r retrying) ExecContext(ctx context.Context, query string, args ...any) (done sql.Result, err error) {
	err = withRetries(ctx, func() (err error) {
		done, err = r.DB.ExecContext(ctx, query, args...)
		return err
	})
	return done, err
}

// tx runs f in a transaction, again after a serialization failure.
func (s *Store) tx(ctx context.Context, f func(tx *gorm.DB) error) error {
	return withRetries(ctx, func() error {
		return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := s.taking.check(tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// read runs f on one consistent view of all tables.
func (s *Store) read(ctx context.Context, f func(tx *gorm.DB) error) error {
	return withRetries(ctx, func() error {
		return s.db.WithContext(ctx).Transaction(f, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	})
}

// Snapshot is every table that says how things are, as sorted JSON rows, for tests that compare the world before with the world after. omit leaves
// out a "table" or a "table.column".
func (s *Store) Snapshot(ctx context.Context, omit ...string) (map[string][]string, error) {
	skip := map[string]bool{"goose_db_version": true, "given_back": true}
	columns := map[string][]string{}
	for _, o := range omit {
		skip[o] = true
	}
	rows, err := s.pool.Query(ctx, `SELECT table_name::text, column_name::text FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name NOT IN (SELECT viewname FROM pg_views WHERE schemaname = current_schema()) ORDER BY table_name, ordinal_position`)
	if err != nil {
		return nil, failed(err, "list the tables")
	}
	var table, column string
	if _, err = pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		if !skip[table] && !skip[table+"."+column] {
			columns[table] = append(columns[table], pgx.Identifier{column}.Sanitize())
		}
		return nil
	}); err != nil {
		return nil, failed(err, "list the tables")
	}
	out := make(map[string][]string, len(columns))
	err = s.batch(ctx, func(b *pgx.Batch) {
		for table, cols := range columns {
			b.Queue(`SELECT row_to_json(r)::text FROM (SELECT ` + joined(cols) + ` FROM ` + pgx.Identifier{table}.Sanitize() + `) r ORDER BY 1`).
				Query(func(rows pgx.Rows) error {
					all, err := pgx.CollectRows(rows, pgx.RowTo[string])
					out[table] = all
					return err
				})
		}
	})
	return out, failed(err, "read the tables")
}
