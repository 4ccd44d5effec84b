package models

import (
	"context"
	"time"
)

// TakeSignature keeps the signature of a request until it holds no more; first is whether nobody sent it before. Those that hold no
// more go with it.
func (s *Store) TakeSignature(ctx context.Context, signature []byte, until time.Time) (first bool, err error) {
	err = withRetries(ctx, func() error {
		taken, err := s.pool.Exec(ctx, `
WITH gone AS (
         DELETE FROM ec2_signatures WHERE signature IN (
             SELECT signature FROM ec2_signatures WHERE holds_until < $3 ORDER BY holds_until LIMIT 100 FOR UPDATE SKIP LOCKED))
INSERT INTO ec2_signatures (signature, holds_until) VALUES ($1, $2) ON CONFLICT (signature) DO NOTHING`, signature, until, now())
		first = taken.RowsAffected() == 1
		return err
	})
	return first, failed(err, "keep the signature of a request")
}
