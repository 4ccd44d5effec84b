package models

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// event is of a resource, with a payload that says which one it is.
func event(resource, eventType string) Notification {
	return Notification{
		EventType: eventType, ResourceID: resource, ProjectID: "p1", UserID: "u1", RequestID: "req-1",
		Payload: json.RawMessage(`{"id": "` + resource + `"}`),
	}
}

func (w *world) announce(t testing.TB, all ...Notification) {
	t.Helper()
	require.NoError(t, w.tx(context.Background(), func(tx *gorm.DB) error {
		for _, n := range all {
			if err := announce(tx, n); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) claim(t testing.TB, sink NotificationSink, lease time.Duration) []Notification {
	t.Helper()
	got, err := w.ClaimNotifications(context.Background(), sink, 100, lease)
	require.NoError(t, err)
	return got
}

// told is what there is to see of notifications: resource and event.
func told(all []Notification) []string {
	var short []string
	for _, n := range all {
		short = append(short, n.ResourceID+" "+n.EventType)
	}
	return short
}

func TestATransactionThatIsUndoneAnnouncesNothing(t *testing.T) {
	w := newWorld(t)
	undone := errors.New("undone")
	before := w.snapshot(t)
	require.ErrorIs(t, w.tx(t.Context(), func(tx *gorm.DB) error {
		require.NoError(t, announce(tx, event("i1", "image.update")))
		return undone
	}), undone)
	require.Equal(t, before, w.snapshot(t))
	require.Empty(t, w.claim(t, SinkLog, 0))
	w.announce(t, event("i1", "image.update"))
	require.NotEqual(t, before, w.snapshot(t))
}

func TestAnAnnouncementComesBackWhole(t *testing.T) {
	w := newWorld(t)
	before := now()
	w.announce(t, event("i1", "image.member.create"))
	for _, sink := range []NotificationSink{SinkLog, SinkWebhook} {
		got := w.claim(t, sink, time.Hour)
		require.Len(t, got, 1)
		n := got[0]
		require.NotEmpty(t, n.MessageID)
		require.Regexp(t, `^image\..+`, n.PublisherID)
		require.False(t, n.CreatedAt.Before(before))
		require.JSONEq(t, `{"id": "i1"}`, string(n.Payload))
		want := event("i1", "image.member.create")
		want.ID, want.MessageID, want.PublisherID, want.CreatedAt, want.Payload, want.Attempts = n.ID, n.MessageID, n.PublisherID, n.CreatedAt, n.Payload, 1
		require.Equal(t, want, n)
	}
	for name, wrong := range map[string]Notification{
		"no event":             event("i1", ""),
		"no resource":          event("", "image.create"),
		"no object as payload": {EventType: "image.create", ResourceID: "i1", Payload: json.RawMessage(`[]`)},
	} {
		require.Error(t, w.tx(t.Context(), func(tx *gorm.DB) error { return announce(tx, wrong) }), name)
	}
}

func TestWhoAnnouncesSomethingOfAResourceComesAfterTheOneBefore(t *testing.T) {
	w := newWorld(t)
	second := func(resource string) error {
		return w.tx(t.Context(), func(tx *gorm.DB) error {
			require.NoError(t, tx.Exec(`SET LOCAL lock_timeout = '20ms'`).Error)
			return announce(tx, event(resource, "image.activate"))
		})
	}
	require.NoError(t, w.tx(t.Context(), func(tx *gorm.DB) error {
		require.NoError(t, announce(tx, event("i1", "image.upload")))
		require.Equal(t, "55P03", sqlState(second("i1")), "lock_not_available: its id would be the later one, and be seen first")
		require.NoError(t, second("i2"), "another resource")
		return nil
	}))
	require.NoError(t, second("i1"))
}

func TestNotificationsOfAResourceAreClaimedOneAfterTheOther(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	w.announce(t, event("i1", "image.create"), event("i2", "image.create"), event("i1", "image.upload"), event("i1", "image.activate"))

	first := w.claim(t, SinkWebhook, time.Hour)
	require.Equal(t, []string{"i1 image.create", "i2 image.create"}, told(first))
	require.Empty(t, w.claim(t, SinkWebhook, time.Hour), "what is claimed holds up what comes after it")

	require.NoError(t, w.NotificationFailed(ctx, SinkWebhook, first[0], errors.New("no"), time.Hour))
	require.NoError(t, w.NotificationsDelivered(ctx, SinkWebhook, first[1].ID))
	require.Empty(t, w.claim(t, SinkWebhook, time.Hour), "and so does what waits for another try")

	require.NoError(t, w.NotificationFailed(ctx, SinkWebhook, first[0], errors.New("no"), 0))
	again := w.claim(t, SinkWebhook, time.Hour)
	require.Equal(t, []string{"i1 image.create"}, told(again))
	require.Equal(t, first[0].MessageID, again[0].MessageID)
	require.Equal(t, 2, again[0].Attempts)

	require.NoError(t, w.NotificationGivenUp(ctx, SinkWebhook, again[0], errors.New("no")))
	upload := w.claim(t, SinkWebhook, time.Hour)
	require.Equal(t, []string{"i1 image.upload"}, told(upload))
	require.NoError(t, w.NotificationsDelivered(ctx, SinkWebhook, upload[0].ID))
	require.Equal(t, []string{"i1 image.activate"}, told(w.claim(t, SinkWebhook, time.Hour)))

	require.Equal(t, []string{"i1 image.create", "i2 image.create"}, told(w.claim(t, SinkLog, time.Hour)), "another sink has its own state")
}

func TestWhatWaitsIsPutAsideAndComesBackInItsTurn(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	const long = 20
	for range long {
		w.announce(t, event("i1", "image.update"))
	}
	due := func() (n int) {
		require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM notification_deliveries WHERE sink = 'log' AND due_at <= now()`).Scan(&n))
		return n
	}
	take := func() Notification {
		got, err := w.ClaimNotifications(ctx, SinkLog, 3, time.Hour)
		require.NoError(t, err)
		require.Len(t, got, 1)
		return got[0]
	}
	first := take()
	none, err := w.ClaimNotifications(ctx, SinkLog, 3, time.Hour)
	require.NoError(t, err)
	require.Empty(t, none)
	require.Zero(t, due(), "no claim goes through them again")
	w.announce(t, event("i2", "image.create"))
	require.Equal(t, "i2", take().ResourceID, "nor do they hide another resource")

	require.NoError(t, w.NotificationsDelivered(ctx, SinkLog, first.ID))
	require.Equal(t, 1, due())
	second := take()
	require.NoError(t, w.NotificationsDelivered(ctx, SinkLog, first.ID))
	require.Zero(t, due(), "said again, it takes the next one from nobody")
	require.NoError(t, w.NotificationGivenUp(ctx, SinkLog, second, errors.New("no")))
	for i := 2; i < long; i++ {
		n := take()
		require.Greater(t, n.ID, second.ID)
		second = n
		require.NoError(t, w.NotificationsDelivered(ctx, SinkLog, n.ID))
	}
	require.Zero(t, due())
}

func TestAClaimIsLostWithItsLease(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	w.announce(t, event("i1", "image.create"))
	lost := w.claim(t, SinkLog, 0)
	require.Len(t, lost, 1)
	taken := w.claim(t, SinkLog, time.Hour)
	require.Equal(t, told(lost), told(taken))

	require.NoError(t, w.NotificationFailed(ctx, SinkLog, lost[0], errors.New("late"), 0))
	require.NoError(t, w.NotificationGivenUp(ctx, SinkLog, lost[0], errors.New("late")))
	require.Empty(t, w.claim(t, SinkLog, time.Hour), "who lost it takes it from nobody")

	require.NoError(t, w.NotificationFailed(ctx, SinkLog, taken[0], errors.New("an answer of \x00\xff"), 0))
	require.Len(t, w.claim(t, SinkLog, time.Hour), 1)
	var last string
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT last_error FROM notification_deliveries WHERE sink = 'log'`).Scan(&last))
	require.Equal(t, "an answer of ??", last)
}

func TestManyClaimantsShareTheNotifications(t *testing.T) {
	w := newWorld(t)
	const resources = 40
	for i := range resources {
		id := string(rune('a'+i/26)) + string(rune('a'+i%26))
		w.announce(t, event(id, "image.create"), event(id, "image.delete"))
	}
	got := make([][]Notification, 8)
	for _, err := range atOnce(len(got), func(i int) error {
		for {
			some, err := w.ClaimNotifications(context.Background(), SinkLog, 3, time.Hour)
			if got[i] = append(got[i], some...); err != nil || len(some) == 0 {
				return err
			}
		}
	}) {
		require.NoError(t, err)
	}
	seen := map[string]int{}
	for _, some := range got {
		for _, n := range some {
			require.Equal(t, "image.create", n.EventType, "a delete whose create is not delivered")
			seen[n.ResourceID]++
		}
	}
	// One that finds every row locked for the moment goes away; somebody has those rows then.
	require.Len(t, seen, resources)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func TestAPurgeLeavesWhatWaitsAndWhatIsNew(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	old := func(resource string) Notification {
		n := event(resource, "image.create")
		n.CreatedAt = now().Add(-time.Hour)
		return n
	}
	w.announce(t, old("done"), old("logged"), old("waits"), old("given up"), event("new", "image.create"))
	for _, sink := range []NotificationSink{SinkLog, SinkWebhook} {
		for _, n := range w.claim(t, sink, time.Hour) {
			switch {
			case n.ResourceID == "waits", n.ResourceID == "logged" && sink == SinkWebhook:
			case n.ResourceID == "given up":
				require.NoError(t, w.NotificationGivenUp(ctx, sink, n, errors.New("no")))
			default:
				require.NoError(t, w.NotificationsDelivered(ctx, sink, n.ID))
			}
		}
	}
	left := func() []string {
		var ids []string
		require.NoError(t, w.db.Raw(`SELECT resource_id FROM notifications ORDER BY id`).Scan(&ids).Error)
		return ids
	}
	before := now().Add(-time.Minute)
	n, err := w.PurgeNotifications(ctx, before, SinkLog, SinkWebhook)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, []string{"logged", "waits", "new"}, left())
	n, err = w.PurgeNotifications(ctx, before, SinkLog)
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "nothing delivers to the webhook")
	require.Equal(t, []string{"waits", "new"}, left())
	n, err = w.PurgeNotifications(ctx, before)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Equal(t, []string{"new"}, left())
	require.Len(t, w.snapshot(t)["notification_deliveries"], 3)

	require.NoError(t, w.exec(ctx, `INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
		SELECT 'image.create', '', 'x', '', '', '', '{}', $1 FROM generate_series(1, $2)`, now().Add(-time.Hour), 2*purgeBatch+1))
	n, err = w.PurgeNotifications(ctx, before)
	require.NoError(t, err)
	require.EqualValues(t, 2*purgeBatch+1, n, "in as many steps as it takes")
}

func TestTheBacklogIsWhatWaitsForEachSink(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	got, err := w.NotificationBacklog(ctx)
	require.NoError(t, err)
	require.Empty(t, got)
	first, second, third := event("i1", "image.create"), event("i1", "image.delete"), event("i2", "image.create")
	first.CreatedAt = now().Add(-time.Hour)
	second.CreatedAt, third.CreatedAt = first.CreatedAt.Add(time.Minute), first.CreatedAt.Add(2*time.Minute)
	w.announce(t, first, second, third)
	claimed := w.claim(t, SinkWebhook, time.Hour)
	require.NoError(t, w.NotificationsDelivered(ctx, SinkWebhook, claimed[0].ID))
	require.NoError(t, w.NotificationGivenUp(ctx, SinkWebhook, claimed[1], errors.New("no")))
	got, err = w.NotificationBacklog(ctx)
	require.NoError(t, err)
	require.Equal(t, []SinkBacklog{{SinkAMQP, 3, first.CreatedAt}, {SinkLog, 3, first.CreatedAt}, {SinkWebhook, 1, second.CreatedAt}}, got)
}

func TestWhoListensHearsAnAnnouncementWhenItIsCommitted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- w.ListenNotifications(ctx, func() {
			select {
			case woken <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	<-woken // it listens
	require.NoError(t, w.tx(ctx, func(tx *gorm.DB) error {
		require.NoError(t, announce(tx, event("i1", "image.create")))
		require.Empty(t, w.claim(t, SinkLog, time.Hour))
		return nil
	}))
	<-woken
	require.Len(t, w.claim(t, SinkLog, time.Hour), 1)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	lost := make(chan error, 1)
	listening := make(chan struct{}, 1)
	go func() { lost <- w.ListenNotifications(t.Context(), func() { listening <- struct{}{} }) }()
	<-listening
	var gone int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()`).Scan(&gone))
	require.Equal(t, 1, gone)
	require.Error(t, <-lost)
}
