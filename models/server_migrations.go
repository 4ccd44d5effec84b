package models

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Migration is one resize of a server (Nova calls both that, nova/objects/migration.py). It stays when it is over.
type Migration struct {
	ID         int64  `gorm:"primaryKey"` // chosen by the database
	UUID       string `gorm:"column:uuid"`
	ServerID   string
	RequestID  string
	EndedBy    *string // the request that confirmed or reverted it
	UserID     string
	ProjectID  string
	Kind       string
	Status     string
	SourceHost string
	DestHost   string
	OldFlavor  FlavorSnapshot `gorm:"serializer:json"`
	NewFlavor  FlavorSnapshot `gorm:"serializer:json"`
	// The room on disk of each: a flavor without a root disk takes its image's.
	OldDiskGiB int               `gorm:"column:old_disk_gib"`
	NewDiskGiB int               `gorm:"column:new_disk_gib"`
	OldVMState lifecycle.VMState `gorm:"column:old_vm_state"` // what a revert makes of the server
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// MigrationResize is the kind of a move to another flavor.
const MigrationResize = "resize"

// Statuses of migrations, Nova's. Two rooms are held, and the larger quota, until one is confirmed, reverted or in error.
const (
	MigrationBegun     = "pre-migrating"
	MigrationMigrating = "migrating"
	MigrationMoved     = "post-migrating"
	MigrationFinished  = "finished"
	MigrationConfirmed = "confirmed"
	MigrationReverted  = "reverted"
	MigrationError     = "error"
)

// BeginMigration records what a request begins to do. The same again is success. Of one before it that was neither confirmed nor
// reverted, because an operator has set its server's state, the server stays what that made of it.
func (s *Store) BeginMigration(ctx context.Context, m Migration) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockServerSQL, m.ServerID)
		b.Queue(`
WITH left_over AS (
         UPDATE migrations SET status = @error, updated_at = @at WHERE server_id = @server_id AND request_id <> @request_id AND status <> ALL(@over)
         RETURNING id),
     gone AS (
         DELETE FROM placements WHERE server_id = @server_id AND role = @role AND EXISTS (SELECT FROM left_over)
         RETURNING vcpus, memory_mib, disk_gib)
UPDATE placements p SET vcpus = gone.vcpus, memory_mib = gone.memory_mib, disk_gib = gone.disk_gib
FROM gone WHERE p.server_id = @server_id AND p.role = @active`,
			named{
				"server_id": m.ServerID, "request_id": m.RequestID, "at": now(), "error": MigrationError, "role": PlacementResize,
				"active": PlacementActive, "over": []string{MigrationConfirmed, MigrationReverted, MigrationError},
			})
		b.Queue(`
INSERT INTO migrations (server_id, request_id, user_id, project_id, kind, status, source_host, dest_host,
    old_flavor, new_flavor, old_disk_gib, new_disk_gib, old_vm_state, created_at, updated_at)
SELECT id, @request_id, user_id, project_id, @kind, @status, @source_host, @dest_host, @old_flavor::jsonb, @new_flavor::jsonb, @old_disk_gib, @new_disk_gib,
    @old_vm_state, @at, @at
FROM servers WHERE id = @server_id AND deleted_at IS NULL
ON CONFLICT DO NOTHING`,
			named{
				"server_id": m.ServerID, "request_id": m.RequestID, "kind": m.Kind, "status": MigrationBegun,
				"source_host": m.SourceHost, "dest_host": m.DestHost, "old_flavor": asJSON(m.OldFlavor), "new_flavor": asJSON(m.NewFlavor),
				"old_disk_gib": m.OldDiskGiB, "new_disk_gib": m.NewDiskGiB, "old_vm_state": string(m.OldVMState), "at": now(),
			})
	})
	return failed(err, "record the resize of server %s", m.ServerID)
}

// ClaimLarger has a server claim what a flavor takes more than its own, if the project's claims stay within the limits, else
// OverQuota in Nova's words. What the server has claimed already is success.
func (s *Store) ClaimLarger(ctx context.Context, c Claim, l Limits) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM projects WHERE id = ? FOR NO KEY UPDATE`, c.ProjectID).Error; err != nil {
			return err
		}
		more, err := larger(tx, c, l)
		if err != nil || more == (Usage{}) {
			return err
		}
		return tx.Exec(`UPDATE claims SET cores = cores + ?, ram_mib = ram_mib + ? WHERE server_id = ?`, more.Cores, more.RAMMiB, c.ServerID).Error
	})
	return failed(err, "claim quota of project %s for the resize of server %s", c.ProjectID, c.ServerID)
}

// CheckLarger is ClaimLarger that claims nothing.
func (s *Store) CheckLarger(ctx context.Context, c Claim, l Limits) error {
	_, err := larger(s.db.WithContext(ctx), c, l)
	return failed(err, "look whether project %s may resize server %s", c.ProjectID, c.ServerID)
}

// larger is what a claim is more than what its server has; none where that has given its own back, since it is being deleted. As in
// Nova a limit counts where its resource grows.
func larger(tx *gorm.DB, c Claim, l Limits) (more Usage, err error) {
	var mine Claim
	if found := tx.Where("server_id = ?", c.ServerID).Take(&mine); found.Error != nil {
		if isAbsent(found.Error) {
			return more, nil
		}
		return more, found.Error
	}
	more = Usage{Cores: max(c.Cores-mine.Cores, 0), RAMMiB: max(c.RAMMiB-mine.RAMMiB, 0)}
	var used Usage
	if err := tx.Raw(usageSQL, map[string]any{"project_id": c.ProjectID}).Scan(&used).Error; err != nil {
		return more, err
	}
	if more.Cores == 0 {
		l.Cores = -1
	}
	if more.RAMMiB == 0 {
		l.RAMMiB = -1
	}
	over := func(more, used, limit int) bool { return limit >= 0 && used+more > limit }
	if over(more.Cores, used.Cores, l.Cores) || over(more.RAMMiB, used.RAMMiB, l.RAMMiB) {
		return more, overQuota(Claim{Cores: more.Cores, RAMMiB: more.RAMMiB}, "0", used, Limits{Instances: -1, Cores: l.Cores, RAMMiB: l.RAMMiB})
	}
	return more, nil
}

// MoveMigration makes a server's last migration what it is to be where it is one of what it was, and has the server hold the rooms
// and claim the quota that follow from that. It is the request's own, or, with ends, the one that the request ends. Again is
// success; moved says that it is what it is to be.
func (s *Store) MoveMigration(ctx context.Context, serverID, requestID string, ends bool, from []string, to string) (moved bool, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		moved = false
		if err := tx.Exec(`SELECT FROM servers WHERE id = ? FOR NO KEY UPDATE`, serverID).Error; err != nil {
			return err
		}
		var m Migration
		found := tx.Where("server_id = ?", serverID).Order("id DESC").Take(&m)
		if isAbsent(found.Error) {
			return nil
		}
		if found.Error != nil {
			return found.Error
		}
		mine := m.RequestID == requestID
		if ends {
			mine = m.EndedBy == nil || *m.EndedBy == requestID
		}
		if !mine || m.Status != to && !slices.Contains(from, m.Status) {
			return nil
		}
		if moved = true; m.Status != to {
			m.Status, m.EndedBy, m.UpdatedAt = to, nil, now()
			if ends && m.over() {
				m.EndedBy = &requestID
			}
			if err := tx.Model(&m).Select("status", "ended_by", "updated_at").Updates(&m).Error; err != nil {
				return err
			}
		}
		return m.settle(tx)
	})
	return moved, failed(err, "make the resize of server %s %s", serverID, to)
}

func (m Migration) over() bool {
	return slices.Contains([]string{MigrationConfirmed, MigrationReverted, MigrationError}, m.Status)
}

// settle makes the server's rooms and claim what follows from the status. It asks no limits: what is put back was held before.
func (m Migration) settle(tx *gorm.DB) error {
	is, diskGiB := m.OldFlavor, m.OldDiskGiB
	if m.Status == MigrationConfirmed {
		is, diskGiB = m.NewFlavor, m.NewDiskGiB
	}
	err := tx.Model(&Placement{}).Where("server_id = ? AND role = ?", m.ServerID, PlacementActive).
		Updates(map[string]any{"vcpus": is.VCPUs, "memory_mib": is.RAMMiB, "disk_gib": diskGiB}).Error
	if err != nil {
		return err
	}
	claim := map[string]any{"cores": is.VCPUs, "ram_mib": is.RAMMiB}
	if m.over() {
		err = tx.Where("server_id = ? AND role = ?", m.ServerID, PlacementResize).Delete(&Placement{}).Error
	} else {
		claim = map[string]any{"cores": max(m.OldFlavor.VCPUs, m.NewFlavor.VCPUs), "ram_mib": max(m.OldFlavor.RAMMiB, m.NewFlavor.RAMMiB)}
		err = m.hold(tx)
	}
	if err != nil {
		return err
	}
	return tx.Model(&Claim{}).Where("server_id = ?", m.ServerID).Updates(claim).Error
}

// hold has a server that has one room have the other, too.
func (m Migration) hold(tx *gorm.DB) error {
	var h Host
	if found := tx.Select("id").Where("hostname = ?", m.DestHost).Take(&h); found.Error != nil {
		if isAbsent(found.Error) {
			return nil // a host that was forgotten has no room
		}
		return found.Error
	}
	return tx.Exec(`
INSERT INTO placements (id, server_id, host_id, role, vcpus, memory_mib, disk_gib, created_at)
SELECT @id, server_id, @host_id, @role, @vcpus, @memory_mib, @disk_gib, @at FROM placements WHERE server_id = @server_id AND role = @active
ON CONFLICT DO NOTHING`, map[string]any{
		"id": ids.Placement(m.ServerID, h.ID, PlacementResize), "host_id": h.ID, "role": PlacementResize, "vcpus": m.NewFlavor.VCPUs,
		"memory_mib": m.NewFlavor.RAMMiB, "disk_gib": m.NewDiskGiB, "at": now(), "server_id": m.ServerID, "active": PlacementActive,
	}).Error
}

// LastMigration of a server; NotFound where it was never resized.
func (s *Store) LastMigration(ctx context.Context, serverID string) (Migration, error) {
	var m Migration
	err := s.db.WithContext(ctx).Where("server_id = ?", serverID).Order("id DESC").Take(&m).Error
	if isAbsent(err) {
		return m, fault.New(fault.NotFound, "Instance %s has not been resized.", serverID)
	}
	return m, failed(err, "read the last resize of server %s", serverID)
}

// Unconfirmed are some servers that were resized before a time and are neither confirmed nor reverted, and to which nothing is
// being done.
func (s *Store) Unconfirmed(ctx context.Context, before time.Time) ([]Server, error) {
	var all []Server
	err := s.db.WithContext(ctx).Where(isResized+` AND task_state IS NULL
		AND EXISTS (SELECT FROM migrations m WHERE m.server_id = servers.id AND m.status = ? AND m.updated_at < ?)`, MigrationFinished, before).
		Order("updated_at, id").Limit(1000).Find(&all).Error
	return all, failed(err, "look for resizes to confirm")
}

// MigrationFilter selects migrations; an empty field is all.
type MigrationFilter struct {
	ServerID, Status, Kind, SourceHost, UserID, ProjectID string
	Host                                                  string // the source or the destination
	ChangesSince, ChangesBefore                           *time.Time
	Marker                                                string // a migration's uuid
	Limit                                                 int    // 0 is all
}

var migrationOrder = order{keys: map[string]string{"created_at": "created_at"}, id: "uuid", preset: Sort{Key: "created_at", Desc: true}}

// ListMigrations lists the migrations that the filter selects, newest first.
func (s *Store) ListMigrations(ctx context.Context, f MigrationFilter) ([]Migration, error) {
	all := []Migration{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		q := tx.Model(&Migration{})
		for column, value := range map[string]string{
			"server_id": f.ServerID, "status": f.Status, "kind": f.Kind, "source_host": f.SourceHost, "user_id": f.UserID, "project_id": f.ProjectID,
		} {
			if value != "" {
				q = q.Where(column+" = ?", value)
			}
		}
		if f.Host != "" {
			q = q.Where("(source_host = ? OR dest_host = ?)", f.Host, f.Host)
		}
		if f.ChangesSince != nil {
			q = q.Where("updated_at >= ?", f.ChangesSince)
		}
		if f.ChangesBefore != nil {
			q = q.Where("updated_at <= ?", f.ChangesBefore)
		}
		q, err := migrationOrder.page(q, tx.Model(&Migration{}), nil, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the migrations")
}
