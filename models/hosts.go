package models

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Host is a hypervisor that registered.
type Host struct {
	ID                string `gorm:"primaryKey"`
	Hostname          string
	AvailabilityZone  string
	TokenHash         []byte // SHA-256 of the host's own token
	HypervisorType    string
	HypervisorVersion int
	Architectures     []string       `gorm:"serializer:json"`
	KVM               bool           `gorm:"column:kvm"`      // hardware runs the guests: Trial's word
	Trial             *hostapi.Trial `gorm:"serializer:json"` // how guests run, by the last trial; nil before the first
	UEFI              bool           `gorm:"column:uefi"`
	VCPUs             int            `gorm:"column:vcpus"`
	MemoryMiB         int            `gorm:"column:memory_mib"`
	DiskGiB           int            `gorm:"column:disk_gib"` // of the filesystem that holds the instances
	CPURatio          float64        // how often a vCPU may be given away
	RAMRatio          float64
	DiskRatio         float64
	ReservedMemoryMiB int `gorm:"column:reserved_memory_mib"`
	Enabled           bool
	DisabledReason    *string
	Ready             bool             // the host's own word: its hypervisor answers
	NotReadyReason    *string          // the host's own word, shown to operators
	ForcedDown        bool             // an operator's word that it is down, whatever it reports
	Address           string           // from which it reports; "" before it has
	Machine           *hostapi.Machine `gorm:"serializer:json"` // nil before it has told
	Version           string           // of slipway on it
	// CertificateExpiresAt is when the first of the certificates ends that it serves or presents; nil where it tells of none.
	CertificateExpiresAt *time.Time
	StartedAt            time.Time
	SeenAt               time.Time // last heartbeat
	BuildFailures        int       // builds that failed on it one after another, by its own fault
	LastFailure          *string
	LastFailureAt        *time.Time
	Suspended            bool       // too many of them: it takes no servers until its trial has passed
	TrialDueAt           *time.Time // while it is suspended: when it is asked for a trial
	// BackAt is when it last came back: it registered, or reported after a silence in which builds had given it up.
	BackAt     *time.Time
	CreatedAt  time.Time
	Generation int64 // of the database, that the host was given last (Installation)
}

// HostUsage is a host with the sum of its placements.
type HostUsage struct {
	Host
	Servers int
	// What may be given away, with the ratios and without what is reserved.
	CapacityVCPUs     int `gorm:"column:capacity_vcpus"`
	CapacityMemoryMiB int `gorm:"column:capacity_memory_mib"`
	CapacityDiskGiB   int `gorm:"column:capacity_disk_gib"`

	UsedVCPUs     int `gorm:"column:used_vcpus"`
	UsedMemoryMiB int `gorm:"column:used_memory_mib"`
	UsedDiskGiB   int `gorm:"column:used_disk_gib"`

	// Aggregates are the metadata of those that it is in.
	Aggregates []map[string]string `gorm:"serializer:json"`
	// IOOps counts the servers with room here that keep the disks busy (lifecycle.Copying). ListHostsForBuild's alone.
	IOOps int `gorm:"-"`
	// Leftovers counts the placements of servers that are not placed here: a build that moved on or failed, or a delete,
	// has left something that is still to be given back, the placement last. A server that is just leaving is none of them.
	Leftovers int
}

// HostHeartbeat is what a host says about itself every few seconds.
type HostHeartbeat struct {
	Ready             bool
	NotReadyReason    *string
	HypervisorVersion int
	VCPUs             int
	MemoryMiB         int
	DiskGiB           int
	Version           string
	Trial             *hostapi.Trial // nil leaves what was said before

	CertificateExpiresAt *time.Time
	Address              string
	Machine              *hostapi.Machine // nil leaves what was said before
	// GivenUpAfter is the silence after which builds have given the host up: a report that comes later says that it is
	// back (Host.BackAt). 0 is never.
	GivenUpAfter time.Duration
}

// RegisterHost adds the host or updates the one of that hostname, which keeps its id, created_at and whether an operator
// disabled it. Conflict when that one has another token: it was given one since the caller looked, or is somebody else's. An
// empty id is chosen here.
func (s *Store) RegisterHost(ctx context.Context, h Host) (Host, error) {
	if h.ID == "" {
		h.ID = uuid.NewString()
	}
	if h.CreatedAt.IsZero() {
		h.CreatedAt = now()
	}
	if h.Architectures == nil {
		h.Architectures = []string{}
	}
	if !h.SeenAt.IsZero() {
		h.BackAt = &h.SeenAt
	}
	if h.Generation == 0 {
		// A host that is admitted again still holds what it was given under its former row.
		i, err := s.Installation(ctx)
		if err != nil {
			return Host{}, err
		}
		h.Generation = i.Generation
	}
	u := s.db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "hostname"}},
		DoUpdates: append(clause.AssignmentColumns([]string{
			"availability_zone", "hypervisor_type", "hypervisor_version", "architectures", "kvm", "trial", "uefi", "vcpus", "memory_mib",
			"disk_gib", "cpu_ratio", "ram_ratio", "disk_ratio", "reserved_memory_mib", "ready", "not_ready_reason", "version",
			"certificate_expires_at", "address", "started_at", "seen_at", "back_at",
		}), clause.Assignment{Column: clause.Column{Name: "machine"}, Value: gorm.Expr(keptOutside + "excluded.machine")}),
		Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "hosts.token_hash = excluded.token_hash"}}},
	}, clause.Returning{}).Create(&h)
	err := u.Error
	switch {
	case err == nil && u.RowsAffected == 0:
		return Host{}, fault.New(fault.Conflict, "Host %s exists already, with another token.", h.Hostname)
	case violates(err, "hosts_pkey"):
		return Host{}, fault.New(fault.Conflict, "A host with ID %s already exists under another name.", h.ID)
	case violates(err, "hosts_token_hash_key"):
		return Host{}, fault.New(fault.Conflict, "The token of host %s belongs to another host.", h.Hostname)
	}
	return h, failed(err, "register host %s", h.Hostname)
}

// keptOutside has a host that does not tell where its switch leads, since that does not answer, lead where it did: routers are there.
const keptOutside = `jsonb_strip_nulls(jsonb_build_object('outside', hosts.machine -> 'outside')) || `

// PhysicalNetworks are those to which some host has a bridge.
func (s *Store) PhysicalNetworks(ctx context.Context) ([]string, error) {
	var names []string
	err := s.db.WithContext(ctx).Raw(`SELECT DISTINCT n.name FROM hosts, jsonb_array_elements_text(machine -> 'outside' -> 'networks') AS n(name)
		WHERE NOT ` + isForgotten + ` ORDER BY n.name`).Scan(&names).Error
	return names, failed(err, "list the physical networks")
}

// SetHostToken gives a host a new token; the old one is void. Conflict for a host that is given up.
func (s *Store) SetHostToken(ctx context.Context, id string, hash []byte) error {
	return failed(s.setOnHost(ctx, id, map[string]any{"token_hash": hash}), "set the token of host %s", id)
}

// setOnHost changes what only a host that is not given up has. It waits for whoever gives it up at this moment, and sees that then:
// in one statement with the wait it would see what was before.
func (s *Store) setOnHost(ctx context.Context, id string, set map[string]any) error {
	var changed int64
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM hosts WHERE id = ? FOR NO KEY UPDATE`, id).Error; err != nil {
			return err
		}
		u := tx.Model(&Host{}).Where("id = ? AND NOT "+isForgotten, id).Updates(set)
		changed = u.RowsAffected
		return u.Error
	})
	if err == nil && changed == 0 {
		return s.noHostToUse(ctx, id)
	}
	return err
}

// HeartbeatHost records what the host says at the time.
func (s *Store) HeartbeatHost(ctx context.Context, id string, b HostHeartbeat, now time.Time) error {
	back := gorm.Expr("back_at")
	if b.GivenUpAfter > 0 {
		back = gorm.Expr("CASE WHEN seen_at < ? THEN ?::timestamptz ELSE back_at END", now.Add(-b.GivenUpAfter), now)
	}
	said := map[string]any{
		"back_at": back, "ready": b.Ready, "not_ready_reason": b.NotReadyReason, "hypervisor_version": b.HypervisorVersion, "vcpus": b.VCPUs,
		"memory_mib": b.MemoryMiB, "disk_gib": b.DiskGiB, "version": b.Version, "certificate_expires_at": b.CertificateExpiresAt, "address": b.Address, "seen_at": now,
	}
	if b.Trial != nil {
		trial, err := json.Marshal(b.Trial)
		if err != nil {
			return failed(err, "record the trial of host %s", id)
		}
		said["trial"], said["kvm"] = string(trial), b.Trial.Accelerated
	}
	if b.Machine != nil {
		said["machine"] = gorm.Expr(keptOutside+"?::jsonb", asJSON(b.Machine))
	}
	u := s.db.WithContext(ctx).Model(&Host{}).Where("id = ?", id).Updates(said)
	if u.Error == nil && u.RowsAffected == 0 {
		return noHost(id)
	}
	return failed(u.Error, "record the heartbeat of host %s", id)
}

// noHostToUse says why a host is not one that can be used: it is given up, or not there.
func (s *Store) noHostToUse(ctx context.Context, id string) error {
	h, err := s.Host(ctx, id)
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "Host %s is given up for good.", h.Hostname)
}

func noHost(name string) error {
	return fault.New(fault.NotFound, "Compute host %s could not be found.", name)
}

// HostByToken by the SHA-256 of its token.
func (s *Store) HostByToken(ctx context.Context, hash []byte) (Host, error) {
	var h Host
	err := s.db.WithContext(ctx).Where("token_hash = ?", hash).Take(&h).Error
	if isAbsent(err) {
		return h, fault.New(fault.NotFound, "No host has this token.")
	}
	return h, failed(err, "read the host of a token")
}

// Host by id.
func (s *Store) Host(ctx context.Context, id string) (Host, error) {
	var h Host
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&h).Error
	if isAbsent(err) {
		return h, noHost(id)
	}
	return h, failed(err, "read host %s", id)
}

// HostByName by hostname.
func (s *Store) HostByName(ctx context.Context, hostname string) (Host, error) {
	var h Host
	err := s.db.WithContext(ctx).Where("hostname = ?", hostname).Take(&h).Error
	if isAbsent(err) {
		return h, noHost(hostname)
	}
	return h, failed(err, "read host %s", hostname)
}

// Hostnames are the names of the hosts with these ids, by id.
func (s *Store) Hostnames(ctx context.Context, ids []string) (map[string]string, error) {
	var found []Host
	err := s.db.WithContext(ctx).Select("id", "hostname").Where("id = ANY(?)", texts(ids)).Find(&found).Error
	names := map[string]string{}
	for _, h := range found {
		names[h.ID] = h.Hostname
	}
	return names, failed(err, "read the names of %d hosts", len(ids))
}

// ListHosts lists all hosts with their usage, by hostname, in one query.
func (s *Store) ListHosts(ctx context.Context) ([]HostUsage, error) {
	all := []HostUsage{}
	err := s.db.WithContext(ctx).Raw("SELECT h.*,"+usedOfHosts("?", "")+" ORDER BY h.hostname", time.Time{}).Scan(&all).Error
	return all, failed(err, "list the hosts")
}

// usedOfHosts is what hosts h have and what of it is used, behind a select list; since is the parameter of ListHostsForBuild's moment, and
// joined what else is joined.
func usedOfHosts(since, joined string) string {
	return capacitySQL + `, COALESCE(a.servers, 0) AS servers, COALESCE(a.vcpus, 0) AS used_vcpus,
       COALESCE(a.memory_mib, 0) AS used_memory_mib, COALESCE(a.disk_gib, 0) AS used_disk_gib, g.aggregates,
       CASE WHEN COALESCE(h.back_at, '0001-01-01Z') >= ` + since + ` THEN
           (SELECT count(*) FROM placements l JOIN servers s ON s.id = l.server_id
            WHERE l.host_id = h.id AND s.host_id IS DISTINCT FROM h.id AND s.task_state IS DISTINCT FROM '` + lifecycle.ShelvingOffloading + `'
              AND (l.role = '` + PlacementLeft + `' OR l.role = '` + PlacementActive + `' AND NOT s.` + isResized + `)) -- whose guest of before is wanted
       ELSE 0 END AS leftovers
FROM hosts h
LEFT JOIN (SELECT host_id, count(*) AS servers, sum(vcpus) AS vcpus, sum(memory_mib) AS memory_mib, sum(disk_gib) AS disk_gib
           FROM placements GROUP BY host_id) a ON a.host_id = h.id
LEFT JOIN (SELECT host_id, jsonb_agg(metadata ORDER BY id) AS aggregates
           FROM aggregate_hosts JOIN aggregates ON id = aggregate_id GROUP BY host_id) g ON g.host_id = h.id` + joined
}

// SetHostEnabled lets a host take servers or not; reason is kept only while it is disabled. Who enables a host vouches for
// it: its failures are forgotten. Conflict for a host that is given up.
func (s *Store) SetHostEnabled(ctx context.Context, id string, enabled bool, reason *string) error {
	set := map[string]any{"enabled": enabled, "disabled_reason": reason}
	if enabled {
		set["disabled_reason"] = nil
		maps.Copy(set, forgiven)
	}
	return failed(s.setOnHost(ctx, id, set), "enable or disable host %s", id)
}

// ForceHostDown has a host counted as down, or by its own reports again.
func (s *Store) ForceHostDown(ctx context.Context, id string, down bool) error {
	return failed(s.setOnHost(ctx, id, map[string]any{"forced_down": down}), "force host %s down", id)
}

// DeleteHost forgets a host; Conflict while it holds placements.
func (s *Store) DeleteHost(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Host{})
	switch {
	case violates(d.Error, "allocations_host_id_fkey"), violates(d.Error, "servers_host_id_fkey"):
		return fault.New(fault.Conflict, "Unable to delete compute host %s that is hosting instances. Delete the instances first.", id)
	case d.Error == nil && d.RowsAffected == 0:
		return noHost(id)
	}
	return failed(d.Error, "delete host %s", id)
}
