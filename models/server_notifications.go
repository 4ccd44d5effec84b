package models

import (
	"os"

	"github.com/jackc/pgx/v5"

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
	machine, err := os.Hostname()
	if err != nil {
		machine = "localhost"
	}
	b.Queue(`SELECT `+notificationLock("id")+` FROM unnest($1::text[]) AS id ORDER BY id`, serverIDs)
	b.Queue(tellSQL, named{
		"servers": serverIDs, "request_id": requestID, "event_type": "instance." + event + "." + string(p), "failed": p == erred,
		"machine": machine, "at": now(), "payload": payloadOf(event), "event": event,
		"sinks": sinks, "channel": notificationChannel,
	})
}

// The events whose payload carries more than InstanceActionPayload does.
const creates, rebuilds = "create", "rebuild"

var payloads = map[string]struct{ name, version string }{
	creates:  {"InstanceCreatePayload", "1.11"},
	rebuilds: {"InstanceActionRebuildPayload", "1.8"},
}

// payloadOf is the frame of an event's payload, without its data.
func payloadOf(event string) string {
	p, ok := payloads[event]
	if !ok {
		p.name, p.version = "InstanceActionPayload", "1.7"
	}
	return asJSON(map[string]string{"nova_object.name": p.name, "nova_object.namespace": "nova", "nova_object.version": p.version})
}

// A row of instance_actions that this transaction wrote has its id as xmin.
var tellSQL = `
WITH told AS (
    INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
    SELECT @event_type, 'nova-compute:' || COALESCE(h.hostname, @machine), s.id, a.project_id, a.user_id, a.request_id,
        @payload::jsonb || jsonb_build_object('nova_object.data', ` + instanceData + ` || CASE @event
        WHEN '` + creates + `' THEN ` + rebuildData + ` || ` + createData + `
        WHEN '` + rebuilds + `' THEN ` + rebuildData + `
        ELSE '{}' END), @at
    FROM servers s JOIN instance_actions a ON a.server_id = s.id LEFT JOIN hosts h ON h.id = s.host_id LEFT JOIN images i ON i.id = s.image_id
    WHERE s.id = ANY(@servers) AND a.request_id = @request_id AND a.xmin = pg_current_xact_id()::xid
    RETURNING id, resource_id),
delivery AS (
    INSERT INTO notification_deliveries (notification_id, sink, queue, due_at)
    SELECT told.id, sink, sink || '/' || told.resource_id, now() FROM told, unnest(@sinks::text[]) AS sink)
SELECT pg_notify(@channel, '') FROM told LIMIT 1`

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
        'locked', s.locked_by IS NOT NULL, 'auto_disk_config', CASE WHEN s.auto_disk_config THEN 'AUTO' ELSE 'MANUAL' END, 'block_devices', '[]'::jsonb,
        'metadata', COALESCE((SELECT jsonb_object_agg(m.key, m.value) FROM server_metadata m WHERE m.server_id = s.id), '{}'),
        'ip_addresses', COALESCE((SELECT jsonb_agg(` + object("IpPayload", "1.0", `'label', n.name, 'mac', p.mac, 'meta', '{}'::jsonb, 'port_uuid', p.id,
            'version', family(f.ip::inet), 'address', host(f.ip::inet), 'device_name', NULL`) + ` ORDER BY p.nic_index, f.ip)
            FROM ports p JOIN networks n ON n.id = p.network_id JOIN fixed_ips f ON f.port_id = p.id WHERE p.server_id = s.id), '[]'),
        'flavor', ` + object("FlavorPayload", "1.4", `'flavorid', s.flavor->>'id', 'name', s.flavor->>'name', 'vcpus', s.flavor->'vcpus',
            'memory_mb', s.flavor->'ram_mib', 'root_gb', s.flavor->'disk_gib', 'ephemeral_gb', s.flavor->'ephemeral_gib', 'swap', s.flavor->'swap_mib',
            'extra_specs', COALESCE(s.flavor->'extra_specs', '{}'), 'rxtx_factor', 1.0, 'vcpu_weight', 0, 'disabled', false, 'is_public', true,
            'projects', NULL, 'description', NULL`) + `,
        'request_id', a.request_id, 'action_initiator_user', a.user_id, 'action_initiator_project', a.project_id,
        'fault', CASE WHEN @failed THEN (SELECT ` + object("ExceptionPayload", "1.1", `'exception', 'NovaException', 'exception_message', x.message,
            'function_name', '', 'module_name', 'slipway', 'traceback', NULL`) + `
            FROM server_faults x WHERE x.server_id = s.id ORDER BY x.id DESC LIMIT 1) END)`

	rebuildData = `jsonb_build_object('trusted_image_certificates', s.trusted_image_certificates)`

	createData = `jsonb_build_object('instance_name', 'slipway-' || s.id,
        'tags', COALESCE((SELECT jsonb_agg(t.tag ORDER BY t.tag) FROM server_tags t WHERE t.server_id = s.id), '[]'),
        'keypairs', COALESCE((SELECT jsonb_agg(` + object("KeypairPayload", "1.0", `'user_id', k.user_id, 'name', k.name, 'type', k.type,
            'fingerprint', k.fingerprint, 'public_key', k.public_key`) + `) FROM key_pairs k WHERE k.user_id = s.user_id AND k.name = s.key_name), '[]'))`
)
