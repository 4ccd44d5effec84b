package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/tools/common/schema"
	toolsql "go.temporal.io/server/tools/sql"
)

// connectRetry is how often a Postgres that does not answer yet is asked again: it is commonly started together with
// this program.
const connectRetry = 200 * time.Millisecond

// Error codes of Postgres: https://www.postgresql.org/docs/15/errcodes-appendix.html
const codeInvalidCatalogName = "3D000"

// prepareDatabases makes both databases exist with the schema of the server that is compiled into this program.
func prepareDatabases(ctx context.Context, o options, logger log.Logger) error {
	for _, d := range []struct{ name, schemaDir string }{
		{o.Database, "postgresql/v12/temporal"},
		{o.VisibilityDB, "postgresql/v12/visibility"},
	} {
		db, err := openDatabase(ctx, o, d.name, logger)
		if err != nil {
			return err
		}
		err = upgradeSchema(db, d.schemaDir, logger)
		db.Close()
		if err != nil {
			return fmt.Errorf("bring the schema of database %q up to date: %w", d.name, err)
		}
	}
	return nil
}

// openDatabase connects, waits for a Postgres that is not up yet, and creates the database where it is missing. It
// connects first and creates second, so that a user without CREATEDB can run on databases made by somebody else.
func openDatabase(ctx context.Context, o options, name string, logger log.Logger) (*toolsql.Connection, error) {
	for {
		err := probe(ctx, o, name)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == codeInvalidCatalogName {
			if err := toolsql.DoCreateDatabase(o.sql(name, 1), "", logger); err != nil {
				return nil, fmt.Errorf("create database %q: %w", name, err)
			}
			err = nil
		}
		if err == nil {
			db, err := toolsql.NewConnection(o.sql(name, 1), logger)
			if err != nil {
				return nil, fmt.Errorf("connect to database %q: %w", name, err)
			}
			return db, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to database %q at %s port %d as %q: %w", name, o.PostgresHost, o.PostgresPort, o.PostgresUser, err)
		case <-time.After(connectRetry):
		}
	}
}

// probe connects once. The server's own connection logs each failure and loses its code.
func probe(ctx context.Context, o options, name string) error {
	quote := func(v string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'" }
	dsn := fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=%s",
		quote(o.PostgresHost), o.PostgresPort, quote(o.PostgresUser), quote(o.PostgresPassword), quote(name), quote(o.PostgresTLS))
	if o.PostgresRootCert != "" {
		dsn += " sslrootcert=" + quote(o.PostgresRootCert)
	}
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// upgradeSchema runs the versioned changes that the database has not seen. Each change is recorded after it ran and
// tolerates having run before, so an interrupted upgrade goes on where it stopped.
func upgradeSchema(db *toolsql.Connection, dir string, logger log.Logger) error {
	if _, err := db.ReadSchemaVersion(); err != nil {
		setup := schema.NewSetupSchemaTask(db, &schema.SetupConfig{InitialVersion: "0.0"}, logger)
		if err := setup.Run(); err != nil {
			return fmt.Errorf("set up the version tables: %w", err)
		}
	}
	return schema.NewUpdateSchemaTask(db, &schema.UpdateConfig{SchemaName: dir}, logger).Run()
}
