package models

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Now is what the database's clock says, by which it is judged whether what was asked for came in time.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var t time.Time
	err := withRetries(ctx, func() error { return s.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&t) })
	return t, failed(err, "ask the database for the time")
}

// isLate is whether the instant of a parameter, of which there may be none, has passed. It stands in the transaction that
// accepts, behind its locks: the clock goes on within it.
func isLate(parameter string) string {
	return "COALESCE(clock_timestamp() > " + parameter + "::timestamptz, false)"
}

// tooLate refuses for good: whoever asked was told that it was not accepted.
func tooLate() error {
	return fault.New(fault.Conflict, "The request was not accepted in time, and nothing was done. Please try again.")
}

// optionalTime is NULL for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
