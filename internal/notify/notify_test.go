package notify

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/models"
)

// outbox is a database with notifications in it.
type outbox struct {
	*models.Store
	db *sql.DB
}

func newOutbox(t *testing.T) outbox {
	t.Helper()
	dsn := testenv.Migrated(t)
	store, err := models.Open(t.Context(), dsn, models.Options{MaxConns: 20, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return outbox{Store: store, db: db}
}

// announce writes what models writes in the transaction of a change, as one that was made so long ago.
func (o outbox) announce(t *testing.T, ago time.Duration, resource string, eventTypes ...string) {
	t.Helper()
	for _, e := range eventTypes {
		tx, err := o.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(hashtextextended('notifications/' || $1, 0))`, resource)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), `
WITH n AS (
    INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
    VALUES ($1, 'image.node1', $2, 'p1', 'u1', 'req-1', jsonb_build_object('id', $2::text), now() - $3::bigint * interval '1 microsecond')
    RETURNING id, resource_id
), d AS (
    INSERT INTO notification_deliveries (notification_id, sink, queue, due_at)
    SELECT n.id, sink, sink || '/' || n.resource_id, now() FROM n, unnest(ARRAY['log', 'webhook', 'amqp']) AS sink
)
SELECT pg_notify('slipway_notifications', '')`, e, resource, ago.Microseconds())
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
}

// lastError is what is kept of the failure of a resource's first notification for the webhook.
func (o outbox) lastError(t *testing.T, resource string) string {
	t.Helper()
	var last sql.NullString
	require.NoError(t, o.db.QueryRowContext(t.Context(), `SELECT last_error FROM notification_deliveries
		WHERE queue = 'webhook/' || $1 ORDER BY notification_id LIMIT 1`, resource).Scan(&last))
	return last.String
}

// got is a notification as a receiver has it.
type got struct {
	envelope
	header http.Header
	body   []byte
}

// receiver answers what answer says, and hands on what came.
type receiver struct {
	*httptest.Server
	came chan got
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n got)) receiver {
	t.Helper()
	r := receiver{came: make(chan got, 10000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body bytes.Buffer
		n := got{header: req.Header}
		if _, err := body.ReadFrom(req.Body); err != nil {
			t.Errorf("reading what was posted: %v", err)
		}
		n.body = body.Bytes()
		if err := json.Unmarshal(n.body, &n.envelope); err != nil {
			t.Errorf("what was posted: %v", err)
		}
		if answer != nil {
			answer(w, req, n)
		}
		r.came <- n
	}))
	t.Cleanup(r.Close)
	return r
}

func (r receiver) sink() *Webhook { return NewWebhook(r.URL, []byte("a secret of sixteen")) }

// quick has no pauses; nothing but an announcement wakes it from a poll.
var quick = Options{FirstRetry: time.Microsecond, LastRetry: time.Microsecond, Poll: time.Hour}

// run starts a dispatcher and gives what stops it and waits for its end.
func run(t *testing.T, d *Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

var quiet = slog.New(slog.DiscardHandler)

// lines is a log, one line at a time.
type lines chan string

func newLines() lines { return make(lines, 10000) }

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func (l lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (r receiver) next(t *testing.T) got {
	t.Helper()
	select {
	case n := <-r.came:
		return n
	case <-time.After(time.Minute):
		t.Fatal("nothing was delivered")
		return got{}
	}
}

func TestAnEventThatIsAnnouncedWhileItRunsIsDelivered(t *testing.T) {
	o := newOutbox(t)
	r := newReceiver(t, nil)
	run(t, New(o, []Sink{r.sink()}, quiet, quick))
	o.announce(t, 0, "i1", "image.create")
	require.Equal(t, "image.create", r.next(t).EventType)
	o.announce(t, 0, "i1", "image.upload", "image.activate")
	require.Equal(t, "image.upload", r.next(t).EventType)
	require.Equal(t, "image.activate", r.next(t).EventType)
}

// crashing is an outbox whose process dies before it can say that something was delivered: the lease is over at once.
type crashing struct {
	outbox
	died chan struct{}
}

func (c crashing) ClaimNotifications(ctx context.Context, sink models.NotificationSink, limit int, _ time.Duration) ([]models.Notification, error) {
	select {
	case <-c.died:
		return nil, nil
	default:
		return c.outbox.ClaimNotifications(ctx, sink, limit, 0)
	}
}

func (c crashing) NotificationsDelivered(context.Context, models.NotificationSink, ...int64) error {
	close(c.died)
	return errors.New("killed")
}

func TestWhatACrashLeftUnsaidIsDeliveredAgainUnderTheSameMessageID(t *testing.T) {
	o := newOutbox(t)
	r := newReceiver(t, nil)
	o.announce(t, 0, "i1", "image.create", "image.delete")
	stop := run(t, New(crashing{o, make(chan struct{})}, []Sink{r.sink()}, quiet, quick))
	first := r.next(t)
	stop()
	run(t, New(o, []Sink{r.sink()}, quiet, quick))
	again := r.next(t)
	require.Equal(t, "image.create", first.EventType)
	require.Equal(t, first.body, again.body)
	require.NotEmpty(t, first.MessageID)
	last := r.next(t)
	require.Equal(t, "image.delete", last.EventType)
	require.NotEqual(t, first.MessageID, last.MessageID)
}

func TestSeveralDispatchersDeliverEachOnceAndThoseOfAResourceInOrder(t *testing.T) {
	o := newOutbox(t)
	const resources = 25
	events := []string{"image.create", "image.upload", "image.activate", "image.update", "image.delete"}
	var (
		mu       sync.Mutex
		tries    = map[string]int{}
		accepted = map[string][]string{}
	)
	complete := make(chan struct{})
	left := resources * len(events)
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n got) {
		var payload struct{ ID string }
		if err := json.Unmarshal(n.Payload, &payload); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		tries[n.MessageID]++
		// Some fail once, some twice, most not at all.
		if len(accepted[payload.ID])%3 == 1 && tries[n.MessageID] <= 1+len(payload.ID)%2 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		accepted[payload.ID] = append(accepted[payload.ID], n.EventType)
		if left--; left == 0 {
			close(complete)
		}
	})
	var stops []func()
	for range 3 {
		opts := quick
		opts.Poll = 10 * time.Millisecond // a claim passes over rows that another looks at in that moment
		stops = append(stops, run(t, New(o, []Sink{r.sink()}, quiet, opts)))
	}
	for _, e := range events {
		for i := range resources {
			o.announce(t, 0, fmt.Sprintf("i%d", i), e)
		}
	}
	select {
	case <-complete:
	case <-time.After(time.Minute):
		t.Fatalf("%d are not delivered", left)
	}
	for _, stop := range stops {
		stop()
	}
	require.Len(t, accepted, resources)
	failures := 0
	for id, all := range accepted {
		require.Equal(t, events, all, id)
	}
	for _, n := range tries {
		failures += n - 1
	}
	require.NotZero(t, failures)
	require.Len(t, tries, resources*len(events))
}

func TestAWebhookThatIsDownNeitherDelaysNorRepeatsTheLog(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 0, "i1", "image.create", "image.delete")
	logged := newLines()
	up := make(chan struct{})
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ got) {
		select {
		case <-up:
		default:
			http.Error(w, "down", http.StatusInternalServerError)
		}
	})
	stop := run(t, New(o, []Sink{Log{logged.logger()}, r.sink()}, quiet, quick))
	require.Contains(t, <-logged, `"event_type":"image.create"`)
	require.Contains(t, <-logged, `"event_type":"image.delete"`)
	for range 3 {
		require.Equal(t, "image.create", r.next(t).EventType, "the delete waits for it")
	}
	require.Equal(t, `the webhook answered 500: "down\n"`, o.lastError(t, "i1"))
	close(up)
	for r.next(t).EventType != "image.delete" {
	}
	stop()
	require.Empty(t, logged)
	backlog, err := o.NotificationBacklog(t.Context())
	require.NoError(t, err)
	require.Len(t, backlog, 1)
	require.Equal(t, models.SinkAMQP, backlog[0].Sink, "to which nothing delivers here")
}

func TestAReceiverThatHangsIsTriedAgain(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 0, "i1", "image.create")
	first := true
	r := newReceiver(t, func(_ http.ResponseWriter, req *http.Request, _ got) {
		if first {
			first = false
			<-req.Context().Done()
		}
	})
	opts := quick
	opts.Timeout = 20 * time.Millisecond
	run(t, New(o, []Sink{r.sink()}, quiet, opts))
	require.Equal(t, r.next(t).MessageID, r.next(t).MessageID)
	require.Contains(t, o.lastError(t, "i1"), "deadline exceeded")
}

func TestARedirectIsAFailureAndNotFollowed(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 0, "i1", "image.create")
	elsewhere := newReceiver(t, nil)
	first := true
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request, _ got) {
		if first {
			first = false
			http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
		}
	})
	run(t, New(o, []Sink{r.sink()}, quiet, quick))
	require.Equal(t, r.next(t).MessageID, r.next(t).MessageID)
	require.Empty(t, elsewhere.came)
	require.Equal(t, "the webhook answered 307", o.lastError(t, "i1"))
}

func TestWhatFailsForTooLongIsGivenUpAloudAndTheNextGoesOn(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 2*time.Hour, "i1", "image.create")
	o.announce(t, 0, "i1", "image.delete")
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n got) {
		if n.EventType == "image.create" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	said := newLines()
	opts := quick
	opts.GiveUp = time.Hour
	d := New(o, []Sink{r.sink()}, said.logger(), opts)
	stop := run(t, d)
	require.Equal(t, "image.create", r.next(t).EventType)
	require.Equal(t, "image.delete", r.next(t).EventType)
	stop()
	require.Empty(t, r.came, "it was the last try")
	line := <-said
	require.Contains(t, line, `"level":"ERROR","msg":"notification given up"`)
	require.Contains(t, line, `"event_type":"image.create","resource_id":"i1","request_id":"req-1"`)
	require.Equal(t, map[string]float64{
		"delivered_total webhook": 1, "failed_total webhook": 1, "given_up_total webhook": 1, "waiting webhook": 0,
	}, scraped(t, d))
}

func TestAStopLetsADeliveryComeToItsEnd(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 0, "i1", "image.create", "image.delete")
	arrived, answer := make(chan struct{}), make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, *http.Request, got) {
		close(arrived)
		<-answer
	})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		New(o, []Sink{r.sink()}, quiet, quick).Run(ctx)
	}()
	<-arrived
	cancel()
	close(answer)
	<-stopped
	left, err := o.ClaimNotifications(t.Context(), models.SinkWebhook, 10, 0)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "image.delete", left[0].EventType)
}

func TestOldNotificationsGoAlsoWhereThereIsNoSink(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, 2*time.Hour, "old", "image.create")
	o.announce(t, 0, "new", "image.create")
	said := newLines()
	opts := quick
	opts.Keep = time.Hour
	run(t, New(o, nil, said.logger(), opts))
	require.Contains(t, <-said, `"msg":"old notifications removed","component":"notifications","count":1`)
}

// scraped are the values of a dispatcher's metrics, by name and sink.
func scraped(t *testing.T, d *Dispatcher) map[string]float64 {
	t.Helper()
	metrics := prometheus.NewPedanticRegistry()
	require.NoError(t, metrics.Register(d))
	families, err := metrics.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := strings.TrimPrefix(f.GetName(), "slipway_notifications_") + " " + m.GetLabel()[0].GetValue()
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestMetricsTellWhatWaitsForTheSinksThereAre(t *testing.T) {
	o := newOutbox(t)
	o.announce(t, time.Hour, "i1", "image.create")
	o.announce(t, 0, "i1", "image.delete")
	backlog, err := o.NotificationBacklog(t.Context())
	require.NoError(t, err)
	oldest := backlog[slices.IndexFunc(backlog, func(b models.SinkBacklog) bool { return b.Sink == models.SinkLog })].Oldest
	d := New(o, []Sink{Log{quiet}}, quiet, quick)
	require.Equal(t, map[string]float64{
		"delivered_total log": 0, "failed_total log": 0, "given_up_total log": 0, "waiting log": 2,
		"oldest_timestamp_seconds log": float64(oldest.UnixMilli()) / 1000,
	}, scraped(t, d))
	require.NoError(t, o.Close())
	require.NotContains(t, scraped(t, d), "waiting log", "rather none than an old one")
}
