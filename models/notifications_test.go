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
