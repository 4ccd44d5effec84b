package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Reservation is one request for several servers.
type Reservation struct {
	ServerID  string `gorm:"primaryKey"` // of its first server
	ID        string // Nova's r-xxxxxxxx, which each of its servers has
	ProjectID string
	UserID    string
	MinCount  int
	MaxCount  int
	CreatedAt time.Time
}

// ReservationProgress is a reservation with its servers counted. Admitted is the sum of the others.
type ReservationProgress struct {
	Reservation
	Admitted int
	Building int
	Active   int
	Failed   int // in ERROR
	Deleted  int
}

// Admission asks for servers that differ in nothing but id, name, hostname and place.
type Admission struct {
	Reservation Reservation
	Server      Server                                      // what they have in common
	Row         func(i, of int) (id, name, hostname string) // of the i-th server of so many that are admitted
	Claim       Claim                                       // each one's share of the quota
	Limits      Limits
	Action      InstanceAction
}

// AdmitServers claims quota for as many servers as fit, at most MaxCount, and makes their rows, all in one transaction; it
// answers how many. OverQuota in Nova's words where fewer than MinCount fit. The same request again is success, another one
// for the same servers Conflict.
func (s *Store) AdmitServers(ctx context.Context, a Admission) (int, error) {
	if a.Server.CreatedAt.IsZero() {
		a.Server.CreatedAt = now()
	}
	if a.Action.StartedAt.IsZero() {
		a.Action.StartedAt = a.Server.CreatedAt
	}
	if a.Server.Metadata == nil {
		a.Server.Metadata = map[string]string{}
	}
	var admitted int
	err := withRetries(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
			var b pgx.Batch
			s.taking.queue(&b)
			if err := tx.SendBatch(ctx, &b).Close(); err != nil {
				return err
			}
			admitted, err = admit(ctx, tx, a)
			return err
		})
	})
	r := a.Reservation
	switch {
	case violates(err, "claims_pkey"), violates(err, "servers_pkey"), violates(err, "reservations_id_key"):
		return 0, fault.Wrap(fault.Conflict, err, "Servers of this request exist already.")
	case violates(err, "servers_user_id_fkey"):
		return 0, noUser(r.UserID)
	case violates(err, "servers_image_id_fkey"):
		return 0, noImage(a.Server.ImageID)
	case violates(err, "servers_group_id_fkey"):
		return 0, fault.New(fault.Invalid, "Instance group %s could not be found.", *a.Server.GroupID)
	case err != nil:
		return 0, failed(err, "admit %d servers from %s", r.MaxCount, r.ServerID)
	}
	return admitted, nil
}

func admit(ctx context.Context, tx pgx.Tx, a Admission) (int, error) {
	var (
		r              = a.Reservation
		known, theSame bool
		late           bool
		same           int
		used           Usage
		b              pgx.Batch
	)
	locked, err := tx.Exec(ctx, lockProjectSQL, r.ProjectID)
	if err != nil {
		return 0, err
	}
	if locked.RowsAffected() == 0 {
		return 0, noProject(r.ProjectID)
	}
	b.Queue(`SELECT EXISTS (SELECT FROM reservations WHERE server_id = @server_id),
		EXISTS (SELECT FROM reservations r JOIN instance_actions a USING (server_id)
		        WHERE r.server_id = @server_id AND r.id = @reservation_id AND r.project_id = @project_id AND a.request_id = @request_id),
		(SELECT count(*) FROM servers WHERE reservation_id = @reservation_id AND project_id = @project_id), `+isLate("@answer_by"),
		named{
			"server_id": r.ServerID, "reservation_id": r.ID, "project_id": r.ProjectID, "request_id": a.Action.RequestID,
			"answer_by": optionalTime(a.Action.AnswerBy),
		}).
		QueryRow(func(row pgx.Row) error { return row.Scan(&known, &theSame, &same, &late) })
	b.Queue(usageSQL, named{"project_id": r.ProjectID}).QueryRow(func(row pgx.Row) error { return row.Scan(&used.Instances, &used.Cores, &used.RAMMiB) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return 0, err
	}
	switch {
	case theSame:
		return same, nil
	case known:
		return 0, fault.New(fault.Conflict, "Servers of this request exist already.")
	}
	if late {
		return 0, tooLate()
	}
	n, err := used.Admits(r.MinCount, r.MaxCount, a.Claim, a.Limits)
	if err != nil {
		return 0, err
	}
	if err := join(ctx, tx, a.Server, n); err != nil {
		return 0, err
	}
	return n, insertServers(ctx, tx, a, n)
}

// join locks the group that n more servers are to be in, if there is one, and refuses where they would be too many.
func join(ctx context.Context, tx pgx.Tx, v Server, n int) error {
	if v.GroupID == nil {
		return nil
	}
	var (
		members int
		b       pgx.Batch
	)
	b.Queue(`SELECT FROM server_groups WHERE id = $1 FOR NO KEY UPDATE`, *v.GroupID)
	b.Queue(`SELECT count(*) FROM servers WHERE group_id = $1 AND deleted_at IS NULL`, *v.GroupID).QueryRow(func(row pgx.Row) error { return row.Scan(&members) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if v.GroupLimit >= 0 && members+n > v.GroupLimit {
		return FullGroup()
	}
	return nil
}

// room is how many more such claims the limits allow.
func room(c Claim, used Usage, l Limits) int {
	const unlimited = 1 << 30
	most := unlimited
	for _, r := range []struct{ each, used, limit int }{
		{c.Instances, used.Instances, l.Instances}, {c.Cores, used.Cores, l.Cores}, {c.RAMMiB, used.RAMMiB, l.RAMMiB},
	} {
		if r.limit >= 0 && r.each > 0 {
			most = min(most, max(0, r.limit-r.used)/r.each)
		}
	}
	return most
}

// Admits says how many servers a project gets that has used so much, of which each claims c; OverQuota where that is fewer than are enough.
func (u Usage) Admits(least, most int, c Claim, l Limits) (int, error) {
	n := min(most, room(c, u, l))
	if n >= least {
		return n, nil
	}
	// Nova's TooManyInstances (nova/compute/utils.py check_num_instances_quota): what the most that was asked for exceeds, with the
	// servers as a range.
	whole := Claim{Instances: most * c.Instances, Cores: most * c.Cores, RAMMiB: most * c.RAMMiB}
	instances := fmt.Sprint(least)
	if least != most {
		instances = fmt.Sprintf("%d-%d", least, most)
	}
	return 0, overQuota(whole, instances, u, l)
}

func insertServers(ctx context.Context, tx pgx.Tx, a Admission, n int) error {
	v, c, act := a.Server, a.Claim, a.Action
	ids, names, hostnames := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		ids[i], names[i], hostnames[i] = a.Row(i, n)
	}
	if len(ids) == 0 || ids[0] != a.Reservation.ServerID {
		return errors.New("a reservation is named by its first server")
	}
	var b pgx.Batch
	b.Queue(`INSERT INTO claims (server_id, project_id, instances, cores, ram_mib, created_at)
		SELECT id, @project_id, @instances, @cores, @ram_mib, @created_at FROM unnest(@ids::text[]) id`,
		named{
			"ids": ids, "project_id": v.ProjectID, "instances": c.Instances, "cores": c.Cores, "ram_mib": c.RAMMiB,
			"created_at": v.CreatedAt,
		})
	b.Queue(`INSERT INTO servers (id, project_id, user_id, name, hostname, description, vm_state, task_state, power_state, image_id,
			flavor_id, flavor, key_name, availability_zone, config_drive, reservation_id, launch_index, created_at, updated_at, fingerprint,
			access_ip_v4, access_ip_v6, auto_disk_config, root_device_name, kernel_id, ramdisk_id, trusted_image_certificates, group_id, protected, ends_at_shutdown)
		SELECT u.id, @project_id, @user_id, u.name, u.hostname, @description, '`+building+`', @task_state, 0, @image_id,
			@flavor_id, @flavor, @key_name, @availability_zone, @config_drive, @reservation_id, u.n - 1, @created_at, @created_at, @fingerprint,
			@access_ip_v4, @access_ip_v6, @auto_disk_config, @root_device_name, @kernel_id, @ramdisk_id, NULLIF(@certificates::jsonb, 'null'), @group_id, @protected,
			@ends_at_shutdown
		FROM unnest(@ids::text[], @names::text[], @hostnames::text[]) WITH ORDINALITY AS u(id, name, hostname, n)`,
		named{
			"ids": ids, "names": names, "hostnames": hostnames, "project_id": v.ProjectID, "user_id": v.UserID,
			"description": v.Description, "task_state": v.TaskState, "image_id": v.ImageID, "flavor_id": v.FlavorID,
			"flavor": asJSON(v.Flavor), "key_name": v.KeyName, "availability_zone": v.AvailabilityZone,
			"config_drive": v.ConfigDrive, "reservation_id": a.Reservation.ID, "created_at": v.CreatedAt,
			"fingerprint": v.Fingerprint, "access_ip_v4": v.AccessIPv4, "access_ip_v6": v.AccessIPv6, "auto_disk_config": v.AutoDiskConfig,
			"root_device_name": v.RootDeviceName, "kernel_id": v.KernelID, "ramdisk_id": v.RamdiskID, "certificates": asJSON(v.TrustedCertificates),
			"group_id": v.GroupID, "protected": v.Protected, "ends_at_shutdown": v.EndsAtShutdown,
		})
	b.Queue(`INSERT INTO server_metadata (server_id, key, value) SELECT id, m.key, m.value FROM unnest($1::text[]) id, jsonb_each_text($2) m`,
		ids, asJSON(v.Metadata))
	b.Queue(`INSERT INTO server_tags (server_id, tag) SELECT id, t FROM unnest($1::text[]) id, unnest($2::text[]) t ON CONFLICT DO NOTHING`,
		ids, v.Tags)
	b.Queue(`INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
		SELECT id, @request_id, @action, @user_id, @project_id, @started_at, @started_at FROM unnest(@ids::text[]) id`,
		named{
			"ids": ids, "request_id": act.RequestID, "action": act.Action, "user_id": act.UserID, "project_id": act.ProjectID,
			"started_at": act.StartedAt,
		})
	tell(&b, act.RequestID, act.Action, started, ids...)
	r := a.Reservation
	b.Queue(`INSERT INTO reservations (server_id, id, project_id, user_id, min_count, max_count, created_at)
		VALUES (@server_id, @id, @project_id, @user_id, @min_count, @max_count, @created_at)`,
		named{
			"server_id": r.ServerID, "id": r.ID, "project_id": r.ProjectID, "user_id": r.UserID, "min_count": r.MinCount,
			"max_count": r.MaxCount, "created_at": v.CreatedAt,
		})
	return tx.SendBatch(ctx, &b).Close()
}

// DropServers is the undo of AdmitServers: those of the servers that the request made and that nothing has begun with become
// ERROR with the fault, and their claims are released. Absent ones, and those that are being deleted, are left alone; again
// is success.
func (s *Store) DropServers(ctx context.Context, ids []string, requestID string, f ServerFault) error {
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now()
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET `+isError+`, task_state = NULL, updated_at = @at
         WHERE id = ANY(@ids) AND `+isBuilding+` AND host_id IS NULL AND task_state IS DISTINCT FROM @deleting
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = servers.id AND a.request_id = @request_id)
         RETURNING id),
     fault AS (
         INSERT INTO server_faults (server_id, code, message, details, created_at) SELECT id, @code, @message, @details, @at FROM moved),
     freed AS (DELETE FROM claims WHERE server_id IN (SELECT id FROM moved))
UPDATE instance_actions SET message = 'Error', updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"ids": ids, "request_id": requestID, "at": f.CreatedAt, "deleting": lifecycle.Deleting, "code": f.Code,
				"message": f.Message, "details": f.Details,
			})
		tell(b, requestID, "create", erred, ids...)
	})
	return failed(err, "drop %d servers of request %s", len(ids), requestID)
}

func noReservation(id string) error {
	return fault.New(fault.NotFound, "Reservation %s could not be found.", id)
}

var countServersSQL = `
SELECT count(*) AS admitted, count(*) FILTER (WHERE ` + isBuilding + `) AS building, count(*) FILTER (WHERE ` + stands + `) AS active,
       count(*) FILTER (WHERE ` + isError + `) AS failed, count(*) FILTER (WHERE ` + isDeleted + `) AS deleted,
       reservation_id AS id, project_id, min(created_at) AS created_at, (array_agg(id ORDER BY launch_index))[1] AS server_id,
       (array_agg(user_id ORDER BY launch_index))[1] AS user_id, 1 AS min_count, 1 AS max_count
FROM servers WHERE reservation_id = ANY(?) AND (? = '' OR project_id = ?)
GROUP BY reservation_id, project_id`

// Reservation counts the servers of a reservation, a single server's too. projectID "" is any.
func (s *Store) Reservation(ctx context.Context, id, projectID string) (ReservationProgress, error) {
	var p ReservationProgress
	err := s.read(ctx, func(tx *gorm.DB) error {
		all, err := progressOf(tx, []string{id}, projectID)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return noReservation(id)
		}
		p = all[0]
		err = tx.Where("id = ?", id).Take(&p.Reservation).Error
		if isAbsent(err) {
			return nil // a single server's
		}
		return err
	})
	return p, failed(err, "read reservation %s", id)
}

func progressOf(tx *gorm.DB, ids []string, projectID string) ([]ReservationProgress, error) {
	var all []ReservationProgress
	err := tx.Raw(countServersSQL, texts(ids), projectID, projectID).Scan(&all).Error
	return all, err
}

// ReservationFilter selects reservations of several servers, newest first.
type ReservationFilter struct {
	ProjectID string // "" is all
	Marker    string // an id
	Limit     int    // 0 is all
}

var reservationOrder = order{
	id: "id", preset: Sort{Key: "created_at", Desc: true}, keys: map[string]string{"created_at": "created_at"},
}

// ListReservations lists what the filter selects with their servers counted, in a constant number of queries.
func (s *Store) ListReservations(ctx context.Context, f ReservationFilter) ([]ReservationProgress, error) {
	var all []ReservationProgress
	err := s.read(ctx, func(tx *gorm.DB) error {
		visible := func() *gorm.DB {
			q := tx.Model(&Reservation{})
			if f.ProjectID != "" {
				q = q.Where("project_id = ?", f.ProjectID)
			}
			return q
		}
		q, err := reservationOrder.page(visible(), visible(), nil, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		var page []Reservation
		if err := q.Find(&page).Error; err != nil {
			return err
		}
		ids := make([]string, len(page))
		for i, r := range page {
			ids[i] = r.ID
		}
		counted, err := progressOf(tx, ids, f.ProjectID)
		if err != nil {
			return err
		}
		byID := make(map[string]ReservationProgress, len(counted))
		for _, p := range counted {
			byID[p.ID] = p
		}
		all = make([]ReservationProgress, len(page))
		for i, r := range page {
			all[i] = byID[r.ID]
			all[i].Reservation = r
		}
		return nil
	})
	return all, failed(err, "list the reservations")
}
