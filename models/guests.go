package models

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Guest is what the row says of a server's guest while nothing is done to the server.
type Guest struct {
	ServerID   string
	VMState    lifecycle.VMState
	PowerState int
	AsOf       time.Time // the row's last change

	EndsAtShutdown bool
}

// Guests lists those of the servers on a host that were built and to which nothing is being done.
func (s *Store) Guests(ctx context.Context, hostID string) ([]Guest, error) {
	var all []Guest
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
SELECT id AS server_id, vm_state, power_state, updated_at AS as_of, ends_at_shutdown FROM servers
WHERE host_id = $1 AND task_state IS NULL AND launched_at IS NOT NULL AND deleted_at IS NULL ORDER BY id`, hostID).
			Query(func(rows pgx.Rows) (err error) {
				all, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[Guest])
				return err
			})
	})
	return all, failed(err, "list the guests of host %s", hostID)
}

// Sighting is how a host found a guest after it had read of it.
type Sighting struct {
	ServerID   string
	AsOf       time.Time // of the Guest that was read before
	PowerState int
	Hostname   string
	What       string // happened, for users, where the guest is down
}

// SawGuest writes what a host saw. It counts only where the row is what it was before the host looked: whatever was begun or
// ended since knows better. A server that is active and whose guest is down is stopped, which is recorded as an action; moved
// says whether it was.
func (s *Store) SawGuest(ctx context.Context, hostID string, g Sighting) (moved bool, err error) {
	down := g.PowerState == lifecycle.Shutdown || g.PowerState == lifecycle.Crashed
	at := now()
	action, err := uuid.NewV7()
	if err != nil {
		return false, err
	}
	requestID := "req-" + action.String()
	result := "Success"
	var message *string
	if g.PowerState == lifecycle.Crashed {
		result, message = "Error", new("Error")
	}
	err = s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH was AS (
         SELECT id, @down AND vm_state = ANY(@from) AS goes FROM servers
         WHERE id = @id AND host_id = @host_id AND updated_at = @as_of AND task_state IS NULL AND launched_at IS NOT NULL AND deleted_at IS NULL
         FOR NO KEY UPDATE),
     seen AS (
         UPDATE servers SET power_state = @power_state, updated_at = @at, vm_state = CASE WHEN was.goes THEN @to ELSE vm_state END
         FROM was WHERE servers.id = was.id
         RETURNING servers.id, user_id, project_id, was.goes)
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, message, started_at, updated_at)
SELECT id, @request_id, 'stop', user_id, project_id, @message, @at, @at FROM seen WHERE goes RETURNING true`,
			named{
				"id": g.ServerID, "host_id": hostID, "as_of": g.AsOf, "power_state": g.PowerState, "down": down,
				"from": statesOf(lifecycle.WentDown.From), "at": at, "to": string(lifecycle.WentDown.To), "request_id": requestID,
				"message": message,
			}).
			Query(func(rows pgx.Rows) (err error) {
				moved = rows.Next()
				return rows.Err()
			})
		b.Queue(eventsSQL, g.ServerID, requestID, eventsJSON([]InstanceActionEvent{{
			Event: "GuestWentDown", Host: &g.Hostname, StartedAt: at, EndedAt: &at, Result: &result, Details: &g.What,
		}}))
		tell(b, requestID, lifecycle.GuestStopped, ended, g.ServerID)
	})
	return moved, failed(err, "write what host %s saw of server %s", hostID, g.ServerID)
}
