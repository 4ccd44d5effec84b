package models

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Roles of room. PlacementActive is that in which a server is built and runs. Whatever else has to hold room for a server holds it
// in a role of its own, on the same host too.
const (
	PlacementActive = "active"
	PlacementResize = "resize" // what the server becomes: until it is confirmed its old guest has the active one
	PlacementLeft   = "left"   // on a host that the server has left, or did not come to, until that is clean
)

// Placement is the room that one server holds on one host (an allocation, in Nova's Placement). A server can hold two while a
// build moves from a failed host to the next and the failed one has not yet been cleaned.
type Placement struct {
	ID        string `gorm:"primaryKey"` // ids.Placement; random where a version before it has made the row
	ServerID  string
	HostID    string
	Role      string // "" is PlacementActive
	VCPUs     int    `gorm:"column:vcpus"`
	MemoryMiB int    `gorm:"column:memory_mib"`
	DiskGiB   int    `gorm:"column:disk_gib"`
	CreatedAt time.Time

	Zone string `gorm:"-"` // that the host has to be in, when the room is taken; "" is any
}

const (
	lockHostSQL = `SELECT FROM hosts WHERE id = $1 FOR NO KEY UPDATE`
	// Locked before the placement is decided, so that of two selections for one server the second sees what the first took.
	lockServerSQL = `SELECT FROM servers WHERE id = $1 FOR NO KEY UPDATE`

	// capacitySQL is how much of a host h may be given away, with its ratios and without what is reserved. Nowhere else is it computed.
	capacitySQL = `
    floor(h.vcpus * h.cpu_ratio)::bigint AS capacity_vcpus,
    floor(greatest(h.memory_mib - h.reserved_memory_mib, 0) * h.ram_ratio)::bigint AS capacity_memory_mib,
    floor(h.disk_gib * h.disk_ratio)::bigint AS capacity_disk_gib`

	placeSQL = `
WITH host AS (
         SELECT h.hostname, h.availability_zone, h.enabled, h.ready AND NOT h.suspended AND NOT h.forced_down AS ready,
` + capacitySQL + `
         FROM hosts h WHERE h.id = @host_id),
     used AS (
         SELECT COALESCE(sum(vcpus), 0) AS vcpus, COALESCE(sum(memory_mib), 0) AS memory_mib, COALESCE(sum(disk_gib), 0) AS disk_gib
         FROM placements WHERE host_id = @host_id),
     same AS (SELECT * FROM placements WHERE server_id = @server_id AND host_id = @host_id AND role = @role),
     elsewhere AS (
         SELECT FROM placements a JOIN hosts h ON h.id = a.host_id
         WHERE a.server_id = @server_id AND a.host_id <> @host_id AND a.role = @role AND h.hostname <> ALL(@left::text[])),
     server AS (
         SELECT id, vm_state, CASE WHEN @role = '` + PlacementActive + `' THEN ` + isBuilding + ` OR ` + isUnshelved + ` ELSE task_state = @task_state END AS may
         FROM servers WHERE id = @server_id FOR NO KEY UPDATE),
     parted AS (` + partedSQL + `),
     made AS (
         INSERT INTO placements (id, server_id, host_id, role, vcpus, memory_mib, disk_gib, created_at)
         SELECT @id::text, server.id, @host_id, @role, @vcpus::integer, @memory_mib::integer, @disk_gib::integer, @at
         FROM host, used, server
         WHERE server.may AND NOT EXISTS (SELECT FROM same) AND NOT EXISTS (SELECT FROM elsewhere)
           AND host.enabled AND host.ready AND @zone IN ('', host.availability_zone) AND NOT EXISTS (SELECT FROM parted)
           AND used.vcpus + @vcpus::integer <= host.capacity_vcpus AND used.memory_mib + @memory_mib::integer <= host.capacity_memory_mib
           AND used.disk_gib + @disk_gib::integer <= host.capacity_disk_gib
         RETURNING server_id),
     placed AS (
         UPDATE servers SET host_id = @host_id, task_state = @task_state, updated_at = @at
         WHERE id IN (SELECT server_id FROM made) AND @role = '` + PlacementActive + `')
SELECT COALESCE(h.hostname, ''), COALESCE(h.availability_zone, ''), COALESCE(h.enabled, false), COALESCE(h.ready, false),
       COALESCE(h.capacity_vcpus, 0) - used.vcpus, COALESCE(h.capacity_memory_mib, 0) - used.memory_mib, COALESCE(h.capacity_disk_gib, 0) - used.disk_gib,
       EXISTS (SELECT FROM host), COALESCE((SELECT vm_state FROM server), ''), COALESCE((SELECT may FROM server), false),
       EXISTS (SELECT FROM made), EXISTS (SELECT FROM same),
       EXISTS (SELECT FROM same WHERE vcpus = @vcpus::integer AND memory_mib = @memory_mib::integer AND disk_gib = @disk_gib::integer),
       EXISTS (SELECT FROM elsewhere), COALESCE((SELECT policy FROM parted), '')
FROM used LEFT JOIN host h ON true`
)

// Place takes room on a host for a server that is in BUILD or unshelved, places the server there and shows the task state; in another role
// it takes room for one that has the task state already, and that stays where it is. HostUnfit when the host is disabled, not ready, not in
// the zone, not for the server by its group, or the room is gone. The same again is success. left are the hostnames of the hosts that the build has left, whose
// placements wait for their undo; Unavailable when the server holds room on yet another: a selection that was given up has taken effect after
// all, so the caller has to look again.
func (s *Store) Place(ctx context.Context, p Placement, taskState string, left ...string) error {
	p.Role = cmp.Or(p.Role, PlacementActive)
	if p.CreatedAt.IsZero() {
		p.CreatedAt = now()
	}
	var (
		hostname, zone            string
		state                     lifecycle.VMState
		enabled, ready, known     bool
		vcpus, memoryMiB, diskGiB int // still free
		may, made, held, theSame  bool
		elsewhere                 bool
		policy                    string // of the group that forbids it
	)
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockHostSQL, p.HostID)
		b.Queue(lockServerSQL, p.ServerID)
		b.Queue(lockGroupSQL, p.ServerID)
		b.Queue(placeSQL, named{
			"host_id": p.HostID, "server_id": p.ServerID, "role": p.Role, "id": ids.Placement(p.ServerID, p.HostID, p.Role), "vcpus": p.VCPUs, "memory_mib": p.MemoryMiB, "disk_gib": p.DiskGiB,
			"at": p.CreatedAt, "task_state": taskState, "zone": p.Zone, "left": append([]string{}, left...),
		}).QueryRow(func(r pgx.Row) error {
			return r.Scan(&hostname, &zone, &enabled, &ready, &vcpus, &memoryMiB, &diskGiB, &known, &state, &may, &made, &held, &theSame, &elsewhere, &policy)
		})
	})
	unfit := func(format string, args ...any) error {
		return fault.New(fault.HostUnfit, "Host %s "+format, append([]any{hostname}, args...)...)
	}
	switch {
	case err != nil:
		return failed(err, "place server %s on host %s", p.ServerID, p.HostID)
	case made || theSame:
		return nil
	case state == "" || state == lifecycle.Deleted:
		return noServer(p.ServerID)
	case held:
		return fault.New(fault.Conflict, "Instance %s has another allocation on host %s already.", p.ServerID, hostname)
	case !may:
		return wrongState(p.ServerID, state, "allocate a host")
	case elsewhere:
		return fault.New(fault.Unavailable, "Instance %s has just been placed on another host.", p.ServerID)
	case !known:
		return fault.New(fault.HostUnfit, "Host %s is not registered any more.", p.HostID)
	case !enabled:
		return unfit("is disabled.")
	case !ready:
		return unfit("is not ready.")
	case p.Zone != "" && p.Zone != zone:
		return unfit("is in availability zone %s by now.", zone)
	case policy != "":
		return unfit("is not for the server by its group's policy %s.", policy)
	case p.VCPUs > vcpus:
		return unfit("has %d vCPUs left, %d are needed.", max(vcpus, 0), p.VCPUs)
	case p.MemoryMiB > memoryMiB:
		return unfit("has %d MiB of memory left, %d are needed.", max(memoryMiB, 0), p.MemoryMiB)
	}
	return unfit("has %d GiB of disk left, %d are needed.", max(diskGiB, 0), p.DiskGiB)
}

// ReleasePlacement gives the room on a host back, whatever role it has; absent is success. A server placed on that host is placed nowhere
// then, and if it is still being built shows "scheduling", one that is unshelved "unshelving".
func (s *Store) ReleasePlacement(ctx context.Context, serverID, hostname string) error {
	err := s.exec(ctx, `
WITH host AS (SELECT id FROM hosts WHERE hostname = @hostname),
     gone AS (DELETE FROM placements WHERE server_id = @server_id AND host_id IN (SELECT id FROM host))
UPDATE servers
SET host_id = NULL, updated_at = @at,
    task_state = CASE WHEN `+isBuilding+` AND task_state IS DISTINCT FROM @deleting THEN @scheduling
        WHEN `+isOffloaded+` AND task_state = '`+lifecycle.Spawning+`' THEN '`+lifecycle.Unshelving+`' ELSE task_state END
WHERE id = @server_id AND host_id IN (SELECT id FROM host)`, named{
		"server_id": serverID, "hostname": hostname, "at": now(), "deleting": lifecycle.Deleting,
		"scheduling": lifecycle.Scheduling,
	})
	return failed(err, "release the placement of server %s on host %s", serverID, hostname)
}

// Placements of a server, oldest first.
func (s *Store) Placements(ctx context.Context, serverID string) ([]Placement, error) {
	all := []Placement{}
	err := s.db.WithContext(ctx).Where("server_id = ?", serverID).Order("created_at, host_id").Find(&all).Error
	return all, failed(err, "list the placements of server %s", serverID)
}

// needsImageSQL says whether a server that holds room on the host was built of the image, as its root, kernel or ramdisk, or is built
// anew of it. Of a server whose build did not keep the latter two, its image names them, where ResolveImage has read them; an image that was
// deleted still does.
const needsImageSQL = `
SELECT EXISTS (
    SELECT FROM placements p JOIN servers s ON s.id = p.server_id JOIN images i ON i.id = s.image_id
        LEFT JOIN server_specs k ON k.server_id = s.id
    WHERE p.host_id = $1 AND s.deleted_at IS NULL
      AND (i.id = $2 OR s.shelved_image_id = $2 OR CASE WHEN k.parts IS NULL THEN i.properties->>'kernel_id' = $2 OR i.properties->>'ramdisk_id' = $2
                             ELSE k.parts ? $2 END))`

// HostNeedsImage says whether a server that is not deleted holds room on the host, in whatever role, and needs the image there. A
// build holds it before it fetches.
func (s *Store) HostNeedsImage(ctx context.Context, hostID, imageID string) (needs bool, err error) {
	err = withRetries(ctx, func() error { return s.pool.QueryRow(ctx, needsImageSQL, hostID, imageID).Scan(&needs) })
	return needs, failed(err, "look whether host %s needs image %s", hostID, imageID)
}
