package models

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// Notification is one event that is told to the outside, of a change that was committed together with it.
type Notification struct {
	ID          int64
	MessageID   string // stays the same in each delivery
	EventType   string // Glance's: image.create, image.member.update
	PublisherID string // service and machine, as oslo.messaging's: image.node1
	ResourceID  string // whose events are delivered in order: the image's id, for members too
	ProjectID   string // of who did it, as UserID; "" is Slipway itself
	UserID      string
	RequestID   string
	Payload     json.RawMessage // an object, without secrets: anyone who gets notifications reads it
	CreatedAt   time.Time
	Attempts    int // claims for the sink that it was claimed for, this one too
}

// NotificationSink is a place that notifications go to. Each has its own state of delivery.
type NotificationSink string

// The sinks that there are. A notification is kept for each of them, whether anything delivers there or not: the process
// that announces does not know, and a sink that is switched on gets what is still kept.
const (
	SinkLog     NotificationSink = "log"
	SinkWebhook NotificationSink = "webhook"
	SinkAMQP    NotificationSink = "amqp"
)

var sinks = []string{string(SinkLog), string(SinkWebhook), string(SinkAMQP)}

// notificationChannel is the Postgres channel on which announce wakes those who deliver.
const notificationChannel = "slipway_notifications"

// notificationLock takes the lock of a resource's notifications, until the transaction ends.
func notificationLock(resource string) string {
	return `pg_advisory_xact_lock(hashtextextended('notifications/' || ` + resource + `, 0))`
}

// announce writes a notification in the transaction of the change that it tells of. EventType, ResourceID and Payload are
// the caller's, who did it too; the rest is filled in. It holds a lock of the resource until the transaction ends: ids are
// given out before a commit, and without the lock a later id could be seen, and delivered, first.
func announce(tx *gorm.DB, n Notification) error {
	if n.CreatedAt.IsZero() {
		n.CreatedAt = now()
	}
	if n.PublisherID == "" {
		service, _, _ := strings.Cut(n.EventType, ".")
		machine, err := os.Hostname()
		if err != nil {
			machine = "localhost"
		}
		n.PublisherID = service + "." + machine
	}
	err := tx.Exec(`SELECT `+notificationLock("?"), n.ResourceID).Error
	if err == nil {
		err = tx.Exec(`
WITH n AS (
    INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?::jsonb, ?) RETURNING id, resource_id
), d AS (
    INSERT INTO notification_deliveries (notification_id, sink, queue, due_at)
    SELECT n.id, sink, sink || '/' || n.resource_id, now() FROM n, unnest(?::text[]) AS sink
)
SELECT pg_notify(?, '')`,
			n.EventType, n.PublisherID, n.ResourceID, n.ProjectID, n.UserID, n.RequestID, string(n.Payload), n.CreatedAt,
			texts(sinks), notificationChannel).Error
	}
	if err != nil {
		return fmt.Errorf("announce %s of %s: %w", n.EventType, n.ResourceID, err)
	}
	return nil
}

// asideFor is how long a notification that waits for one before it is not looked at, unless that one is settled.
const asideFor = time.Hour

// ClaimNotifications takes up to limit notifications for a sink, those that are due for longest: of each resource the first
// that is not settled, so a later one waits for those before it. What is claimed is nobody else's for the lease; a claimant
// that dies loses it then. The clock is Postgres'.
//
// What is due and not the first is put aside until settle brings it back, so that the long queue of one resource is not gone
// through with each claim.
func (s *Store) ClaimNotifications(ctx context.Context, sink NotificationSink, limit int, lease time.Duration) ([]Notification, error) {
	for {
		all, due, err := s.claimNotifications(ctx, sink, limit, lease)
		if err != nil || len(all) > 0 || due == 0 {
			return all, failed(err, "claim notifications for the %s", sink)
		}
	}
}

// claimNotifications looks at the notifications that are due for longest, and says how many these were.
func (s *Store) claimNotifications(ctx context.Context, sink NotificationSink, limit int, lease time.Duration) (all []Notification, due int, err error) {
	err = withRetries(ctx, func() error {
		all = nil
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT notification_id FROM notification_deliveries
				WHERE sink = $1 AND due_at <= now() ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED`, string(sink), limit)
			if err != nil {
				return err
			}
			ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if due = len(ids); err != nil || due == 0 {
				return err
			}
			// A statement of its own, that sees what was settled before these rows were locked: whoever settles the one before
			// now has to wait for them, to bring them back.
			rows, err = tx.Query(ctx, `
WITH looked AS (
    UPDATE notification_deliveries d
    SET due_at = now() + CASE WHEN c.first THEN $3::interval ELSE $4::interval END, attempts = d.attempts + c.first::int
    FROM (
        SELECT d.notification_id, NOT EXISTS (SELECT FROM notification_deliveries e
            WHERE e.queue = d.queue AND e.notification_id < d.notification_id AND e.delivered_at IS NULL AND e.given_up_at IS NULL
            OFFSET 0) AS first -- OFFSET 0: no join, each is looked up in the index
        FROM notification_deliveries d WHERE d.sink = $1 AND d.notification_id = ANY($2)
    ) c WHERE d.sink = $1 AND d.notification_id = c.notification_id
    RETURNING d.notification_id, d.attempts, c.first
)
SELECT n.id, n.message_id, n.event_type, n.publisher_id, n.resource_id, n.project_id, n.user_id, n.request_id, n.payload,
    n.created_at, looked.attempts
FROM looked JOIN notifications n ON n.id = looked.notification_id WHERE looked.first ORDER BY n.id`, string(sink), ids, lease, asideFor)
			if err == nil {
				all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Notification])
			}
			return err
		})
	})
	return all, due, err
}

// NotificationsDelivered settles notifications that a sink has taken. Twice is once.
func (s *Store) NotificationsDelivered(ctx context.Context, sink NotificationSink, ids ...int64) error {
	err := s.settle(ctx, sink, ids, `UPDATE notification_deliveries SET delivered_at = now(), due_at = NULL
		WHERE sink = $1 AND notification_id = ANY($2) AND due_at IS NOT NULL`, string(sink), ids)
	return failed(err, "record notifications %v as delivered to the %s", ids, sink)
}

// NotificationFailed lets a claimed notification be claimed again after a pause. Nothing happens when the lease ended and
// somebody else has claimed it since.
func (s *Store) NotificationFailed(ctx context.Context, sink NotificationSink, n Notification, cause error, pause time.Duration) error {
	err := s.exec(ctx, `UPDATE notification_deliveries SET due_at = now() + @pause::interval, last_error = @error
		WHERE sink = @sink AND notification_id = @id AND attempts = @attempts AND due_at IS NOT NULL`,
		named{"sink": string(sink), "id": n.ID, "attempts": n.Attempts, "pause": pause, "error": storable(cause)})
	return failed(err, "record that notification %d failed for the %s", n.ID, sink)
}

// NotificationGivenUp settles a claimed notification that a sink will not get; those of its resource that wait for it go
// on. As NotificationFailed does, it leaves alone what somebody else has claimed since.
func (s *Store) NotificationGivenUp(ctx context.Context, sink NotificationSink, n Notification, cause error) error {
	err := s.settle(ctx, sink, []int64{n.ID}, `UPDATE notification_deliveries SET given_up_at = now(), due_at = NULL, last_error = $4
		WHERE sink = $1 AND notification_id = $2 AND attempts = $3 AND due_at IS NOT NULL`,
		string(sink), n.ID, n.Attempts, storable(cause))
	return failed(err, "record that notification %d is given up for the %s", n.ID, sink)
}

// settle ends deliveries by the given statement and brings back what was put aside behind them. The lock keeps away what is
// announced meanwhile: it would be put aside for what is settled here, and this would not see it.
func (s *Store) settle(ctx context.Context, sink NotificationSink, ids []int64, end string, args ...any) error {
	return s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SELECT `+notificationLock("resource_id")+` FROM notifications WHERE id = ANY($1)`, ids)
		b.Queue(end, args...)
		b.Queue(`
UPDATE notification_deliveries d SET due_at = now()
FROM notification_deliveries ended CROSS JOIN LATERAL (
    SELECT e.notification_id FROM notification_deliveries e
    WHERE e.queue = ended.queue AND e.delivered_at IS NULL AND e.given_up_at IS NULL ORDER BY e.notification_id LIMIT 1
) following
WHERE ended.sink = $1 AND ended.notification_id = ANY($2) AND ended.due_at IS NULL AND following.notification_id > ended.notification_id
  AND d.sink = $1 AND d.notification_id = following.notification_id AND d.attempts = 0`, string(sink), ids)
	})
}

// storable is an error's text as Postgres takes it: it may quote what a receiver answered.
func storable(cause error) string {
	return strings.ReplaceAll(strings.ToValidUTF8(cause.Error(), "?"), "\x00", "?")
}

// purgeBatch is how many rows one statement of a purge removes, so that none holds locks for long.
const purgeBatch = 1000

// PurgeNotifications removes the notifications from before a moment, but for those that still wait for one of the given
// sinks, and says how many it removed.
func (s *Store) PurgeNotifications(ctx context.Context, before time.Time, sinks ...NotificationSink) (int64, error) {
	names := make([]string, len(sinks))
	for i, sink := range sinks {
		names[i] = string(sink)
	}
	var all int64
	for {
		var n int64
		err := withRetries(ctx, func() error {
			done, err := s.pool.Exec(ctx, `
DELETE FROM notifications WHERE id IN (
    SELECT n.id FROM notifications n
    WHERE n.created_at < $1 AND NOT EXISTS (SELECT FROM notification_deliveries d
        WHERE d.notification_id = n.id AND d.sink = ANY($2) AND d.due_at IS NOT NULL)
    ORDER BY n.created_at LIMIT $3)`, before, names, purgeBatch)
			n = done.RowsAffected()
			return err
		})
		if all += n; err != nil || n < purgeBatch {
			return all, failed(err, "purge the notifications from before %s", before)
		}
	}
}

// SinkBacklog is what waits for a sink.
type SinkBacklog struct {
	Sink    NotificationSink
	Waiting int64
	Oldest  time.Time // when the oldest of them was announced
}

// NotificationBacklog is what waits for each sink, also for those to which nothing delivers. A sink without any is absent.
func (s *Store) NotificationBacklog(ctx context.Context) ([]SinkBacklog, error) {
	var all []SinkBacklog
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `
SELECT d.sink, count(*), min(n.created_at) FROM notification_deliveries d JOIN notifications n ON n.id = d.notification_id
WHERE d.due_at IS NOT NULL GROUP BY d.sink ORDER BY d.sink`)
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SinkBacklog])
		}
		return err
	})
	return all, failed(err, "count the notifications that wait")
}

// ListenNotifications calls woke when it listens, and after that soon after each announcement of any process, until ctx
// ends or its connection breaks. The connection is its own. A proxy between that shares connections between clients
// (PgBouncer's transaction pooling) lets nothing through: who calls looks now and then by itself too.
func (s *Store) ListenNotifications(ctx context.Context, woke func()) error {
	return s.listen(ctx, notificationChannel, woke)
}

// listen calls woke when it listens on a channel of Postgres', and after each word there.
func (s *Store) listen(ctx context.Context, channel string, woke func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.standing())
	if err != nil {
		return failed(err, "connect to listen on %s", channel)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockPatience)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err = conn.Exec(ctx, `LISTEN `+channel); err == nil {
		for woke(); err == nil; {
			if _, err = conn.WaitForNotification(ctx); err == nil {
				woke()
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return failed(err, "listen on %s", channel)
}
