package models

import (
	"fmt"
	"maps"
	"os"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// phase of an action on a server, as notifications tell it (nova/objects/fields.py, NotificationPhase).
type phase string

const (
	started phase = "start"
	ended   phase = "end"
	erred   phase = "error"
)

// tell announces what a request did to servers, in the transaction of its change: where the change wrote the row of the
// instance action, and so once, however often it is asked for. event is Nova's name, as create. It tells of the servers as they
// are now, and comes behind the change that it tells of.
//
// What is told is Nova's versioned notification (nova/notifications/objects/instance.py): who receives it for Nova's servers
// understands it. It has no user data, no password, no private key.
func tell(b *pgx.Batch, requestID, event string, p phase, serverIDs ...string) {
	if event == lifecycle.Untold {
		return
	}
	b.Queue(`SELECT `+notificationLock("id")+` FROM unnest($1::text[]) AS id ORDER BY id`, serverIDs)
	b.Queue(tellSQL, telling(event, "."+p, named{
		"event": event, "failed": p == erred, "servers": serverIDs, "sinks": sinks, "request_id": requestID, "publisher": nil,
	}))
}

// tellDone announces what the API has done to a server by itself, as a lock: an event without phases. Like tell it comes behind the
// row of the instance action.
func tellDone(tx *gorm.DB, a InstanceAction) error {
	return tellOne(tx, a, tellSQL, telling(a.Action, "", named{"event": a.Action, "failed": false}))
}

// tellUpdate announces that a server is not what it was, and who changed it. It comes last in the transaction.
func tellUpdate(tx *gorm.DB, was Server, a InstanceAction) error {
	return tellOne(tx, a, tellUpdateSQL, telling("update", "", named{
		"user_id": a.UserID, "project_id": a.ProjectID, "old_name": was.Name, "old_state": string(was.VMState), "old_task": was.TaskState,
	}))
}

func tellOne(tx *gorm.DB, a InstanceAction, sql string, args named) error {
	args["servers"], args["sinks"], args["request_id"] = []string{a.ServerID}, sinks, a.RequestID
	args["publisher"] = fmt.Sprintf("nova-api:%s", args["machine"])
	err := tx.Exec(`SELECT `+notificationLock("?"), a.ServerID).Error
	if err == nil { // gorm's own named arguments end at no colon
		_, err = tx.Statement.ConnPool.ExecContext(tx.Statement.Context, sql, args)
	}
	return failed(err, "announce %s of server %s", args["event_type"], a.ServerID)
}

// telling adds to the arguments of a statement those that say what is told.
func telling(event string, p phase, args named) named {
	machine, err := os.Hostname()
	if err != nil {
		machine = "localhost"
	}
	payload, ok := payloads[event]
	if !ok {
		payload.name, payload.version = "InstanceActionPayload", "1.9"
	}
	maps.Copy(args, named{
		"event_type": "instance." + event + string(p), "machine": machine, "at": now(), "channel": notificationChannel,
		"payload": asJSON(map[string]string{
			"nova_object.name": payload.name, "nova_object.namespace": "nova", "nova_object.version": payload.version,
		}),
	})
	return args
}

// The events whose payload carries more than InstanceActionPayload does, or other things.
const creates, rebuilds, snapshots = "create", "rebuild", lifecycle.Snapshot

var payloads = map[string]struct{ name, version string }{
	creates:   {"InstanceCreatePayload", "1.13"},
	rebuilds:  {"InstanceActionRebuildPayload", "1.10"},
	snapshots: {"InstanceActionSnapshotPayload", "1.10"},
	"update":  {"InstanceUpdatePayload", "2.1"},
}

var (
	// A row of instance_actions that this transaction wrote has its id as xmin.
	tellSQL = announceSQL(instanceData+` || `+faultData+` || CASE @event
        WHEN '`+creates+`' THEN `+rebuildData+` || `+createData+`
        WHEN '`+rebuilds+`' THEN `+rebuildData+`
        WHEN '`+snapshots+`' THEN `+snapshotData+`
        ELSE '{}' END`,
		`JOIN instance_actions a ON a.server_id = s.id AND a.request_id = @request_id AND a.xmin = pg_current_xact_id()::xid`)

	tellUpdateSQL = announceSQL(instanceData+` || `+updateData,
		`CROSS JOIN (VALUES (@request_id::text, @user_id::text, @project_id::text)) AS a(request_id, user_id, project_id)`)
)

// announceSQL writes a notification with some data for each server; a is who asked.
func announceSQL(data, joinA string) string {
	return `
WITH told AS (
    INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
    SELECT @event_type, COALESCE(@publisher, 'nova-compute:' || COALESCE(h.hostname, @machine)), s.id, a.project_id, a.user_id, a.request_id,
        @payload::jsonb || jsonb_build_object('nova_object.data', ` + data + `), @at
    FROM servers s ` + joinA + ` LEFT JOIN hosts h ON h.id = s.host_id LEFT JOIN images i ON i.id = s.image_id
    WHERE s.id = ANY(@servers)
    RETURNING id, resource_id),
delivery AS (
    INSERT INTO notification_deliveries (notification_id, sink, queue, due_at)
    SELECT told.id, sink, sink || '/' || told.resource_id, now() FROM told, unnest(@sinks::text[]) AS sink)
SELECT pg_notify(@channel, '') FROM told LIMIT 1`
}

// object is one of Nova's versioned objects, made in SQL of pairs of a name and a value.
func object(name, version, pairs string) string {
	return `jsonb_build_object('nova_object.name', '` + name + `', 'nova_object.namespace', 'nova', 'nova_object.version', '` + version +
		`', 'nova_object.data', jsonb_build_object(` + pairs + `))`
}

// moment is a time as Nova writes it; null stays null.
func moment(column string) string {
	return `to_char(` + column + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`
}

var (
	instanceData = `jsonb_build_object(
        'uuid', s.id, 'user_id', s.user_id, 'tenant_id', s.project_id, 'reservation_id', s.reservation_id,
        'display_name', s.name, 'display_description', s.description, 'host_name', s.hostname, 'host', h.hostname, 'node', h.hostname,
        'os_type', i.properties->>'os_type', 'architecture', COALESCE(i.properties->>'hw_architecture', i.properties->>'architecture'),
        'kernel_id', s.kernel_id, 'ramdisk_id', s.ramdisk_id,
        'availability_zone', COALESCE(h.availability_zone, NULLIF(s.availability_zone, '')), 'image_uuid', s.image_id, 'key_name', s.key_name,
        'created_at', ` + moment("s.created_at") + `, 'launched_at', ` + moment("s.launched_at") + `, 'terminated_at', ` + moment("s.terminated_at") + `,
        'deleted_at', ` + moment("s.deleted_at") + `, 'updated_at', ` + moment("s.updated_at") + `,
        'state', to_jsonb(s.vm_state), 'task_state', to_jsonb(s.task_state), 'progress', 0,
        'power_state', COALESCE('` + asJSON(lifecycle.PowerNames) + `'::jsonb->>s.power_state::text, '` + lifecycle.PowerNames[lifecycle.NoState] + `'),
        'locked', s.locked_by IS NOT NULL, 'locked_reason', s.locked_reason, 'shares', NULL, 'auto_disk_config', CASE WHEN s.auto_disk_config THEN 'AUTO' ELSE 'MANUAL' END, 'block_devices', '[]'::jsonb,
        'metadata', COALESCE((SELECT jsonb_object_agg(m.key, m.value) FROM server_metadata m WHERE m.server_id = s.id), '{}'),
        'ip_addresses', COALESCE((SELECT jsonb_agg(` + object("IpPayload", "1.0", `'label', n.name, 'mac', p.mac, 'meta', '{}'::jsonb, 'port_uuid', p.id,
            'version', family(f.ip::inet), 'address', host(f.ip::inet), 'device_name', NULL`) + ` ORDER BY p.nic_index, f.ip)
            FROM ports p JOIN networks n ON n.id = p.network_id JOIN fixed_ips f ON f.port_id = p.id WHERE p.server_id = s.id), '[]'),
        'flavor', ` + object("FlavorPayload", "1.4", `'flavorid', s.flavor->>'id', 'name', s.flavor->>'name', 'vcpus', s.flavor->'vcpus',
            'memory_mb', s.flavor->'ram_mib', 'root_gb', s.flavor->'disk_gib', 'ephemeral_gb', s.flavor->'ephemeral_gib', 'swap', s.flavor->'swap_mib',
            'extra_specs', COALESCE(s.flavor->'extra_specs', '{}'), 'rxtx_factor', 1.0, 'vcpu_weight', 0, 'disabled', false, 'is_public', true,
            'projects', NULL, 'description', NULL`) + `,
        'request_id', a.request_id, 'action_initiator_user', a.user_id, 'action_initiator_project', a.project_id)`

	faultData = `jsonb_build_object('fault', CASE WHEN @failed THEN (SELECT ` + object("ExceptionPayload", "1.1", `'exception', 'NovaException', 'exception_message', x.message,
            'function_name', '', 'module_name', 'slipway', 'traceback', NULL`) + `
            FROM server_faults x WHERE x.server_id = s.id ORDER BY x.id DESC LIMIT 1) END)`

	rebuildData = `jsonb_build_object('trusted_image_certificates', s.trusted_image_certificates)`

	tagsData = `'tags', COALESCE((SELECT jsonb_agg(t.tag ORDER BY t.tag) FROM server_tags t WHERE t.server_id = s.id), '[]')`

	// audit_period is what has passed of the month, Nova's instance_usage_audit_period.
	updateData = `jsonb_build_object('old_display_name', NULLIF(@old_name::text, s.name), ` + tagsData + `,
        'state_update', ` + object("InstanceStateUpdatePayload", "1.0", `'old_state', @old_state::text, 'state', to_jsonb(s.vm_state),
            'old_task_state', @old_task::text, 'new_task_state', to_jsonb(s.task_state)`) + `,
        'audit_period', ` + object("AuditPeriodPayload", "1.0", `'audit_period_beginning', `+moment("date_trunc('month', @at::timestamptz, 'UTC')")+`,
            'audit_period_ending', `+moment("@at::timestamptz")) + `)`

	// The image of the action that holds the server's lock is the newest.
	snapshotData = `jsonb_build_object('snapshot_image_id', (SELECT x.id FROM images x WHERE x.snapshot_of = s.id ORDER BY x.created_at DESC LIMIT 1))`

	createData = `jsonb_build_object('instance_name', 'slipway-' || s.id, ` + tagsData + `,
        'keypairs', COALESCE((SELECT jsonb_agg(` + object("KeypairPayload", "1.0", `'user_id', k.user_id, 'name', k.name, 'type', k.type,
            'fingerprint', k.fingerprint, 'public_key', k.public_key`) + `) FROM key_pairs k WHERE k.user_id = s.user_id AND k.name = s.key_name), '[]'))`
)
