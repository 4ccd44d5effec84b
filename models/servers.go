package models

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Server is one virtual machine. Rows of deleted servers stay, with DeletedAt set (Nova lists them to admins).
type Server struct {
	ID                  string `gorm:"primaryKey"`
	ProjectID           string
	UserID              string
	Name                string
	Hostname            string
	Description         *string
	VMState             lifecycle.VMState `gorm:"column:vm_state"`
	TaskState           *string           // Nova's OS-EXT-STS:task_state
	PowerState          int               // Nova's: 0 none, 1 running, 3 paused, 4 shut down, 6 crashed
	ImageID             string
	FlavorID            string
	Flavor              FlavorSnapshot `gorm:"serializer:json"`
	KeyName             *string
	AvailabilityZone    string // asked for; "" is any
	HostID              *string
	GroupID             *string
	ConfigDrive         bool
	AccessIPv4          string `gorm:"column:access_ip_v4"`
	AccessIPv6          string `gorm:"column:access_ip_v6"`
	AutoDiskConfig      bool   // OS-DCF:diskConfig is AUTO
	RootDeviceName      string // "" is not known, as of a server of before it was kept
	KernelID            string
	RamdiskID           string
	TrustedCertificates []string `gorm:"column:trusted_image_certificates;serializer:json"`
	LockedBy            *string  // LockedByOwner or LockedByAdmin; nil is nobody
	LockedReason        *string
	ShelvedImageID      *string // that it can be built anew of
	ShelvedAt           *time.Time
	DeletedFrom         *Whereabouts `gorm:"serializer:json;<-:false"`
	Fingerprint         *string      // of the request, where it came with an idempotency key
	ReservationID       string
	LaunchIndex         int
	Protected           bool // from EC2's TerminateInstances
	EndsAtShutdown      bool // deleted when its guest shuts itself down
	LaunchedAt          *time.Time
	TerminatedAt        *time.Time
	DeleteAskedAt       *time.Time `gorm:"<-:false"` // when a delete became certain, whatever its workflow still does before it
	CreatedAt           time.Time
	UpdatedAt           time.Time
	DeletedAt           *time.Time

	// Read with the server, written by their own calls.
	Metadata map[string]string `gorm:"-"`
	Tags     []string          `gorm:"-"`
	Ports    []Port            `gorm:"-"`
	Fault    *ServerFault      `gorm:"-"`
	Host     *Host             `gorm:"-"`

	// GroupLimit is how many members its group may have, of a server that is being recorded; -1 is unlimited.
	GroupLimit int `gorm:"-"`
}

// Who may have locked a server: somebody of its project, or an admin of another.
const (
	LockedByOwner = "owner"
	LockedByAdmin = "admin"
)

// MayChange refuses where the server is locked, in Nova's words; over is an admin, whom no lock keeps out.
func (v Server) MayChange(over bool) error {
	if v.LockedBy == nil || over {
		return nil
	}
	return fault.New(fault.Conflict, "Instance %s is locked", v.ID)
}

// Task is what is being done to the server; "" is nothing.
func (v Server) Task() string {
	if v.TaskState == nil {
		return ""
	}
	return *v.TaskState
}

// Whereabouts is where a server was when its delete began: host and addresses are others' afterwards.
type Whereabouts struct {
	Hostname         string    `json:"hostname"`
	AvailabilityZone string    `json:"availability_zone"`
	Addresses        []Address `json:"addresses"`
}

// Address is one of a server's on a network.
type Address struct {
	Network string `json:"network"` // its name
	MAC     string `json:"mac"`
	IP      string `json:"ip"`
}

// FlavorSnapshot is the flavor as it was when the server was asked for (shown since microversion 2.47).
type FlavorSnapshot struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	VCPUs        int               `json:"vcpus"`
	RAMMiB       int               `json:"ram_mib"`
	DiskGiB      int               `json:"disk_gib"`
	EphemeralGiB int               `json:"ephemeral_gib"`
	SwapMiB      int               `json:"swap_mib"`
	ExtraSpecs   map[string]string `json:"extra_specs,omitempty"`
}

// ServerFault is why a server is in ERROR: the newest one is shown.
type ServerFault struct {
	ID        int64 `gorm:"primaryKey"`
	ServerID  string
	Code      int
	Message   string
	Details   string // for admins
	CreatedAt time.Time
}

// ServerFilter selects servers. Name and IP are regular expressions, as in Nova. Sort keys are Nova's (serverOrder); the
// default is created_at, newest first.
type ServerFilter struct {
	ProjectID        string // "" is all
	UserID           string
	IDs              []string
	Name             string
	VMStates         []lifecycle.VMState
	TaskState        string
	TaskStates       []string // any of them
	ImageID          string
	FlavorID         string
	HostID           string
	Hostname         string // of the hypervisor
	IP               string
	KeyName          string
	AvailabilityZone string
	ReservationID    string
	PowerState       *int
	Locked           *bool
	Metadata         map[string]string // all of them
	Tags             []string          // all of them
	TagsAny          []string
	NotTags          []string // none that has all of them
	NotTagsAny       []string // none that has any of them
	// Matches are regular expressions, by Nova's names of what is not a field of its own (serverText). Times are as 2006-01-02 15:04:05.
	Matches        map[string]string
	ConfigDrive    *bool
	AutoDiskConfig *bool
	Deleted        bool       // only deleted ones, soft-deleted ones among them
	SoftDeleted    bool       // soft-deleted ones too, which only those find that ask for them
	ChangesSince   *time.Time // also deleted ones
	ChangesBefore  *time.Time // also deleted ones
	DeletedSince   *time.Time // those too that were deleted since, and soft-deleted ones: EC2's clients see them for a while
	Sort           []Sort
	Marker         string
	Limit          int // 0 is all
}

// Activation ends a build.
type Activation struct {
	ServerID   string
	RequestID  string
	Hostname   string // must be where the server is placed; "" is not compared
	PowerState int
	LaunchedAt time.Time
	Events     []InstanceActionEvent
}

// Takings is where a server's takings lie, for its teardown.
type Takings struct {
	Hostnames []string // every host that holds room for it, and the one it is on
	NICs      int      // the highest NIC index that has a port, plus one
	Gone      bool     // the row is absent or deleted already
}

// NoteDelete keeps that the end of a server is certain; its first time counts. Nothing for one that is gone.
func (s *Store) NoteDelete(ctx context.Context, id string) error {
	err := withRetries(ctx, func() error {
		_, err := s.pool.Exec(ctx, `UPDATE servers SET delete_asked_at = COALESCE(delete_asked_at, $2) WHERE id = $1 AND deleted_at IS NULL`, id, now())
		return err
	})
	return failed(err, "note that server %s is to be deleted", id)
}

var serverOrder = order{
	id: "id", preset: Sort{Key: "created_at", Desc: true},
	keys: map[string]string{
		"created_at": "created_at", "updated_at": "updated_at", "uuid": "id", "id": "id", "display_name": "name", "name": "name",
		"hostname": "hostname", "vm_state": "vm_state", "status": "vm_state", "power_state": "power_state", "project_id": "project_id",
		"user_id": "user_id", "image_ref": "image_id", "instance_type_id": "flavor_id", "availability_zone": "availability_zone",
		"launch_index": "launch_index", "host": hostnameOf, "key_name": "COALESCE(key_name, '')",
		"task_state": "COALESCE(task_state, '')", "launched_at": "COALESCE(launched_at, 'epoch')",
		"terminated_at": "COALESCE(terminated_at, 'epoch')", "locked": "(locked_by IS NOT NULL)", "locked_by": "COALESCE(locked_by, '')",
		"access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "auto_disk_config": "auto_disk_config", "config_drive": "config_drive",
		"display_description": "COALESCE(description, '')", "kernel_id": "kernel_id", "ramdisk_id": "ramdisk_id", "root_device_name": "root_device_name",
	},
}

// hostnameOf is the host that a server is on, or was on when its delete began.
const hostnameOf = `COALESCE((SELECT h.hostname FROM hosts h WHERE h.id = servers.host_id), deleted_from->>'hostname', '')`

// serverText is what the expressions of ServerFilter.Matches are compared with.
var serverText = map[string]string{
	"hostname": "hostname", "node": hostnameOf, "description": "COALESCE(description, '')",
	"access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "root_device_name": "root_device_name",
	"kernel_id": "kernel_id", "ramdisk_id": "ramdisk_id", "launch_index": "launch_index::text", "locked_by": "COALESCE(locked_by, '')",
	"progress": "'0'", "created_at": timeText("created_at"), "launched_at": timeText("launched_at"), "terminated_at": timeText("terminated_at"),
}

func timeText(column string) string {
	return "COALESCE(to_char(" + column + " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '')"
}

func noServer(id string) error {
	return fault.New(fault.NotFound, "Instance %s could not be found.", id)
}

// wrongState refuses what a server is not in the state for.
func wrongState(id string, state lifecycle.VMState, what string) error {
	return Server{ID: id}.Refuses(what, "vm_state", string(state))
}

// isFull is whether the group of the parameters, of which there may be none, has as many members as it may.
const isFull = `(@group_limit::integer >= 0 AND @group_limit::integer <=
    (SELECT count(*) FROM servers WHERE group_id = @group_id::text AND deleted_at IS NULL) AND @group_id::text IS NOT NULL)`

// FullGroup refuses a server that a group has no place for.
func FullGroup() error {
	return fault.New(fault.OverQuota, "Quota exceeded, too many servers in group")
}

var recordSQL = `
WITH made AS (
         INSERT INTO servers (id, project_id, user_id, name, hostname, description, vm_state, task_state, power_state, image_id,
             flavor_id, flavor, key_name, availability_zone, config_drive, reservation_id, launch_index, created_at, updated_at, fingerprint,
             access_ip_v4, access_ip_v6, auto_disk_config, root_device_name, kernel_id, ramdisk_id, trusted_image_certificates, group_id, protected, ends_at_shutdown)
         SELECT @id::text, @project_id::text, @user_id::text, @name::text, @hostname::text, @description::text, '` + building + `', @task_state::text, 0,
             @image_id::text, @flavor_id::text, @flavor::jsonb, @key_name::text, @availability_zone::text, @config_drive::boolean,
             @reservation_id::text, @launch_index::integer, @created_at::timestamptz, @created_at::timestamptz, @fingerprint::text,
             @access_ip_v4::text, @access_ip_v6::text, @auto_disk_config::boolean, @root_device_name::text, @kernel_id::text, @ramdisk_id::text,
             NULLIF(@certificates::jsonb, 'null'), @group_id::text, @protected::boolean, @ends_at_shutdown::boolean
         WHERE NOT ` + isLate("@answer_by") + ` AND NOT ` + isFull + `
         ON CONFLICT (id) DO NOTHING
         RETURNING id),
     metadata AS (INSERT INTO server_metadata (server_id, key, value) SELECT made.id, m.key, m.value FROM made, jsonb_each_text(@metadata) m),
     tags AS (INSERT INTO server_tags (server_id, tag) SELECT made.id, t FROM made, unnest(@tags::text[]) t ON CONFLICT DO NOTHING)
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
SELECT made.id, @request_id, @action, @action_user_id, @action_project_id, @started_at, @started_at FROM made`

// RecordServer makes the row, in BUILD, with its metadata, tags, instance action and spec, if there is one. The same id with the
// same request is success while the server is in BUILD, NotFound when it was deleted since, and Conflict in any other state; with another
// request, and one that is not there yet behind the action's AnswerBy, it is Conflict; OverQuota where its group is full.
func (s *Store) RecordServer(ctx context.Context, v Server, a InstanceAction, specs ...ServerSpec) error {
	if v.CreatedAt.IsZero() {
		v.CreatedAt = now()
	}
	if a.StartedAt.IsZero() {
		a.StartedAt = v.CreatedAt
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	var state lifecycle.VMState // of what this request recorded
	var known, full bool        // whoever recorded it; so is its group
	err := s.batch(ctx, func(b *pgx.Batch) {
		if v.GroupID != nil {
			b.Queue(`SELECT FROM server_groups WHERE id = $1 FOR NO KEY UPDATE`, v.GroupID)
		}
		b.Queue(recordSQL, named{
			"id": v.ID, "project_id": v.ProjectID, "user_id": v.UserID, "name": v.Name, "hostname": v.Hostname,
			"description": v.Description, "task_state": v.TaskState, "image_id": v.ImageID, "flavor_id": v.FlavorID,
			"flavor": asJSON(v.Flavor), "key_name": v.KeyName, "availability_zone": v.AvailabilityZone,
			"config_drive": v.ConfigDrive, "reservation_id": v.ReservationID, "launch_index": v.LaunchIndex,
			"created_at": v.CreatedAt, "metadata": asJSON(v.Metadata), "tags": v.Tags, "request_id": a.RequestID,
			"action": a.Action, "action_user_id": a.UserID, "action_project_id": a.ProjectID, "started_at": a.StartedAt,
			"fingerprint": v.Fingerprint, "answer_by": optionalTime(a.AnswerBy), "access_ip_v4": v.AccessIPv4, "access_ip_v6": v.AccessIPv6,
			"auto_disk_config": v.AutoDiskConfig, "root_device_name": v.RootDeviceName, "kernel_id": v.KernelID,
			"ramdisk_id": v.RamdiskID, "certificates": asJSON(v.TrustedCertificates), "group_id": v.GroupID, "group_limit": v.GroupLimit,
			"protected": v.Protected, "ends_at_shutdown": v.EndsAtShutdown,
		})
		for _, spec := range specs {
			b.Queue(insertSpecSQL, named{
				"server_id": v.ID, "request_id": a.RequestID, "key_id": spec.KeyID, "sealed": spec.Sealed, "parts": asJSON(spec.Parts), "created_at": v.CreatedAt,
			})
		}
		tell(b, a.RequestID, a.Action, started, v.ID)
		b.Queue(`SELECT COALESCE((SELECT s.vm_state FROM servers s JOIN instance_actions a ON a.server_id = s.id
			WHERE s.id = @id AND a.request_id = @request_id AND a.action = @action AND a.project_id = @project_id), ''),
			EXISTS (SELECT FROM servers WHERE id = @id), `+isFull, named{
			"id": v.ID, "request_id": a.RequestID, "action": a.Action, "project_id": v.ProjectID, "group_id": v.GroupID, "group_limit": v.GroupLimit,
		}).QueryRow(func(r pgx.Row) error { return r.Scan(&state, &known, &full) })
	})
	switch {
	case violates(err, "servers_project_id_fkey"):
		return noProject(v.ProjectID)
	case violates(err, "servers_user_id_fkey"):
		return noUser(v.UserID)
	case violates(err, "servers_image_id_fkey"):
		return noImage(v.ImageID)
	case violates(err, "servers_group_id_fkey"):
		return fault.New(fault.Invalid, "Instance group %s could not be found.", *v.GroupID)
	case err != nil:
		return failed(err, "record server %s", v.ID)
	case !known && full:
		return FullGroup()
	case !known:
		return tooLate()
	case state == "":
		return fault.New(fault.Conflict, "Instance %s already exists.", v.ID)
	case state == lifecycle.Deleted:
		return noServer(v.ID)
	case state != lifecycle.Building:
		return wrongState(v.ID, state, "build")
	}
	return nil
}

// Server with everything that is read with it; NotFound when deleted.
func (s *Store) Server(ctx context.Context, id string) (Server, error) {
	return s.server(ctx, id, "id = ? AND deleted_at IS NULL")
}

// ServerEvenDeleted is Server, but finds deleted ones too.
func (s *Store) ServerEvenDeleted(ctx context.Context, id string) (Server, error) {
	return s.server(ctx, id, "id = ?")
}

// ServerMade is the fingerprint of the request that made a server, deleted or not, and whether that was the one of an id.
func (s *Store) ServerMade(ctx context.Context, id, requestID string) (fingerprint *string, by bool, err error) {
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT fingerprint, EXISTS (SELECT FROM instance_actions WHERE server_id = $1 AND request_id = $2)
			FROM servers WHERE id = $1`, id, requestID).Scan(&fingerprint, &by)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, noServer(id)
	}
	return fingerprint, by, failed(err, "look for what made server %s", id)
}

// JustRecorded are the servers of a reservation as their rows are, in the order of their launch: with their metadata, and nothing else
// that is read with a server. What builds them has only begun, so there is little else, and whoever asked for them waits.
func (s *Store) JustRecorded(ctx context.Context, projectID, reservationID string) ([]Server, error) {
	var rows []struct {
		Server
		Words map[string]string `gorm:"serializer:json"`
	}
	err := s.db.WithContext(ctx).Raw(`SELECT s.*, (SELECT jsonb_object_agg(m.key, m.value) FROM server_metadata m WHERE m.server_id = s.id) AS words
		FROM servers s WHERE s.project_id = ? AND s.reservation_id = ? ORDER BY s.launch_index`, projectID, reservationID).Scan(&rows).Error
	all := make([]Server, len(rows))
	for i, r := range rows {
		all[i] = r.Server
		all[i].Metadata = map[string]string{}
		maps.Copy(all[i].Metadata, r.Words)
	}
	return all, failed(err, "read the servers of reservation %s", reservationID)
}

func (s *Store) server(ctx context.Context, id, where string) (Server, error) {
	one := make([]Server, 1)
	err := s.read(ctx, func(tx *gorm.DB) error {
		one[0] = Server{}
		err := tx.Where(where, id).Take(&one[0]).Error
		if isAbsent(err) {
			return noServer(id)
		}
		if err != nil {
			return err
		}
		return loadRelated(tx, one)
	})
	if err != nil {
		return Server{}, failed(err, "read server %s", id)
	}
	return one[0], nil
}

// loadRelated reads what belongs to the servers, in as many queries for a thousand as for one.
func loadRelated(tx *gorm.DB, servers []Server) error {
	ids, hostIDs := texts{}, texts{}
	at := make(map[string]*Server, len(servers))
	for i := range servers {
		v := &servers[i]
		ids, at[v.ID] = append(ids, v.ID), v
		if v.HostID != nil && !slices.Contains(hostIDs, *v.HostID) {
			hostIDs = append(hostIDs, *v.HostID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := loadWords(tx, servers); err != nil {
		return err
	}
	var faults []ServerFault
	if err := tx.Raw(`SELECT DISTINCT ON (server_id) * FROM server_faults WHERE server_id = ANY(?) ORDER BY server_id, id DESC`, ids).
		Scan(&faults).Error; err != nil {
		return err
	}
	for i, f := range faults {
		at[f.ServerID].Fault = &faults[i]
	}
	var hosts []Host
	if len(hostIDs) > 0 {
		if err := tx.Where("id = ANY(?)", hostIDs).Find(&hosts).Error; err != nil {
			return err
		}
	}
	byID := make(map[string]*Host, len(hosts))
	for i := range hosts {
		byID[hosts[i].ID] = &hosts[i]
	}
	for i := range servers {
		if id := servers[i].HostID; id != nil {
			servers[i].Host = byID[*id]
		}
	}
	ports := []Port{}
	if err := tx.Where("server_id = ANY(?)", ids).Order("server_id, nic_index").Find(&ports).Error; err != nil {
		return err
	}
	if err := completePorts(tx, ports); err != nil {
		return err
	}
	for _, p := range ports {
		at[*p.ServerID].Ports = append(at[*p.ServerID].Ports, p)
	}
	return nil
}

// loadWords reads what users said of the servers: their metadata and tags.
func loadWords(tx *gorm.DB, servers []Server) error {
	ids := texts{}
	at := make(map[string]*Server, len(servers))
	for i := range servers {
		v := &servers[i]
		v.Metadata, v.Tags = map[string]string{}, []string{}
		ids, at[v.ID] = append(ids, v.ID), v
	}
	var metadata []struct{ ServerID, Key, Value string }
	if err := tx.Table("server_metadata").Where("server_id = ANY(?)", ids).Find(&metadata).Error; err != nil {
		return err
	}
	for _, m := range metadata {
		at[m.ServerID].Metadata[m.Key] = m.Value
	}
	var tags []struct{ ServerID, Tag string }
	if err := tx.Table("server_tags").Where("server_id = ANY(?)", ids).Order("server_id, tag").Find(&tags).Error; err != nil {
		return err
	}
	for _, t := range tags {
		at[t.ServerID].Tags = append(at[t.ServerID].Tags, t.Tag)
	}
	return nil
}

// nameFilterTime bounds how long a user's regular expression may keep Postgres busy.
const nameFilterTime = "SET LOCAL statement_timeout = '3s'"

// ListServers lists what the filter selects, each with everything, in a constant number of queries.
func (s *Store) ListServers(ctx context.Context, f ServerFilter) ([]Server, error) {
	all := []Server{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		if f.Name != "" || f.IP != "" || len(f.Matches) > 0 {
			if err := tx.Exec(nameFilterTime).Error; err != nil {
				return err
			}
		}
		visible := func() *gorm.DB {
			q := tx.Model(&Server{})
			if f.ProjectID != "" {
				q = q.Where("project_id = ?", f.ProjectID)
			}
			switch {
			case f.Deleted:
				return q.Where("(deleted_at IS NOT NULL OR " + isSoftDeleted + ")")
			case f.ChangesSince != nil, f.ChangesBefore != nil:
				return q // with the deleted ones, so that a poller learns of them
			case f.DeletedSince != nil:
				return q.Where("(deleted_at IS NULL OR deleted_at >= ?)", *f.DeletedSince)
			}
			if !f.SoftDeleted && len(f.IDs) == 0 && !slices.Contains(f.VMStates, lifecycle.SoftDeleted) {
				q = q.Where("NOT (" + isSoftDeleted + ")")
			}
			return q.Where("deleted_at IS NULL")
		}
		q, err := serverOrder.page(f.narrow(visible()), visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		if err := q.Find(&all).Error; err != nil {
			return err
		}
		return loadRelated(tx, all)
	})
	if err != nil {
		switch sqlState(err) {
		case "2201B": // invalid_regular_expression
			return nil, fault.Wrap(fault.Invalid, err, "A filter is not a valid regular expression.")
		case "57014": // query_canceled
			return nil, fault.Wrap(fault.Invalid, err, "A filter takes too long to match. Please use a simpler one.")
		}
		return nil, failed(err, "list the servers")
	}
	return all, nil
}

func (f ServerFilter) narrow(q *gorm.DB) *gorm.DB {
	equal := func(column, value string) {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	equal("user_id", f.UserID)
	equal("task_state", f.TaskState)
	q = among(q, "task_state", f.TaskStates)
	equal("image_id", f.ImageID)
	equal("flavor_id", f.FlavorID)
	equal("host_id", f.HostID)
	equal("key_name", f.KeyName)
	equal("availability_zone", f.AvailabilityZone)
	equal("reservation_id", f.ReservationID)
	q = among(q, "id", f.IDs)
	q = among(q, "vm_state", f.VMStates)
	if f.Hostname != "" {
		q = q.Where("(host_id = (SELECT id FROM hosts WHERE hostname = ?) OR deleted_at IS NOT NULL AND deleted_from->>'hostname' = ?)", f.Hostname, f.Hostname)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Matches)) {
		q = q.Where(serverText[name]+" ~ ?", f.Matches[name])
	}
	if f.ConfigDrive != nil {
		q = q.Where("config_drive = ?", *f.ConfigDrive)
	}
	if f.AutoDiskConfig != nil {
		q = q.Where("auto_disk_config = ?", *f.AutoDiskConfig)
	}
	if f.Name != "" {
		q = q.Where("name ~ ?", f.Name)
	}
	if f.IP != "" {
		q = q.Where(`EXISTS (SELECT FROM ports p JOIN fixed_ips i ON i.port_id = p.id WHERE p.server_id = servers.id AND host(i.ip) ~ ?)`, f.IP)
	}
	if f.PowerState != nil {
		q = q.Where("power_state = ?", *f.PowerState)
	}
	if f.Locked != nil {
		q = q.Where("(locked_by IS NOT NULL) = ?", *f.Locked)
	}
	if f.ChangesSince != nil {
		q = q.Where("updated_at >= ?", *f.ChangesSince)
	}
	if f.ChangesBefore != nil {
		q = q.Where("updated_at <= ?", *f.ChangesBefore)
	}
	for k, v := range f.Metadata {
		q = q.Where("EXISTS (SELECT FROM server_metadata m WHERE m.server_id = servers.id AND m.key = ? AND m.value = ?)", k, v)
	}
	const tagged = "(SELECT count(*) FROM server_tags t WHERE t.server_id = servers.id AND t.tag = ANY(?))"
	for _, t := range []struct {
		tags []string
		is   string
		n    int
	}{
		{f.Tags, "=", len(distinct(f.Tags))}, {f.TagsAny, ">", 0}, {f.NotTags, "<", len(distinct(f.NotTags))}, {f.NotTagsAny, "=", 0},
	} {
		if len(t.tags) > 0 {
			q = q.Where(tagged+" "+t.is+" ?", texts(t.tags), t.n)
		}
	}
	return q
}

func distinct(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// eventsSQL writes an action's events, the newest word winning. $1 server, $2 request, $3 events as JSON.
const eventsSQL = `
INSERT INTO instance_action_events (server_id, request_id, seq, event, host, started_at, ended_at, result, details, traceback)
SELECT a.server_id, a.request_id, e.seq, e.event, e.host, e.started_at, e.ended_at, e.result, e.details, e.traceback
FROM instance_actions a, jsonb_to_recordset($3) AS e(seq integer, event text, host text, started_at timestamptz,
     ended_at timestamptz, result text, details text, traceback text)
WHERE a.server_id = $1 AND a.request_id = $2
ON CONFLICT (server_id, request_id, seq) DO UPDATE
SET event = EXCLUDED.event, host = EXCLUDED.host, started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at,
    result = EXCLUDED.result, details = EXCLUDED.details, traceback = EXCLUDED.traceback`

func eventsJSON(events []InstanceActionEvent) string {
	type row struct {
		Seq       int        `json:"seq"`
		Event     string     `json:"event"`
		Host      *string    `json:"host"`
		StartedAt time.Time  `json:"started_at"`
		EndedAt   *time.Time `json:"ended_at"`
		Result    *string    `json:"result"`
		Details   *string    `json:"details"`
		Traceback *string    `json:"traceback"`
	}
	rows := make([]row, 0, len(events))
	for _, e := range events {
		rows = append(rows, row{e.Seq, e.Event, e.Host, e.StartedAt, e.EndedAt, e.Result, e.Details, e.Traceback})
	}
	return asJSON(rows)
}

// ActivateServer moves BUILD to ACTIVE and writes the action's events; the host's failures are forgotten. Again is success,
// whatever was done to the server since.
func (s *Store) ActivateServer(ctx context.Context, a Activation) error {
	if a.LaunchedAt.IsZero() {
		a.LaunchedAt = now()
	}
	var state *lifecycle.VMState
	var hostname *string
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET `+isActive+`, task_state = NULL, power_state = @power_state, launched_at = @launched_at, updated_at = @at
         WHERE id = @id AND vm_state = ANY(@from) AND deleted_at IS NULL
           AND (@hostname = '' OR host_id = (SELECT id FROM hosts WHERE hostname = @hostname))
         RETURNING id, host_id),
     forgiven AS (
         UPDATE hosts SET build_failures = 0, suspended = false, trial_due_at = NULL, trial_pause = 0
         WHERE id IN (SELECT host_id FROM moved) AND build_failures > 0)
UPDATE instance_actions SET updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"id": a.ServerID, "request_id": a.RequestID, "power_state": a.PowerState, "launched_at": a.LaunchedAt, "at": now(),
				"from": statesOf(lifecycle.Built.From), "hostname": a.Hostname,
			})
		b.Queue(eventsSQL, a.ServerID, a.RequestID, eventsJSON(a.Events))
		tell(b, a.RequestID, "create", ended, a.ServerID)
		b.Queue(`SELECT s.vm_state, h.hostname FROM (SELECT) one LEFT JOIN servers s ON s.id = $1 LEFT JOIN hosts h ON h.id = s.host_id`, a.ServerID).
			QueryRow(func(r pgx.Row) error { return r.Scan(&state, &hostname) })
	})
	switch {
	case err != nil:
		return failed(err, "activate server %s", a.ServerID)
	case state == nil || *state == lifecycle.Deleted:
		return noServer(a.ServerID)
	case slices.Contains(lifecycle.Stands(), *state):
		return nil
	case *state != lifecycle.Building:
		return wrongState(a.ServerID, *state, "build")
	}
	on := "no host"
	if hostname != nil {
		on = "host " + *hostname
	}
	return fault.New(fault.Conflict, "Instance %s is placed on %s, not on host %s.", a.ServerID, on, a.Hostname)
}

// ServerStands says whether a server was built, is placed on the host ("" is any, and none too), and is neither deleted nor being
// deleted.
func (s *Store) ServerStands(ctx context.Context, id, hostname string) (bool, error) {
	return s.serverIs(ctx, id, `$3 = '' AND `+stands+` OR `+wasBuilt+` AND host_id = (SELECT id FROM hosts WHERE hostname = $3)`, hostname)
}

// ServerHasGuest says whether a server has a guest on some host, and is neither deleted nor being deleted.
func (s *Store) ServerHasGuest(ctx context.Context, id string) (bool, error) {
	return s.serverIs(ctx, id, `$3 = '' AND `+wasBuilt, "")
}

func (s *Store) serverIs(ctx context.Context, id, what, hostname string) (is bool, err error) {
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM servers WHERE id = $1 AND task_state IS DISTINCT FROM $2 AND (`+what+`))`,
			id, deleting, hostname).Scan(&is)
	})
	return is, failed(err, "look whether server %s stands", id)
}

// FailServer moves a server to ERROR with its fault and marks the request's action as failed. An absent, deleted or already
// failed server is success, and so is one that another request recorded: it stays as it is. The fault is written once. A
// build's server leaves its host; a server that ran stays where it is.
func (s *Store) FailServer(ctx context.Context, id, requestID string, f ServerFault, events []InstanceActionEvent) error {
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now()
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET `+isError+`, task_state = NULL, updated_at = @at,
             host_id = CASE WHEN `+isBuilding+` THEN NULL ELSE host_id END
         WHERE id = @id AND vm_state = ANY(@from) AND deleted_at IS NULL
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = servers.id AND a.request_id = @request_id)
         RETURNING id),
     fault AS (
         INSERT INTO server_faults (server_id, code, message, details, created_at) SELECT id, @code, @message, @details, @failed_at FROM moved)
UPDATE instance_actions SET message = 'Error', updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"id": id, "request_id": requestID, "at": now(), "from": statesOf(lifecycle.Failed.From), "code": f.Code,
				"message": f.Message, "details": f.Details, "failed_at": f.CreatedAt,
			})
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
		tell(b, requestID, "create", erred, id)
	})
	return failed(err, "fail server %s", id)
}

// MarkServerDeleting shows "deleting", keeps where the server was, records the delete action once and says what has to be torn
// down; nothing of a server that is in none of the states, where some are given.
func (s *Store) MarkServerDeleting(ctx context.Context, id string, a InstanceAction, only ...lifecycle.VMState) (Takings, error) {
	if len(only) == 0 {
		only = lifecycle.Removed.From
	}
	if a.StartedAt.IsZero() {
		a.StartedAt = now()
	}
	var p Takings
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH here AS (
         SELECT jsonb_build_object('hostname', COALESCE(h.hostname, ''), 'availability_zone', COALESCE(h.availability_zone, ''), 'addresses', COALESCE((
                SELECT jsonb_agg(jsonb_build_object('network', n.name, 'mac', p.mac, 'ip', host(i.ip)) ORDER BY p.nic_index, i.ip)
                FROM ports p JOIN networks n ON n.id = p.network_id JOIN fixed_ips i ON i.port_id = p.id WHERE p.server_id = s.id), '[]')) AS at
         FROM servers s LEFT JOIN hosts h ON h.id = s.host_id WHERE s.id = @id),
     marked AS (
         UPDATE servers SET task_state = @task_state, updated_at = @at,
             deleted_from = CASE WHEN task_state = @task_state AND deleted_from IS NOT NULL THEN deleted_from ELSE (SELECT at FROM here) END
         WHERE id = @id AND vm_state = ANY(@from) AND deleted_at IS NULL RETURNING id, host_id),
     action AS (
         INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
         SELECT id, @request_id, @action, @user_id, @project_id, @at, @at FROM marked ON CONFLICT (server_id, request_id) DO NOTHING)
SELECT NOT EXISTS (SELECT FROM marked),
       ARRAY(SELECT hostname FROM hosts
             WHERE id IN (SELECT host_id FROM placements WHERE server_id = @id UNION SELECT host_id FROM marked) ORDER BY hostname),
       (SELECT COALESCE(max(nic_index) + 1, 0) FROM ports WHERE server_id = @id)`,
			named{
				"id": id, "request_id": a.RequestID, "action": a.Action, "user_id": a.UserID, "project_id": a.ProjectID,
				"at": a.StartedAt, "task_state": lifecycle.Deleting, "from": statesOf(only),
			}).
			QueryRow(func(r pgx.Row) error {
				p = Takings{}
				return r.Scan(&p.Gone, &p.Hostnames, &p.NICs)
			})
		tell(b, a.RequestID, "delete", started, id)
	})
	return p, failed(err, "mark server %s as deleting", id)
}

// Reclaimable are some servers whose delete was deferred before a time, and to which nothing is being done.
func (s *Store) Reclaimable(ctx context.Context, before time.Time) ([]Server, error) {
	var all []Server
	err := s.db.WithContext(ctx).Where(isSoftDeleted+` AND task_state IS NULL
		AND (SELECT max(a.updated_at) FROM instance_actions a WHERE a.server_id = servers.id AND a.action = ?) < ?`, lifecycle.SoftDeletes[0].Method, before).
		Order("updated_at, id").Limit(1000).Find(&all).Error
	return all, failed(err, "look for servers whose delete was deferred")
}

// RemoveServer moves a server to DELETED, forgets its spec and writes the action's events. Absent or deleted is success.
func (s *Store) RemoveServer(ctx context.Context, id, requestID string, events []InstanceActionEvent, now time.Time) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET `+isDeleted+`, task_state = NULL, power_state = 0, host_id = NULL,
             deleted_at = $3, terminated_at = $3, updated_at = $3
         WHERE id = $1 AND vm_state = ANY($4) AND deleted_at IS NULL
         RETURNING id)
UPDATE instance_actions SET updated_at = $3 WHERE server_id IN (SELECT id FROM moved) AND request_id = $2`,
			id, requestID, now, statesOf(lifecycle.Removed.From))
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
		b.Queue(removeSpecSQL, id)
		b.Queue(`UPDATE migrations SET status = $2, updated_at = $3 WHERE server_id = $1 AND status = $4`, id, MigrationConfirmed, now, MigrationFinished)
		tell(b, requestID, "delete", ended, id)
	})
	return failed(err, "remove server %s", id)
}

// Actions of a server, newest first, without events. Those of a deleted server stay readable.
func (s *Store) Actions(ctx context.Context, serverID string) ([]InstanceAction, error) {
	all := []InstanceAction{}
	err := s.db.WithContext(ctx).Where("server_id = ?", serverID).Order("started_at DESC, request_id").Find(&all).Error
	return all, failed(err, "list the actions of server %s", serverID)
}

// Action of a server by its request, with events.
func (s *Store) Action(ctx context.Context, serverID, requestID string) (InstanceAction, error) {
	var a InstanceAction
	err := s.read(ctx, func(tx *gorm.DB) error {
		a = InstanceAction{}
		err := tx.Where("server_id = ? AND request_id = ?", serverID, requestID).Take(&a).Error
		if isAbsent(err) {
			return fault.New(fault.NotFound, "Action for request_id %s on instance %s not found", requestID, serverID)
		}
		if err != nil {
			return err
		}
		a.Events = []InstanceActionEvent{}
		return tx.Where("server_id = ? AND request_id = ?", serverID, requestID).Order("seq").Find(&a.Events).Error
	})
	return a, failed(err, "read action %s of server %s", requestID, serverID)
}
