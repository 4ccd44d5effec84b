package writer

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

// metrics counts what this process did. What waits is read from the database at the scrape: every process says the same.
type metrics struct {
	leading                   prometheus.Gauge
	applied, failed, repaired *prometheus.CounterVec
	waiting, failing, oldest  *prometheus.Desc
}

func newMetrics() metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_network_changes_" + name, Help: help}, []string{"kind"})
		for _, kind := range sdn.Kinds() {
			c.WithLabelValues(string(kind)) // a rate needs what was before the first
		}
		return c
	}
	return metrics{
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_network_writer", Help: "1 where this process is the one that writes networks to their engine.",
		}),
		applied:  counter("applied_total", "Changes of networks that the engine took."),
		failed:   counter("failed_total", "Tries to apply a change that the engine refused."),
		repaired: counter("repaired_total", "Resources that the engine had otherwise than the database."),
		waiting:  prometheus.NewDesc("slipway_network_changes_waiting", "Changes of networks that wait for the engine.", nil, nil),
		failing:  prometheus.NewDesc("slipway_network_changes_failing", "Those of them that the engine has refused.", nil, nil),
		oldest: prometheus.NewDesc("slipway_network_changes_oldest_timestamp_seconds",
			"When the oldest change that waits was made; absent when none waits.", nil, nil),
	}
}

// scrapePatience is how long the database may take for the gauges.
const scrapePatience = 5 * time.Second

func (m metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.leading, m.applied, m.failed, m.repaired}
}

// Describe implements prometheus.Collector.
func (w *Writer) Describe(to chan<- *prometheus.Desc) {
	for _, c := range w.metrics.collectors() {
		c.Describe(to)
	}
	to <- w.metrics.waiting
	to <- w.metrics.failing
	to <- w.metrics.oldest
}

// Collect implements prometheus.Collector. The gauges of the database are absent, rather than old, when it does not answer.
func (w *Writer) Collect(to chan<- prometheus.Metric) {
	for _, c := range w.metrics.collectors() {
		c.Collect(to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	b, err := w.o.Store.NetworkBacklog(ctx)
	if err != nil {
		w.log.Warn("no gauges of what waits", "error", err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(w.metrics.waiting, float64(b.Waiting))
	gauge(w.metrics.failing, float64(b.Failing))
	if !b.Oldest.IsZero() {
		gauge(w.metrics.oldest, float64(b.Oldest.UnixMilli())/1000)
	}
}
