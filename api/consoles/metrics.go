package consoles

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/service/consoles"
)

var sessions = prometheus.NewDesc("slipway_console_sessions", "Consoles that users have open at this process.", []string{"type"}, nil)

// Metrics shows what is open.
type Metrics struct{ service *consoles.Service }

// NewMetrics makes them.
func NewMetrics(service *consoles.Service) Metrics { return Metrics{service} }

// Describe is prometheus.Collector's.
func (m Metrics) Describe(to chan<- *prometheus.Desc) { to <- sessions }

// Collect counts.
func (m Metrics) Collect(to chan<- prometheus.Metric) {
	for kind, n := range m.service.Open() {
		to <- prometheus.MustNewConstMetric(sessions, prometheus.GaugeValue, float64(n), kind)
	}
}
