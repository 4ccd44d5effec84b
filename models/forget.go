package models

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// ForgottenHost is a host that an operator gave up for good: the record of that act, which stays when the host's row is gone.
type ForgottenHost struct {
	HostID    string `gorm:"primaryKey"`
	Hostname  string
	Reason    string
	UserID    string
	RequestID string
	At        time.Time
	DoneAt    *time.Time // nothing is left of it, its row neither
	Servers   int        // that lost their guest with it
	WaitsFor  string     // what is not given up yet, in words; "" before the first look, and when all is
	// PayloadKey is the first of the control plane's keys then: the host has its own of it, and of those before. "" is not known.
	PayloadKey string

	Undos    int       `gorm:"->"` // that were ended unanswered; read with it
	AnswerBy time.Time `gorm:"-"`  // as an InstanceAction's
}

const isForgotten = `EXISTS (SELECT FROM forgotten_hosts f WHERE f.host_id = hosts.id)`

// BeginForget gives a host up: it is recorded who does so and why, the host gets no servers any more, and its token ends. Again is
// success, and the first record stays. NotFound for a host that is not there, Conflict behind AnswerBy.
func (s *Store) BeginForget(ctx context.Context, f ForgottenHost) error {
	if f.At.IsZero() {
		f.At = now()
	}
	nobodys := make([]byte, 32) // the hash of no token that anybody has
	if _, err := rand.Read(nobodys); err != nil {
		return failed(err, "end the token of host %s", f.HostID)
	}
	var known, late bool
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockHostSQL, f.HostID) // as who takes room there does
		b.Queue(`
INSERT INTO forgotten_hosts (host_id, hostname, reason, user_id, request_id, at, payload_key)
SELECT id, hostname, @reason, @user_id, @request_id, @at, @payload_key FROM hosts WHERE id = @host_id AND NOT `+isLate("@answer_by")+`
ON CONFLICT (host_id) DO NOTHING`, named{
			"host_id": f.HostID, "reason": f.Reason, "user_id": f.UserID, "request_id": f.RequestID, "at": f.At, "payload_key": f.PayloadKey,
			"answer_by": optionalTime(f.AnswerBy),
		})
		b.Queue(`
UPDATE hosts SET enabled = false, disabled_reason = 'given up: ' || f.reason, token_hash = $2
FROM forgotten_hosts f WHERE f.host_id = hosts.id AND hosts.id = $1`, f.HostID, nobodys)
		b.Queue(`SELECT EXISTS (SELECT FROM forgotten_hosts WHERE host_id = $1), `+isLate("$2"), f.HostID, optionalTime(f.AnswerBy)).
			QueryRow(func(r pgx.Row) error { return r.Scan(&known, &late) })
	})
	switch {
	case err != nil:
		return failed(err, "give host %s up", f.HostID)
	case !known && late:
		return tooLate()
	case !known:
		return noHost(f.HostID)
	}
	return nil
}

// ForgottenHost is what is recorded of a host that was given up, by its id or the last one of a name.
func (s *Store) ForgottenHost(ctx context.Context, ref string) (ForgottenHost, error) {
	var f ForgottenHost
	err := s.db.WithContext(ctx).Model(&f).
		Select("*, (SELECT count(*) FROM operator_acts a WHERE a.request_id = forgotten_hosts.request_id) AS undos").
		Where("host_id = ? OR hostname = ?", ref, ref).Order("at DESC").Take(&f).Error
	if isAbsent(err) {
		return f, fault.New(fault.NotFound, "Host %s was not given up.", ref)
	}
	return f, failed(err, "read how host %s was given up", ref)
}

// FailServersOf puts the servers of a host that was given up into ERROR: their guests are lost with it. They leave the host, room
// and all, and keep what is not the host's: quota, ports, what they were built of. One that is being built, deleted or acted upon is
// left to its workflow; idle are those that have none any more. Again is success.
func (s *Store) FailServersOf(ctx context.Context, f ForgottenHost, because ServerFault, idle ...string) error {
	from := slices.DeleteFunc(append(slices.Clone(lifecycle.Failed.From), lifecycle.Failed.To), func(s lifecycle.VMState) bool { return s == lifecycle.Building })
	err := s.exec(ctx, `
WITH lost AS (
         UPDATE servers SET `+isError+`, task_state = NULL, power_state = 0, host_id = NULL, updated_at = @at
         WHERE host_id = @host_id AND vm_state = ANY(@from) AND deleted_at IS NULL
           AND (task_state IS NULL OR id = ANY(@idle) AND task_state <> @deleting)
         RETURNING id, project_id),
     room AS (DELETE FROM placements WHERE host_id = @host_id AND server_id IN (SELECT id FROM lost)),
     -- What a server was before it moved here nobody can have back: it is in error.
     moved AS (
         UPDATE migrations m SET status = @migration_error, updated_at = @at FROM lost WHERE m.server_id = lost.id AND m.status <> ALL(@over)
         RETURNING m.server_id, m.new_flavor),
     claim AS (
         UPDATE claims c SET cores = (moved.new_flavor->>'vcpus')::integer, ram_mib = (moved.new_flavor->>'ram_mib')::integer
         FROM moved WHERE c.server_id = moved.server_id),
     kept AS (
         UPDATE placements SET role = @left WHERE host_id <> @host_id AND role = @active AND server_id IN (SELECT server_id FROM moved)),
     fault AS (
         INSERT INTO server_faults (server_id, code, message, details, created_at) SELECT id, @code, @message, @details, @at FROM lost),
     action AS (
         INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, message, started_at, updated_at)
         SELECT id, @request_id, 'forget-host', @user_id, project_id, 'Error', @at, @at FROM lost ON CONFLICT (server_id, request_id) DO NOTHING)
UPDATE forgotten_hosts SET servers = servers + (SELECT count(*) FROM lost) WHERE host_id = @host_id`, named{
		"migration_error": MigrationError, "over": migrationsOver, "left": PlacementLeft, "active": PlacementActive,
		"host_id": f.HostID, "from": statesOf(from), "idle": append([]string{}, idle...), "deleting": lifecycle.Deleting, "at": now(),
		"code": because.Code, "message": because.Message, "details": because.Details, "request_id": f.RequestID, "user_id": f.UserID,
	})
	return failed(err, "fail the servers of host %s", f.HostID)
}

// ServersOn are the servers that are placed or hold room on a host, in whatever state.
func (s *Store) ServersOn(ctx context.Context, hostID string) (ids []string, err error) {
	err = s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SELECT server_id FROM placements WHERE host_id = $1 UNION SELECT id FROM servers WHERE host_id = $1 ORDER BY 1`, hostID).
			Query(func(rows pgx.Rows) (err error) {
				ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			})
	})
	return ids, failed(err, "list what is on host %s", hostID)
}

// NoteForget keeps what giving a host up waits for.
func (s *Store) NoteForget(ctx context.Context, hostID, waitsFor string) error {
	err := s.exec(ctx, `UPDATE forgotten_hosts SET waits_for = $2 WHERE host_id = $1 AND done_at IS NULL`, hostID, waitsFor)
	return failed(err, "note what giving host %s up waits for", hostID)
}

// EndForget removes the row of a host that was given up, and on which nothing is any more. Conflict while something is; again is
// success.
func (s *Store) EndForget(ctx context.Context, hostID string) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM hosts WHERE id = $1 AND `+isForgotten, hostID)
		b.Queue(`UPDATE forgotten_hosts SET done_at = $2, waits_for = '' WHERE host_id = $1 AND done_at IS NULL`, hostID, now())
	})
	if violates(err, "allocations_host_id_fkey") || violates(err, "servers_host_id_fkey") {
		return fault.Wrap(fault.Conflict, err, "Host %s holds servers.", hostID)
	}
	return failed(err, "remove host %s", hostID)
}
