package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// ofAction is a server to which an action is being done, by the request that asked for it.
const ofAction = `id = @id AND deleted_at IS NULL AND task_state = ANY(@tasks)
    AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = servers.id AND a.request_id = @request_id AND a.message IS NULL)`

// shelving writes one statement about a server to which an action is being done; Conflict where it is not any more. The statement
// answers whether it found the server so.
func (s *Store) shelving(ctx context.Context, id, requestID string, action lifecycle.Action, what, sql string, args named) error {
	args["id"], args["request_id"], args["tasks"], args["at"] = id, requestID, action.Tasks(), now()
	var found bool
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockServerSQL, id)
		b.Queue(sql, args).QueryRow(func(r pgx.Row) error { return r.Scan(&found) })
	})
	if err == nil && !found {
		err = fault.New(fault.Conflict, "Instance %s is not being %s any more.", id, what)
	}
	return failed(err, "%s server %s", action.Method, id)
}

// RecordShelve keeps of which image a server can be built anew, and since when. Again is success, also when the action has ended.
func (s *Store) RecordShelve(ctx context.Context, id, requestID string, action lifecycle.Action, imageID string) error {
	return s.shelving(ctx, id, requestID, action, "shelved", `
WITH kept AS (UPDATE servers SET shelved_image_id = @image_id, shelved_at = @at, updated_at = @at WHERE `+ofAction+` RETURNING id)
SELECT EXISTS (SELECT FROM kept) OR EXISTS (SELECT FROM servers WHERE id = @id AND shelved_image_id = @image_id)`, named{"image_id": imageID})
}

// ForgetShelved has a server know of that image no more. One that is shelved, and to which nothing is being done, keeps it.
func (s *Store) ForgetShelved(ctx context.Context, id, imageID string) error {
	return failed(s.exec(ctx, `
UPDATE servers SET shelved_image_id = NULL, shelved_at = NULL
WHERE id = $1 AND shelved_image_id = $2 AND NOT (task_state IS NULL AND (`+isShelved+` OR `+isOffloaded+`))`, id, imageID),
		"forget the image of which server %s was shelved", id)
}

// LeaveHost has a server be on no host, and its ports be bound to none. Its room there is held until its guest is gone. Conflict where
// it is on another; again is success.
func (s *Store) LeaveHost(ctx context.Context, id, requestID string, action lifecycle.Action, hostname string) error {
	return s.shelving(ctx, id, requestID, action, "offloaded", `
WITH gone AS (
         UPDATE servers SET host_id = NULL, updated_at = @at
         WHERE `+ofAction+` AND shelved_image_id IS NOT NULL AND (host_id IS NULL OR host_id = (SELECT id FROM hosts WHERE hostname = @hostname))
         RETURNING id),
     unbound AS (UPDATE ports SET host_id = NULL, updated_at = @at WHERE server_id IN (SELECT id FROM gone))
SELECT EXISTS (SELECT FROM gone)`, named{"hostname": hostname})
}

// StayOnHost undoes that. A server that has left its host for good, or is gone, is success.
func (s *Store) StayOnHost(ctx context.Context, id, requestID string, action lifecycle.Action, hostname string) error {
	return failed(s.exec(ctx, `
WITH host AS (SELECT id FROM hosts WHERE hostname = @hostname),
     back AS (
         UPDATE servers SET host_id = (SELECT id FROM host), updated_at = @at
         WHERE `+ofAction+` AND host_id IS NULL AND NOT `+isOffloaded+` RETURNING id)
UPDATE ports SET host_id = (SELECT id FROM host), updated_at = @at WHERE server_id IN (SELECT id FROM back)`, named{
		"id": id, "request_id": requestID, "tasks": action.Tasks(), "hostname": hostname, "at": now(),
	}), "have server %s stay on host %s", id, hostname)
}

// BindPorts binds the ports of a server to the host that it is placed on; again is success. Conflict where it is on another.
func (s *Store) BindPorts(ctx context.Context, id, hostname string) error {
	var here bool
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockServerSQL, id)
		b.Queue(`
WITH here AS (SELECT s.id, s.host_id FROM servers s JOIN hosts h ON h.id = s.host_id WHERE s.id = $1 AND h.hostname = $2 AND s.deleted_at IS NULL),
     bound AS (UPDATE ports p SET host_id = here.host_id, updated_at = $3 FROM here WHERE p.server_id = here.id)
SELECT EXISTS (SELECT FROM here)`, id, hostname, now()).QueryRow(func(r pgx.Row) error { return r.Scan(&here) })
	})
	if err == nil && !here {
		err = fault.New(fault.Conflict, "Instance %s is not placed on host %s.", id, hostname)
	}
	return failed(err, "bind the ports of server %s to host %s", id, hostname)
}

// UnbindPorts undoes that: those that are bound to the host are bound to none.
func (s *Store) UnbindPorts(ctx context.Context, id, hostname string) error {
	return failed(s.exec(ctx, `
UPDATE ports SET host_id = NULL, updated_at = $3 WHERE server_id = $1 AND host_id = (SELECT id FROM hosts WHERE hostname = $2)`, id, hostname, now()),
		"unbind the ports of server %s from host %s", id, hostname)
}

// AskZone changes the availability zone that a server is to be in; "" is any. Again is success, also when the action has ended.
func (s *Store) AskZone(ctx context.Context, id, requestID string, action lifecycle.Action, zone string) error {
	return s.shelving(ctx, id, requestID, action, "unshelved", `
WITH asked AS (UPDATE servers SET availability_zone = @zone, updated_at = @at WHERE `+ofAction+` RETURNING id)
SELECT EXISTS (SELECT FROM asked) OR EXISTS (SELECT FROM servers WHERE id = @id AND availability_zone = @zone)`, named{"zone": zone})
}

// Shelved are some servers that were shelved before a time, are on their hosts all the same, and to which nothing is being done.
func (s *Store) Shelved(ctx context.Context, before time.Time) ([]Server, error) {
	var all []Server
	err := s.db.WithContext(ctx).Where(isShelved+` AND task_state IS NULL AND host_id IS NOT NULL AND shelved_at < ?`, before).
		Order("shelved_at, id").Limit(1000).Find(&all).Error
	return all, failed(err, "look for shelved servers that are to leave their hosts")
}

// OffloadServersOf has shelved servers leave a host that was given up: what is lost with it is what their images keep. One whose image
// is gone, or to which something is being done, is left. idle are as in FailServersOf. Again is success.
func (s *Store) OffloadServersOf(ctx context.Context, f ForgottenHost, idle ...string) error {
	err := s.exec(ctx, `
WITH kept AS (
         UPDATE servers SET vm_state = @to, task_state = NULL, host_id = NULL, updated_at = @at
         WHERE host_id = @host_id AND vm_state = ANY(@from) AND deleted_at IS NULL
           AND (task_state IS NULL OR id = ANY(@idle) AND task_state <> @deleting)
           AND EXISTS (SELECT FROM images i WHERE i.id = shelved_image_id AND i.status = @active AND i.deleted_at IS NULL)
         RETURNING id, project_id),
     room AS (DELETE FROM placements WHERE host_id = @host_id AND server_id IN (SELECT id FROM kept)),
     unbound AS (UPDATE ports SET host_id = NULL, updated_at = @at WHERE server_id IN (SELECT id FROM kept))
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
SELECT id, @request_id, 'forget-host', @user_id, project_id, @at, @at FROM kept ON CONFLICT (server_id, request_id) DO NOTHING`, named{
		"host_id": f.HostID, "to": string(lifecycle.HostLost.To), "from": statesOf(lifecycle.HostLost.From), "idle": append([]string{}, idle...),
		"deleting": lifecycle.Deleting, "active": string(ImageActive), "at": now(), "request_id": f.RequestID, "user_id": f.UserID,
	})
	return failed(err, "have the shelved servers of host %s leave it", f.HostID)
}
