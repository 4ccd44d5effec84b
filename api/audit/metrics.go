package audit

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/models"
)

// Metrics reads what audits found from the database at each scrape, so every process tells the same.
type Metrics struct {
	store *models.Store
	log   *slog.Logger

	findings, last, took, complete, runs *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes the collector.
func NewMetrics(store *models.Store, log *slog.Logger) *Metrics {
	return &Metrics{
		store: store, log: log,
		findings: prometheus.NewDesc("slipway_audit_findings", "Open findings of the audit, by kind. host-not-looked-at and more-findings say that it is incomplete.", []string{"kind"}, nil),
		last:     prometheus.NewDesc("slipway_audit_last_run_timestamp_seconds", "When the last audit that came to its end did so.", nil, nil),
		took:     prometheus.NewDesc("slipway_audit_last_run_duration_seconds", "How long it took.", nil, nil),
		complete: prometheus.NewDesc("slipway_audit_last_run_complete", "Whether it looked at everything.", nil, nil),
		runs:     prometheus.NewDesc("slipway_audit_runs_total", "Audits by their outcome: clean, findings, incomplete or failed.", []string{"outcome"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.findings, m.last, m.took, m.complete, m.runs} {
		to <- d
	}
}

// scrapePatience bounds what a scrape waits for the database.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector. While the database does not answer there is nothing to tell.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	counts, err := m.store.AuditCounts(ctx)
	if err != nil {
		m.log.Warn("The audit's metrics cannot be read.", "error", err)
		return
	}
	for _, kind := range audit.Kinds() {
		to <- prometheus.MustNewConstMetric(m.findings, prometheus.GaugeValue, float64(counts.Open[string(kind)]), string(kind))
	}
	for _, outcome := range []string{"clean", "findings", "incomplete", "failed"} {
		to <- prometheus.MustNewConstMetric(m.runs, prometheus.CounterValue, float64(counts.Runs[outcome]), outcome)
	}
	if counts.Last == nil {
		return
	}
	complete := 0.0
	if counts.Complete {
		complete = 1
	}
	to <- prometheus.MustNewConstMetric(m.last, prometheus.GaugeValue, float64(counts.Last.UnixMilli())/1000)
	to <- prometheus.MustNewConstMetric(m.took, prometheus.GaugeValue, counts.Took.Seconds())
	to <- prometheus.MustNewConstMetric(m.complete, prometheus.GaugeValue, complete)
}
