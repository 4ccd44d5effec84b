package notify

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/models"
)

// metrics counts what this process did. What waits is read from the database at the scrape: every process says the same.
type metrics struct {
	delivered, failed, givenUp *prometheus.CounterVec
	waiting, oldest            *prometheus.Desc
}

func newMetrics() metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_notifications_" + name, Help: help}, []string{"sink"})
	}
	return metrics{
		delivered: counter("delivered_total", "Notifications that a sink took."),
		failed:    counter("failed_total", "Tries to deliver a notification that failed, the last ones too."),
		givenUp:   counter("given_up_total", "Notifications that a sink never got."),
		waiting:   prometheus.NewDesc("slipway_notifications_waiting", "Notifications that wait for a sink.", []string{"sink"}, nil),
		oldest: prometheus.NewDesc("slipway_notifications_oldest_timestamp_seconds",
			"When the oldest notification that waits for a sink was announced; absent when none waits.", []string{"sink"}, nil),
	}
}

// start shows a sink's counters from 0 on: a rate needs what was before the first.
func (m metrics) start(sink models.NotificationSink) {
	for _, c := range []*prometheus.CounterVec{m.delivered, m.failed, m.givenUp} {
		c.WithLabelValues(string(sink))
	}
}

// scrapePatience is how long the database may take for the gauges.
const scrapePatience = 5 * time.Second

// Describe implements prometheus.Collector.
func (d *Dispatcher) Describe(to chan<- *prometheus.Desc) {
	m := d.metrics
	for _, c := range []*prometheus.CounterVec{m.delivered, m.failed, m.givenUp} {
		c.Describe(to)
	}
	to <- m.waiting
	to <- m.oldest
}

// Collect implements prometheus.Collector. The gauges are absent, rather than old, when the database does not answer.
func (d *Dispatcher) Collect(to chan<- prometheus.Metric) {
	m := d.metrics
	for _, c := range []*prometheus.CounterVec{m.delivered, m.failed, m.givenUp} {
		c.Collect(to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	backlog, err := d.store.NotificationBacklog(ctx)
	if err != nil {
		d.log.Warn("no gauges of what waits", "error", err)
		return
	}
	bySink := map[models.NotificationSink]models.SinkBacklog{}
	for _, b := range backlog {
		bySink[b.Sink] = b
	}
	for _, s := range d.sinks { // what waits for a sink that is switched off is no backlog
		b := bySink[s.Name()]
		to <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(b.Waiting), string(s.Name()))
		if b.Waiting > 0 {
			to <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, float64(b.Oldest.UnixMilli())/1000, string(s.Name()))
		}
	}
}
