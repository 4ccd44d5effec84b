package testenv

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/slipway-cloud/slipway/models/migrations"
)

// Migrated is Database with this tree's schema in it: a copy of one that is migrated once in a run, which takes a fifth of the
// time. All of them are one installation, by its id.
func Migrated(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	from, err := template(ctx, need(t, PostgresVariable))
	if err != nil {
		t.Fatalf("migrating a database to copy: %v", err)
	}
	// Its files are copied: through the log, which every copy would fill, takes longer.
	return database(t, " TEMPLATE "+from+" STRATEGY FILE_COPY")
}

// templateLock is the key of the advisory lock under which processes of one run make the template.
const templateLock = 0x74656d706c617465

// template is the name of the migrated database. It is there under that name only when it is whole.
func template(ctx context.Context, maintenance string) (name string, err error) {
	sum := sha256.New()
	err = fs.WalkDir(migrations.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := migrations.Files.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		return "", err
	}
	name = fmt.Sprintf("template_%x", sum.Sum(nil)[:8])
	admin, err := sql.Open("pgx", maintenance)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	one, err := admin.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, one.Close()) }() // the lock ends with its session
	if _, err := one.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(templateLock)); err != nil {
		return "", err
	}
	var there bool
	err = one.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	if err != nil || there {
		return name, err
	}
	making := name + "_making"
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + making, "CREATE DATABASE " + making} {
		if _, err := one.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	if err := migrate(ctx, withDatabase(maintenance, making)); err != nil {
		return "", err
	}
	// Postgres waits a while for the sessions of who has closed them.
	_, err = one.ExecContext(ctx, "ALTER DATABASE "+making+" RENAME TO "+name)
	return name, err
}

func migrate(ctx context.Context, dsn string) (err error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}
