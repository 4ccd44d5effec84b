package installation

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/models"
)

// Metrics reads from the database at each scrape how far it is, so every process tells the same.
type Metrics struct {
	store *models.Store
	log   *slog.Logger

	generation, restored *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes the collector.
func NewMetrics(store *models.Store, log *slog.Logger) *Metrics {
	return &Metrics{
		store: store, log: log,
		generation: prometheus.NewDesc("slipway_database_generation", "The generation of the database, which rises with time.", nil, nil),
		restored:   prometheus.NewDesc("slipway_database_restored", "1 while the database was restored and nobody has acknowledged that.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.generation
	to <- m.restored
}

// scrapePatience bounds what a scrape waits for the database.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector. While the database does not answer there is nothing to tell.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	i, err := m.store.Installation(ctx)
	if err != nil {
		m.log.Warn("The installation's metrics cannot be read.", "error", err)
		return
	}
	restored := 0.0
	if i.Restored() {
		restored = 1
	}
	to <- prometheus.MustNewConstMetric(m.generation, prometheus.GaugeValue, float64(i.Generation))
	to <- prometheus.MustNewConstMetric(m.restored, prometheus.GaugeValue, restored)
}
