package models

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
)

// AuditQuestion says which records an audit wants: all, or those of some servers.
type AuditQuestion struct {
	All      bool
	Hostname string   // the servers that are placed or hold room on the host, …
	After    string   // … behind this id
	Through  string   // … up to and with this one; "" is to the end
	Servers  []string // and these
	Images   []string // and the active images with these SHA-512
}

const (
	auditServerIDs = `
SELECT id FROM servers WHERE @all AND deleted_at IS NULL
UNION SELECT server_id FROM claims WHERE @all
UNION SELECT server_id FROM placements WHERE @all
UNION SELECT server_id FROM ports WHERE @all AND server_id IS NOT NULL
UNION SELECT server_id FROM server_specs WHERE @all
UNION SELECT s.id FROM servers s JOIN hosts h ON h.id = s.host_id WHERE h.hostname = @hostname AND s.id > @after AND (@through = '' OR s.id <= @through)
UNION SELECT a.server_id FROM placements a JOIN hosts h ON h.id = a.host_id
      WHERE h.hostname = @hostname AND a.server_id > @after AND (@through = '' OR a.server_id <= @through)
UNION SELECT unnest(@servers::text[])`
)

// How many NICs a server has, its build's events tell: those after its last choice of a host. The first server of its
// reservation matters while the reservation may still work on it.
var auditServersSQL = `
SELECT s.id, s.created_at, s.project_id, s.name, s.vm_state, COALESCE(s.task_state, ''), s.launched_at IS NOT NULL, COALESCE(h.hostname, ''), COALESCE((` + keptOnSQL + `), ''),
       s.flavor, COALESCE(i.virtual_bytes, i.size_bytes, 0),
       COALESCE((SELECT a.request_id FROM instance_actions a WHERE a.server_id = s.id AND a.action = 'create' ORDER BY a.started_at LIMIT 1), ''),
       CASE WHEN s.` + stands + ` THEN (
           SELECT count(*) FROM instance_action_events e
           WHERE e.server_id = s.id AND e.event = 'AllocateNetwork' AND e.seq > (
               SELECT max(c.seq) FROM instance_action_events c
               WHERE c.server_id = e.server_id AND c.request_id = e.request_id AND c.event = 'SelectHost')) ELSE 0 END,
       CASE WHEN s.` + isBuilding + ` AND s.reservation_id <> '' THEN COALESCE((
           SELECT f.id FROM servers f WHERE f.reservation_id = s.reservation_id AND f.project_id = s.project_id AND f.launch_index = 0 LIMIT 1), '') ELSE '' END
FROM servers s LEFT JOIN hosts h ON h.id = s.host_id LEFT JOIN images i ON i.id = s.image_id
WHERE s.id = ANY($1) ORDER BY s.id`

// AuditRecords reads what an audit compares, on one consistent view.
func (s *Store) AuditRecords(ctx context.Context, q AuditQuestion) (audit.Records, error) {
	var r audit.Records
	err := withRetries(ctx, func() error {
		return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
			r, err = auditRecords(ctx, tx, q)
			return err
		})
	})
	return r, failed(err, "read the records to audit")
}

func auditRecords(ctx context.Context, tx pgx.Tx, q AuditQuestion) (audit.Records, error) {
	r := audit.Records{Images: map[string]contract.Image{}}
	rows, err := tx.Query(ctx, auditServerIDs, named{
		"all": q.All, "hostname": q.Hostname, "after": q.After, "through": q.Through,
		"servers": append([]string{}, q.Servers...),
	})
	if err != nil {
		return r, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return r, err
	}
	var b pgx.Batch
	b.Queue(auditServersSQL, ids).Query(func(rows pgx.Rows) error {
		var v audit.Server
		var flavor FlavorSnapshot
		var imageBytes int64
		_, err := pgx.ForEachRow(rows, []any{
			&v.ID, &v.CreatedAt, &v.ProjectID, &v.Name, &v.VMState, &v.TaskState, &v.Launched, &v.Host, &v.Kept, &flavor, &imageBytes, &v.RequestID, &v.NICs, &v.First,
		}, func() error {
			v.VCPUs, v.RAMMiB, v.Resources = flavor.VCPUs, flavor.RAMMiB, roomOf(flavor, imageBytes)
			r.Servers = append(r.Servers, v)
			flavor = FlavorSnapshot{}
			return nil
		})
		return err
	})
	b.Queue(`SELECT server_id, project_id FROM claims WHERE server_id = ANY($1) ORDER BY server_id`, ids).Query(func(rows pgx.Rows) (err error) {
		r.Claims, err = pgx.CollectRows(rows, pgx.RowToStructByPos[audit.Claim])
		return err
	})
	b.Queue(`SELECT DISTINCT a.server_id, h.hostname FROM placements a JOIN hosts h ON h.id = a.host_id WHERE a.server_id = ANY($1) ORDER BY 1, 2`, ids).
		Query(func(rows pgx.Rows) (err error) {
			r.Allocations, err = pgx.CollectRows(rows, pgx.RowToStructByPos[audit.Allocation])
			return err
		})
	b.Queue(`SELECT id, server_id, nic_index, made_by_build FROM ports WHERE server_id = ANY($1) ORDER BY server_id, nic_index`, ids).
		Query(func(rows pgx.Rows) (err error) {
			r.Ports, err = pgx.CollectRows(rows, pgx.RowToStructByPos[audit.Port])
			return err
		})
	b.Queue(`SELECT server_id FROM server_specs WHERE server_id = ANY($1) ORDER BY server_id`, ids).Query(func(rows pgx.Rows) (err error) {
		r.Specs, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	b.Queue(`
SELECT DISTINCT ON (sha512) id, COALESCE(name, ''), sha512, size_bytes, COALESCE(virtual_bytes, size_bytes), COALESCE(disk_format, ''), COALESCE(container_format, '')
FROM images WHERE status = 'active' AND sha512 = ANY($1) ORDER BY sha512, id`, append([]string{}, q.Images...)).Query(func(rows pgx.Rows) error {
		var i contract.Image
		_, err := pgx.ForEachRow(rows, []any{&i.ID, &i.Name, &i.SHA512, &i.SizeBytes, &i.VirtualBytes, &i.DiskFormat, &i.ContainerFormat}, func() error {
			r.Images[i.SHA512] = i
			return nil
		})
		return err
	})
	b.Queue(installationSQL).QueryRow(func(row pgx.Row) error {
		i, err := scanInstallation(row)
		if i.Restore != nil {
			r.Restore = audit.Restore{At: i.Restore.NoticedAt, Acknowledged: !i.Restored(), Witnesses: i.Restore.Witnesses()}
		}
		return err
	})
	return r, tx.SendBatch(ctx, &b).Close()
}

// roomOf is what a server takes of a host, as its build asked for it: a flavor without a root disk takes the image's size.
func roomOf(f FlavorSnapshot, imageBytes int64) contract.Resources {
	const mib, gib = int64(1) << 20, int64(1) << 30
	disk := int64(f.DiskGiB) * gib
	if f.DiskGiB == 0 {
		disk = imageBytes
	}
	disk += int64(f.EphemeralGiB)*gib + int64(f.SwapMiB)*mib
	return contract.Resources{VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, DiskGiB: int((disk + gib - 1) / gib)}
}
