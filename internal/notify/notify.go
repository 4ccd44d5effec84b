// Package notify delivers the notifications that models keeps (the outbox) to sinks: the log, a webhook, a message broker. Each is delivered
// at least once, with the same message id each time, and those of one resource in order. A sink that is down holds up no
// other.
package notify

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/pace"
	"github.com/slipway-cloud/slipway/models"
)

// Sink is a place that notifications go to.
type Sink interface {
	Name() models.NotificationSink
	// Deliver hands a notification over. nil says that it has arrived; after anything else, and after a crash, it comes
	// again. It is called from several goroutines, never at once for the same resource, and ends when ctx does.
	Deliver(ctx context.Context, n models.Notification) error
}

// Store is the outbox, as models.Store has it.
type Store interface {
	ClaimNotifications(ctx context.Context, sink models.NotificationSink, limit int, lease time.Duration) ([]models.Notification, error)
	NotificationsDelivered(ctx context.Context, sink models.NotificationSink, ids ...int64) error
	NotificationFailed(ctx context.Context, sink models.NotificationSink, n models.Notification, cause error, pause time.Duration) error
	NotificationGivenUp(ctx context.Context, sink models.NotificationSink, n models.Notification, cause error) error
	PurgeNotifications(ctx context.Context, before time.Time, sinks ...models.NotificationSink) (int64, error)
	NotificationBacklog(ctx context.Context) ([]models.SinkBacklog, error)
	ListenNotifications(ctx context.Context, woke func()) error
}

// Options of a Dispatcher. A zero duration is replaced by the one that is named.
type Options struct {
	Timeout    time.Duration // of one delivery; 10 s
	Keep       time.Duration // for so long notifications stay after they are settled, counted from the event; 7 days
	GiveUp     time.Duration // a delivery that fails so long after its event is the last; 3 days
	Poll       time.Duration // looks by itself so often, where nothing wakes it; 10 s
	FirstRetry time.Duration // pause after the first failure, doubled with each further one; 1 s
	LastRetry  time.Duration // longest pause; 5 min
	PurgeEvery time.Duration // 1 h
}

const (
	// atOnce is how many deliveries of a sink run beside each other, of as many resources.
	atOnce = 16
	// storePatience is how long the database may take for one of its parts in a delivery.
	storePatience = 10 * time.Second
)

func (o Options) filled() Options {
	for d, preset := range map[*time.Duration]time.Duration{
		&o.Timeout: 10 * time.Second, &o.Keep: 7 * 24 * time.Hour, &o.GiveUp: 3 * 24 * time.Hour, &o.Poll: 10 * time.Second,
		&o.FirstRetry: time.Second, &o.LastRetry: 5 * time.Minute, &o.PurgeEvery: time.Hour,
	} {
		if *d <= 0 {
			*d = preset
		}
	}
	return o
}

// lease outlives a delivery with all that belongs to it, so only a claimant that died loses one.
func (o Options) lease() time.Duration { return o.Timeout + 2*storePatience + 30*time.Second }

// Dispatcher delivers to its sinks. Any number may run on one database, with the same sinks: they share the work, and what
// a dead one had claimed another takes up. It is a prometheus.Collector.
type Dispatcher struct {
	store   Store
	sinks   []Sink
	log     *slog.Logger
	opts    Options
	metrics metrics
}

// New makes a dispatcher. Without any sink it still removes what is old.
func New(store Store, sinks []Sink, log *slog.Logger, opts Options) *Dispatcher {
	d := &Dispatcher{store: store, sinks: sinks, log: log.With("component", "notifications"), opts: opts.filled(), metrics: newMetrics()}
	for _, s := range sinks {
		d.metrics.start(s.Name())
	}
	return d
}

var _ prometheus.Collector = (*Dispatcher)(nil)

// Run delivers until ctx ends. Deliveries that run then come to their end first, and sinks that can be closed are.
func (d *Dispatcher) Run(ctx context.Context) {
	var loops sync.WaitGroup
	bells := make([]pace.Bell, len(d.sinks))
	for i, s := range d.sinks {
		bells[i] = pace.NewBell()
		loops.Go(func() { d.serve(ctx, s, bells[i]) })
	}
	if len(d.sinks) > 0 {
		loops.Go(func() { d.listen(ctx, bells) })
	}
	loops.Go(func() { d.purge(ctx) })
	loops.Wait()
	for _, s := range d.sinks {
		if c, open := s.(io.Closer); open {
			if err := c.Close(); err != nil {
				d.log.Warn("a sink is not closed in order", "sink", s.Name(), "error", err)
			}
		}
	}
}

// listen rings for every loop when something was announced.
func (d *Dispatcher) listen(ctx context.Context, bells []pace.Bell) {
	for ctx.Err() == nil {
		err := d.store.ListenNotifications(ctx, func() {
			for _, bell := range bells {
				bell.Ring()
			}
		})
		if ctx.Err() == nil {
			d.log.Warn("not told of new notifications; looking for them", "every", d.opts.Poll, "error", err)
			pace.Rest(ctx, d.opts.Poll, nil)
		}
	}
}

// serve is the loop of one sink.
func (d *Dispatcher) serve(ctx context.Context, s Sink, bell pace.Bell) {
	retry := time.Time{} // the next that is known of
	for ctx.Err() == nil {
		claimed, err := d.claim(ctx, s)
		if err != nil {
			d.log.Warn("cannot look for notifications; trying again", "sink", s.Name(), "every", d.opts.Poll, "error", err)
			pace.Rest(ctx, d.opts.Poll, nil)
			continue
		}
		if len(claimed) > 0 {
			again := d.deliverAll(ctx, s, claimed)
			for _, at := range again {
				if retry.IsZero() || at.Before(retry) {
					retry = at
				}
			}
			if len(again) == len(claimed) {
				pace.Rest(ctx, d.opts.FirstRetry, nil) // whoever is down is not to be rushed with all that waits
			}
			continue
		}
		idle := d.opts.Poll
		if !retry.IsZero() {
			idle = min(idle, time.Until(retry))
		}
		pace.Rest(ctx, idle, bell)
		if !retry.After(time.Now()) {
			retry = time.Time{}
		}
	}
}

// claim is not cut off by a stop: the answer would be lost, and what it claimed would wait for the lease's end.
func (d *Dispatcher) claim(ctx context.Context, s Sink) ([]models.Notification, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	return d.store.ClaimNotifications(ctx, s.Name(), atOnce, d.opts.lease())
}

// deliverAll delivers what was claimed, of as many resources, and gives the moments at which the failed ones are due.
func (d *Dispatcher) deliverAll(ctx context.Context, s Sink, claimed []models.Notification) []time.Time {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		again []time.Time
	)
	for _, n := range claimed {
		all.Go(func() {
			if wait, failed := d.deliver(context.WithoutCancel(ctx), s, n); failed {
				mu.Lock()
				again = append(again, time.Now().Add(wait))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return again
}

func (d *Dispatcher) deliver(ctx context.Context, s Sink, n models.Notification) (wait time.Duration, failed bool) {
	delivering, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	err := s.Deliver(delivering, n)
	cancel()
	log := d.log.With("sink", s.Name(), "message_id", n.MessageID, "event_type", n.EventType, "resource_id", n.ResourceID,
		"request_id", n.RequestID, "attempt", n.Attempts)
	ctx, cancel = context.WithTimeout(ctx, storePatience)
	defer cancel()
	switch {
	case err == nil:
		d.metrics.delivered.WithLabelValues(string(s.Name())).Inc()
		err = d.store.NotificationsDelivered(ctx, s.Name(), n.ID)
	case time.Since(n.CreatedAt) >= d.opts.GiveUp:
		d.metrics.failed.WithLabelValues(string(s.Name())).Inc()
		d.metrics.givenUp.WithLabelValues(string(s.Name())).Inc()
		log.Error("notification given up", "announced", n.CreatedAt, "error", err)
		err = d.store.NotificationGivenUp(ctx, s.Name(), n, err)
	default:
		failed, wait = true, pace.Backoff(n.Attempts, d.opts.FirstRetry, d.opts.LastRetry)
		d.metrics.failed.WithLabelValues(string(s.Name())).Inc()
		log.Warn("notification not delivered", "again_in", wait, "error", err)
		err = d.store.NotificationFailed(ctx, s.Name(), n, err, wait)
	}
	if err != nil {
		log.Error("cannot record what became of a notification: it comes again", "in", d.opts.lease(), "error", err)
	}
	return wait, failed
}

// purge removes what is old, at the start and then now and again.
func (d *Dispatcher) purge(ctx context.Context) {
	names := make([]models.NotificationSink, len(d.sinks))
	for i, s := range d.sinks {
		names[i] = s.Name()
	}
	for ctx.Err() == nil {
		n, err := d.store.PurgeNotifications(ctx, time.Now().Add(-d.opts.Keep), names...)
		switch {
		case err != nil && ctx.Err() == nil:
			d.log.Warn("cannot remove old notifications; trying again", "in", d.opts.PurgeEvery, "error", err)
		case n > 0:
			d.log.Info("old notifications removed", "count", n)
		}
		pace.Rest(ctx, d.opts.PurgeEvery, nil)
	}
}
