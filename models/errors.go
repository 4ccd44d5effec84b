package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// attempts is how often a transaction that Postgres gave up to resolve a conflict is run before the caller hears of it.
const attempts = 5

// withRetries runs f again while Postgres asks for that: serialization failure, deadlock, or a plan that a migration made
// stale. The lock waits inside Postgres pace it.
func withRetries(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if err == nil || n == attempts || ctx.Err() != nil || !isRetryable(err) {
			return err
		}
	}
}

func isRetryable(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	case "0A000": // feature_not_supported, also said of a prepared statement whose table was altered
		return strings.Contains(pg.Message, "cached plan")
	}
	return false
}

// failed turns what pgx or gorm says into a fault, or wraps it with what was being done. A fault passes unchanged.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	err = fmt.Errorf(format+": %w", append(args, err)...)
	switch {
	case unanswered(err):
		return fault.Wrap(fault.Unavailable, err, "The database does not answer. Please try again later.")
	case sqlState(err) == givenBack:
		return fault.Wrap(fault.Conflict, err, "What was asked for has been given back already.")
	case sqlState(err) == "22021": // character_not_in_repertoire: a NUL byte in a text
		return fault.Wrap(fault.Invalid, err, "A text contains a character that cannot be stored.")
	}
	return err
}

// unanswered says whether nothing is wrong but that Postgres could not be reached or did not finish.
func unanswered(err error) bool {
	var (
		pg      *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error
	)
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", // connection exceptions
			"53", // out of connections, memory, disk
			"57", // admin shutdown, crash shutdown, starting up, statement cancelled
			"58": // input or output error of the system
			return true
		}
		return isRetryable(err) || pg.Code == "25006" // read_only_sql_transaction: a standby
	}
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// violates says whether err is the violation of the named constraint (unique, foreign key or check).
func violates(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.HasPrefix(pg.Code, "23") && pg.ConstraintName == constraint
}

func isAbsent(err error) bool { return errors.Is(err, gorm.ErrRecordNotFound) }
