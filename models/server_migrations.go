package models

import (
	"context"
	"slices"
	"time"

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
	DestHost   string         // "" until it is chosen
	OldFlavor  FlavorSnapshot `gorm:"serializer:json"`
	NewFlavor  FlavorSnapshot `gorm:"serializer:json"`
	// The room on disk of each: a flavor without a root disk takes its image's.
	OldDiskGiB int               `gorm:"column:old_disk_gib"`
	NewDiskGiB int               `gorm:"column:new_disk_gib"`
	OldVMState lifecycle.VMState `gorm:"column:old_vm_state"` // what a revert makes of the server
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Kinds of migrations: to another flavor, on the same host or another, and to another host alone.
const (
	MigrationResize = "resize"
	MigrationCold   = "migration"
)

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
// reverted the server stays what that made of it.
func (s *Store) BeginMigration(ctx context.Context, m Migration) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM servers WHERE id = ? FOR NO KEY UPDATE`, m.ServerID).Error; err != nil {
			return err
		}
		if err := giveUpMigration(tx, m.ServerID, m.RequestID); err != nil {
			return err
		}
		return tx.Exec(`
INSERT INTO migrations (server_id, request_id, user_id, project_id, kind, status, source_host, dest_host,
    old_flavor, new_flavor, old_disk_gib, new_disk_gib, old_vm_state, created_at, updated_at)
SELECT id, @request_id, user_id, project_id, @kind, @status, @source_host, @dest_host, CAST(@old_flavor AS jsonb), CAST(@new_flavor AS jsonb), @old_disk_gib, @new_disk_gib,
    @old_vm_state, @at, @at
FROM servers WHERE id = @server_id AND deleted_at IS NULL
ON CONFLICT DO NOTHING`, map[string]any{
			"server_id": m.ServerID, "request_id": m.RequestID, "kind": m.Kind, "status": MigrationBegun,
			"source_host": m.SourceHost, "dest_host": m.DestHost, "old_flavor": asJSON(m.OldFlavor), "new_flavor": asJSON(m.NewFlavor),
			"old_disk_gib": m.OldDiskGiB, "new_disk_gib": m.NewDiskGiB, "old_vm_state": string(m.OldVMState), "at": now(),
		}).Error
	})
	return failed(err, "record the resize of server %s", m.ServerID)
}

// giveUpMigration ends the last migration of a server, but for a request's own, where it is neither confirmed nor reverted: an operator
// has set the server's state. What was made of the server stays.
func giveUpMigration(tx *gorm.DB, serverID, except string) error {
	var m Migration
	found := tx.Where("server_id = ? AND request_id <> ? AND status <> ALL(?)", serverID, except, texts(migrationsOver)).Order("id DESC").Take(&m)
	if isAbsent(found.Error) {
		return nil
	}
	if found.Error != nil {
		return found.Error
	}
	made := m.Status == MigrationFinished
	m.Status = MigrationError
	if err := tx.Model(&m).Updates(map[string]any{"status": m.Status, "updated_at": now()}).Error; err != nil {
		return err
	}
	return m.settle(tx, made)
}

// LeftHosts are the hosts on which a server has something that it has no use for any more.
func (s *Store) LeftHosts(ctx context.Context, serverID string) (hostnames []string, err error) {
	err = s.db.WithContext(ctx).Raw(`SELECT h.hostname FROM placements p JOIN hosts h ON h.id = p.host_id
		WHERE p.server_id = ? AND p.role = ? ORDER BY h.hostname`, serverID, PlacementLeft).Scan(&hostnames).Error
	return hostnames, failed(err, "look where server %s has left something", serverID)
}

// KeptOn is the host on which the guest of before is kept of a server that was moved and waits for that to be confirmed or reverted;
// "" where it has not moved, or that host was given up.
func (s *Store) KeptOn(ctx context.Context, serverID string) (hostname string, err error) {
	err = s.db.WithContext(ctx).Raw(`SELECT COALESCE((`+keptOnSQL+` AND NOT `+isForgotten+`), '') FROM servers s WHERE s.id = ?`, serverID).Scan(&hostname).Error
	return hostname, failed(err, "look where the guest of before of server %s is kept", serverID)
}

// keptOnSQL is that of a server s.
const keptOnSQL = `
SELECT hosts.hostname FROM migrations m JOIN hosts ON hosts.hostname = m.source_host
WHERE m.server_id = s.id AND s.` + isResized + ` AND m.status = '` + MigrationFinished + `' AND m.source_host <> m.dest_host`

// ChooseDestination records where a migration that has just begun goes to. Again is success.
func (s *Store) ChooseDestination(ctx context.Context, serverID, requestID, hostname string) error {
	err := s.exec(ctx, `UPDATE migrations SET dest_host = @hostname, updated_at = @at
WHERE server_id = @server_id AND request_id = @request_id AND status = @status AND dest_host <> @hostname`, named{
		"server_id": serverID, "request_id": requestID, "hostname": hostname, "at": now(), "status": MigrationBegun,
	})
	return failed(err, "record where server %s moves to", serverID)
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
		return m.settle(tx, m.Status == MigrationConfirmed)
	})
	return moved, failed(err, "make the resize of server %s %s", serverID, to)
}

// migrationsOver are the statuses of those that hold one room, and their flavor's quota.
var migrationsOver = []string{MigrationConfirmed, MigrationReverted, MigrationError}

func (m Migration) over() bool { return slices.Contains(migrationsOver, m.Status) }

// settle makes the server's host, its rooms and its claim what follows from the status, and for one that is over from what the server is
// by now. It asks no limits: what is put back was held before.
func (m Migration) settle(tx *gorm.DB, becomes bool) error {
	is, at := m.OldFlavor, m.SourceHost
	if becomes || m.Status == MigrationFinished {
		at = m.DestHost
	}
	if becomes {
		is = m.NewFlavor
	}
	claim := map[string]any{"cores": is.VCPUs, "ram_mib": is.RAMMiB}
	if !m.over() {
		claim = map[string]any{"cores": max(m.OldFlavor.VCPUs, m.NewFlavor.VCPUs), "ram_mib": max(m.OldFlavor.RAMMiB, m.NewFlavor.RAMMiB)}
	}
	if err := tx.Model(&Claim{}).Where("server_id = ?", m.ServerID).Updates(claim).Error; err != nil {
		return err
	}
	var source, dest Host // one that was forgotten has no room
	for name, h := range map[string]*Host{m.SourceHost: &source, m.DestHost: &dest} {
		if found := tx.Select("id").Where("hostname = ?", name).Take(h); found.Error != nil && !isAbsent(found.Error) {
			return found.Error
		}
	}
	if m.SourceHost == m.DestHost {
		source = dest
	} else if err := m.movesTo(tx, at); err != nil {
		return err
	}
	return m.hold(tx, source.ID, dest.ID, becomes)
}

// movesTo has the server, and its ports, be on one of the two hosts.
func (m Migration) movesTo(tx *gorm.DB, hostname string) error {
	both := texts{m.SourceHost, m.DestHost}
	for _, table := range []string{"servers", "ports"} {
		column := "id"
		if table == "ports" {
			column = "server_id"
		}
		err := tx.Exec(`UPDATE `+table+` t SET host_id = h.id, updated_at = ? FROM hosts h
			WHERE t.`+column+` = ? AND h.hostname = ? AND t.host_id <> h.id AND t.host_id IN (SELECT id FROM hosts WHERE hostname = ANY(?))`,
			now(), m.ServerID, hostname, both).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// hold gives the server's rooms the roles and sizes that they are to have. A server that has given a host's room back is given none
// there. Room on a host that the server does not come back to stays until that host is clean.
func (m Migration) hold(tx *gorm.DB, source, dest string, becomes bool) error {
	held := []Placement{}
	if err := tx.Where("server_id = ?", m.ServerID).Find(&held).Error; err != nil {
		return err
	}
	on := func(hostID string) *Placement {
		n := slices.IndexFunc(held, func(p Placement) bool { return p.HostID == hostID })
		if n < 0 || hostID == "" {
			return nil
		}
		return &held[n]
	}
	room := func(hostID, role string, f FlavorSnapshot, diskGiB int, since time.Time) Placement {
		return Placement{
			ID: ids.Placement(m.ServerID, hostID, role), ServerID: m.ServerID, HostID: hostID, Role: role,
			VCPUs: f.VCPUs, MemoryMiB: f.RAMMiB, DiskGiB: diskGiB, CreatedAt: since,
		}
	}
	var wanted []Placement
	leave := func(p *Placement) {
		if p != nil {
			left := *p
			left.Role, left.ID = PlacementLeft, ids.Placement(m.ServerID, p.HostID, PlacementLeft)
			wanted = append(wanted, left)
		}
	}
	was, is := on(source), on(dest)
	switch {
	case !m.over():
		if was != nil {
			wanted = append(wanted, room(source, PlacementActive, m.OldFlavor, m.OldDiskGiB, was.CreatedAt))
		}
		if is != nil {
			wanted = append(wanted, room(dest, PlacementResize, m.NewFlavor, m.NewDiskGiB, m.CreatedAt))
		}
	case becomes:
		if is != nil {
			wanted = append(wanted, room(dest, PlacementActive, m.NewFlavor, m.NewDiskGiB, is.CreatedAt))
		}
		if source != dest {
			leave(was)
		}
	default:
		if was != nil {
			wanted = append(wanted, room(source, PlacementActive, m.OldFlavor, m.OldDiskGiB, was.CreatedAt))
		}
		if source != dest {
			leave(is)
		}
	}
	if err := tx.Where("server_id = ? AND host_id IN ?", m.ServerID, []string{source, dest}).Delete(&Placement{}).Error; err != nil {
		return err
	}
	if len(wanted) == 0 {
		return nil
	}
	return tx.Create(&wanted).Error
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
