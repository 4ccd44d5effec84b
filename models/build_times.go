package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// BuildTimes is what the last builds took that ended well.
type BuildTimes struct {
	Builds int // of so many; 0 is that there was none
	Whole  time.Duration
	Steps  []StepTime // in their order
}

// StepTime is what a step took in half of the builds, or less.
type StepTime struct {
	Step string
	Took time.Duration
}

// lastBuilds is how many builds say what the next one takes.
const lastBuilds = 50

const buildTimesSQL = `
WITH built AS (SELECT id FROM servers WHERE launched_at IS NOT NULL ORDER BY launched_at DESC LIMIT $1),
     steps AS (
         SELECT e.* FROM built JOIN instance_actions a ON a.server_id = built.id AND a.action = 'create'
         JOIN instance_action_events e ON e.server_id = a.server_id AND e.request_id = a.request_id
         WHERE e.result = 'Success' AND e.ended_at IS NOT NULL),
     whole AS (SELECT extract(epoch FROM max(ended_at) - min(started_at)) AS took FROM steps GROUP BY server_id)
SELECT '' AS event, (SELECT count(*) FROM whole), COALESCE(percentile_cont(0.5) WITHIN GROUP (ORDER BY took), 0)::float8, -1 AS place FROM whole
UNION ALL
SELECT event, 0, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at))::float8, min(seq) FROM steps GROUP BY event
ORDER BY place, event`

// BuildTimes reads them off the actions of the servers that became active last, of whatever project.
func (s *Store) BuildTimes(ctx context.Context) (t BuildTimes, err error) {
	err = withRetries(ctx, func() error {
		t = BuildTimes{}
		rows, err := s.pool.Query(ctx, buildTimesSQL, lastBuilds)
		if err != nil {
			return err
		}
		var (
			step          string
			builds, place int
			seconds       float64
		)
		_, err = pgx.ForEachRow(rows, []any{&step, &builds, &seconds, &place}, func() error {
			took := time.Duration(seconds * float64(time.Second))
			if step == "" {
				t.Builds, t.Whole = builds, took
			} else {
				t.Steps = append(t.Steps, StepTime{step, took})
			}
			return nil
		})
		return err
	})
	return t, failed(err, "read what builds take")
}
