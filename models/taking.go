package models

import (
	"context"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// Taking is what one step of a run takes, by the name under which its undo gives it back.
type Taking struct {
	Run      string // of the workflow
	Step     string // the activity
	Index    int    // of a step that is done more than once
	Hostname string // "" is any host
}

const (
	mayTakeSQL = `SELECT may_take($1, $2, $3, $4)`
	givenBack  = "SW001" // what may_take raises
)

// For is the store for a step that takes: its transactions are refused with Conflict once GiveBack was called for the same.
func (s *Store) For(t Taking) *Store {
	c := *s
	c.taking = &t
	return &c
}

func (t *Taking) queue(b *pgx.Batch) {
	if t != nil {
		b.Queue(mayTakeSQL, t.Run, t.Step, t.Index, t.Hostname)
	}
}

func (t *Taking) check(tx *gorm.DB) error {
	if t == nil {
		return nil
	}
	return tx.Exec(`SELECT may_take(?, ?, ?, ?)`, t.Run, t.Step, t.Index, t.Hostname).Error
}

// GiveBack is the beginning of an undo. The step's do may still be under way: the statement of a worker that was killed waits
// for its lock in Postgres all the same, and takes what the undo did not find. It is waited for here, or refused afterwards.
// What is a day old is forgotten.
func (s *Store) GiveBack(ctx context.Context, t Taking) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, t.Run)
		b.Queue(`INSERT INTO given_back (run_id, step, nth, hostname) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			t.Run, t.Step, t.Index, t.Hostname)
		b.Queue(`DELETE FROM given_back WHERE ctid IN (
			SELECT ctid FROM given_back WHERE at < now() - interval '1 day' LIMIT 100 FOR UPDATE SKIP LOCKED)`)
	})
	return failed(err, "give back what %s took", t.Step)
}
