package models

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// States of an audit's run.
const (
	AuditRunning = "running"
	AuditDone    = "done"
	AuditFailed  = "failed"
)

// AuditRun is one audit.
type AuditRun struct {
	ID         string
	State      string
	StartedAt  time.Time
	FinishedAt *time.Time
	Hosts      []string
	Looked     []string
	Findings   int // open at its end, without warnings
	Warnings   int
	Error      *string
}

// AuditFinding is something that an audit found.
type AuditFinding struct {
	Seq        int64  `gorm:"primaryKey"`
	ID         string `gorm:"column:id"` // the same whenever the same thing is found
	Kind       string
	Object     string
	ServerID   string
	Host       string
	Text       string
	Repair     string
	Warning    bool
	Named      bool // only who names it has it repaired
	Scope      string
	FirstSeen  time.Time
	LastSeen   time.Time
	ResolvedAt *time.Time
	RepairedAt *time.Time
	RepairedBy *string
	RepairID   *string
}

// AuditRepair is an operator's order to repair, with what became of each finding.
type AuditRepair struct {
	ID         string `gorm:"primaryKey"`
	UserID     string
	RequestID  string
	StartedAt  time.Time
	FinishedAt *time.Time
	Findings   []string                `gorm:"serializer:json"`
	Outcomes   map[string]AuditOutcome `gorm:"serializer:json"` // by finding id
	Error      *string
}

// AuditOutcome is what became of a finding in a repair.
type AuditOutcome struct {
	Outcome string `json:"outcome"`
	Text    string `json:"text,omitempty"`
}

// AuditScope is a part of the world that was looked at as a whole: what was open in it and is neither found nor left out
// is resolved.
type AuditScope struct {
	Name           string
	After, Through string // only findings of the servers behind After, up to and with Through; "" is no bound
}

// NoteAuditRun makes the row of a run that has been started; what is there stays.
func (s *Store) NoteAuditRun(ctx context.Context, id string, started time.Time) error {
	err := s.exec(ctx, `
INSERT INTO audit_runs (id, state, started_at, hosts, looked, findings, warnings) VALUES ($1, 'running', $2, '{}', '{}', 0, 0)
ON CONFLICT (id) DO NOTHING`, id, started)
	return failed(err, "note audit %s", id)
}

// BeginAuditRun makes the row of a run, with the hosts that there are, and answers them. Runs that have not ended will not
// end any more: there is one at a time.
func (s *Store) BeginAuditRun(ctx context.Context, id string, started time.Time) (hostnames []string, err error) {
	err = s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`UPDATE audit_runs SET state = 'failed', finished_at = $2, error = 'it was ended before it was done' WHERE state = 'running' AND id <> $1`, id, started)
		b.Queue(`
INSERT INTO audit_runs (id, state, started_at, hosts, looked, findings, warnings)
VALUES ($1, 'running', $2, ARRAY(SELECT hostname FROM hosts ORDER BY hostname), '{}', 0, 0)
ON CONFLICT (id) DO UPDATE SET hosts = EXCLUDED.hosts
RETURNING hosts`, id, started).QueryRow(func(r pgx.Row) error { return r.Scan(&hostnames) })
	})
	return hostnames, failed(err, "begin audit %s", id)
}

// RecordFindings keeps what was found in a part of the world. left are findings that stay open although they were not
// found: they were left out of this look. looked, if set, is the host that has been looked at with this.
func (s *Store) RecordFindings(ctx context.Context, runID string, scope AuditScope, found []AuditFinding, left []string, looked string, at time.Time) error {
	type row struct {
		ID       string `json:"id"`
		Kind     string `json:"kind"`
		Object   string `json:"object"`
		ServerID string `json:"server_id"`
		Host     string `json:"host"`
		Text     string `json:"text"`
		Repair   string `json:"repair"`
		Warning  bool   `json:"warning"`
		Named    bool   `json:"named"`
	}
	rows, kept := make([]row, 0, len(found)), append([]string{}, left...)
	for _, f := range found {
		rows = append(rows, row{f.ID, f.Kind, f.Object, f.ServerID, f.Host, f.Text, f.Repair, f.Warning, f.Named})
		kept = append(kept, f.ID)
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
UPDATE audit_findings SET resolved_at = @at
WHERE resolved_at IS NULL AND scope = @scope AND id <> ALL(@kept)
  AND ((@after = '' OR server_id > @after) AND (@through = '' OR server_id <= @through) OR object = @scope || @after)`,
			named{"scope": scope.Name, "after": scope.After, "through": scope.Through, "kept": kept, "at": at})
		b.Queue(`
INSERT INTO audit_findings (id, kind, object, server_id, host, text, repair, warning, named, scope, first_seen, last_seen)
SELECT f.id, f.kind, f.object, f.server_id, f.host, f.text, f.repair, f.warning, f.named, $2, $3, $3
FROM jsonb_to_recordset($1) AS f(id text, kind text, object text, server_id text, host text, text text, repair text, warning boolean, named boolean)
ON CONFLICT (id) WHERE resolved_at IS NULL DO UPDATE SET text = EXCLUDED.text, repair = EXCLUDED.repair, named = EXCLUDED.named, scope = EXCLUDED.scope, last_seen = EXCLUDED.last_seen`,
			asJSON(rows), scope.Name, at)
		b.Queue(`UPDATE audit_runs SET looked = array_append(looked, $2) WHERE id = $1 AND $2 <> '' AND $2 <> ALL(looked)`, runID, looked)
	})
	return failed(err, "record what audit %s found in %s", runID, scope.Name)
}

// EndAuditRun ends a run and counts what is open. Findings of hosts that are gone are resolved with a run that came to its
// end: scopes names those of a host that exists.
func (s *Store) EndAuditRun(ctx context.Context, id string, failure string, scopes func(hostname string) []string, at time.Time) error {
	var hostnames []string
	err := s.pool.QueryRow(ctx, `SELECT COALESCE((SELECT hosts FROM audit_runs WHERE id = $1), '{}')`, id).Scan(&hostnames)
	if err != nil {
		return failed(err, "end audit %s", id)
	}
	known := []string{}
	for _, h := range hostnames {
		known = append(known, scopes(h)...)
	}
	state := AuditDone
	if failure != "" {
		state = AuditFailed
	}
	err = s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`UPDATE audit_findings SET resolved_at = $2 WHERE resolved_at IS NULL AND host <> '' AND scope LIKE '%:%' AND scope <> ALL($1) AND $3 = ''`, known, at, failure)
		b.Queue(`
UPDATE audit_runs SET state = $2, finished_at = $3, error = NULLIF($4, ''),
    findings = (SELECT count(*) FROM audit_findings WHERE resolved_at IS NULL AND NOT warning),
    warnings = (SELECT count(*) FROM audit_findings WHERE resolved_at IS NULL AND warning)
WHERE id = $1 AND state = 'running'`, id, state, at, failure)
	})
	return failed(err, "end audit %s", id)
}

const auditRunColumns = `id, state, started_at, finished_at, hosts, looked, findings, warnings, error`

// AuditRuns lists the newest runs first.
func (s *Store) AuditRuns(ctx context.Context, limit int) ([]AuditRun, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+auditRunColumns+` FROM audit_runs ORDER BY started_at DESC, id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, failed(err, "list the audits")
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[AuditRun])
	return all, failed(err, "list the audits")
}

// AuditRun by id.
func (s *Store) AuditRun(ctx context.Context, id string) (AuditRun, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+auditRunColumns+` FROM audit_runs WHERE id = $1`, id)
	if err != nil {
		return AuditRun{}, failed(err, "read audit %s", id)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[AuditRun])
	if err == nil && len(all) == 0 {
		return AuditRun{}, fault.New(fault.NotFound, "Audit %s could not be found.", id)
	}
	if err != nil {
		return AuditRun{}, failed(err, "read audit %s", id)
	}
	return all[0], nil
}

// AuditFindingFilter selects open findings; empty fields select all.
type AuditFindingFilter struct {
	IDs            []string
	Kind, Host     string
	ServerID       string
	OnlyRepairable bool // without being named
}

// AuditFindings lists the open findings that the filter selects, in order of kind and object.
func (s *Store) AuditFindings(ctx context.Context, f AuditFindingFilter) ([]AuditFinding, error) {
	all := []AuditFinding{}
	q := s.db.WithContext(ctx).Where("resolved_at IS NULL")
	q = among(q, "id", f.IDs)
	for column, value := range map[string]string{"kind": f.Kind, "host": f.Host, "server_id": f.ServerID} {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	if f.OnlyRepairable {
		q = q.Where("repair <> '' AND NOT named")
	}
	err := q.Order("warning, kind, object").Find(&all).Error
	return all, failed(err, "list the findings")
}

// OpenFindings says which of the ids are open findings.
func (s *Store) OpenFindings(ctx context.Context, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.pool.Query(ctx, `SELECT id FROM audit_findings WHERE resolved_at IS NULL AND id = ANY($1)`, ids)
	if err != nil {
		return nil, failed(err, "look for open findings")
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return open, failed(err, "look for open findings")
}

// CreateAuditRepair keeps an order to repair; the same again is success.
func (s *Store) CreateAuditRepair(ctx context.Context, r AuditRepair) error {
	err := s.exec(ctx, `INSERT INTO audit_repairs (id, user_id, request_id, started_at, findings, outcomes)
		VALUES (@id, @user_id, @request_id, @started_at, @findings, '{}') ON CONFLICT (id) DO NOTHING`,
		named{
			"id": r.ID, "user_id": r.UserID, "request_id": r.RequestID, "started_at": r.StartedAt,
			"findings": asJSON(append([]string{}, r.Findings...)),
		})
	return failed(err, "keep repair %s", r.ID)
}

// AuditRepair by id.
func (s *Store) AuditRepair(ctx context.Context, id string) (AuditRepair, error) {
	var r AuditRepair
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&r).Error
	if isAbsent(err) {
		return r, fault.New(fault.NotFound, "Repair %s could not be found.", id)
	}
	return r, failed(err, "read repair %s", id)
}

// RecordRepair adds what became of findings to a repair. Those that do not stand any more are resolved, and of those that
// were repaired it is kept who did it.
func (s *Store) RecordRepair(ctx context.Context, id, userID string, outcomes map[string]AuditOutcome, repaired, gone []string, at time.Time) error {
	text, err := json.Marshal(outcomes)
	if err != nil {
		return failed(err, "record repair %s", id)
	}
	if outcomes == nil {
		text = []byte("{}")
	}
	err = s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`UPDATE audit_repairs SET outcomes = outcomes || $2::jsonb WHERE id = $1`, id, string(text))
		b.Queue(`UPDATE audit_findings SET resolved_at = $3, repaired_at = $3, repaired_by = $4, repair_id = $1 WHERE resolved_at IS NULL AND id = ANY($2)`,
			id, append([]string{}, repaired...), at, userID)
		b.Queue(`UPDATE audit_findings SET resolved_at = $2, repair_id = $3 WHERE resolved_at IS NULL AND id = ANY($1)`, append([]string{}, gone...), at, id)
	})
	return failed(err, "record repair %s", id)
}

// EndAuditRepair ends a repair. What became of nothing is said to have failed.
func (s *Store) EndAuditRepair(ctx context.Context, id, failure string, at time.Time) error {
	err := s.exec(ctx, `UPDATE audit_repairs SET finished_at = $2, error = NULLIF($3, '') WHERE id = $1 AND finished_at IS NULL`, id, at, failure)
	return failed(err, "end repair %s", id)
}

// AuditCounts is what the metrics show.
type AuditCounts struct {
	Open     map[string]int // by kind
	Runs     map[string]int // by outcome
	Last     *time.Time     // when the last run ended
	Took     time.Duration  // how long it took
	Complete bool           // it looked at everything
}

// AuditCounts counts what is open, and runs by their outcome: clean, findings, incomplete or failed.
func (s *Store) AuditCounts(ctx context.Context) (AuditCounts, error) {
	var c AuditCounts
	err := s.batch(ctx, func(b *pgx.Batch) {
		c = AuditCounts{Open: map[string]int{}, Runs: map[string]int{}}
		count := func(into map[string]int) func(pgx.Rows) error {
			return func(rows pgx.Rows) error {
				var key string
				var n int
				_, err := pgx.ForEachRow(rows, []any{&key, &n}, func() error { into[key] = n; return nil })
				return err
			}
		}
		b.Queue(`SELECT kind, count(*) FROM audit_findings WHERE resolved_at IS NULL GROUP BY kind`).Query(count(c.Open))
		b.Queue(`
SELECT CASE WHEN state = 'failed' THEN 'failed' WHEN findings > 0 THEN 'findings' WHEN warnings > 0 THEN 'incomplete' ELSE 'clean' END AS outcome, count(*)
FROM audit_runs WHERE state <> 'running' GROUP BY outcome`).Query(count(c.Runs))
		b.Queue(`SELECT finished_at, finished_at - started_at, warnings = 0 FROM audit_runs WHERE state = 'done' ORDER BY started_at DESC, id DESC LIMIT 1`).
			Query(func(rows pgx.Rows) error {
				var took pgtype.Interval
				var at time.Time
				_, err := pgx.ForEachRow(rows, []any{&at, &took, &c.Complete}, func() error {
					c.Last, c.Took = &at, time.Duration(took.Microseconds)*time.Microsecond
					return nil
				})
				return err
			})
	})
	return c, failed(err, "count the findings")
}

// RestorePlacement holds room again for a server that runs on the host, whether the host has it or not: it is in use.
// The same again, and a server that is not placed there any more, is success.
func (s *Store) RestorePlacement(ctx context.Context, serverID, hostname string, vcpus, memoryMiB, diskGiB int) error {
	h, err := s.HostByName(ctx, hostname)
	if fault.Is(err, fault.NotFound) {
		return nil // nothing is placed there
	}
	if err != nil {
		return err
	}
	err = s.tx(ctx, func(tx *gorm.DB) error {
		return tx.Exec(`
INSERT INTO placements (id, server_id, host_id, role, vcpus, memory_mib, disk_gib, created_at)
SELECT ?, id, host_id, ?, ?, ?, ?, ? FROM servers
WHERE id = ? AND host_id = ? AND `+wasBuilt+` AND `+isDeleting+` IS NOT TRUE
ON CONFLICT DO NOTHING`, ids.Placement(serverID, h.ID, PlacementActive), PlacementActive, vcpus, memoryMiB, diskGiB, now(), serverID, h.ID).Error
	})
	return failed(err, "hold room for server %s on host %s again", serverID, hostname)
}
