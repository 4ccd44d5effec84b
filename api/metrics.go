package api

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestMetrics counts and times requests by route template and status; paths and ids never become labels.
type requestMetrics struct {
	took *prometheus.HistogramVec
}

func newMetrics(to prometheus.Registerer) (*requestMetrics, error) {
	m := &requestMetrics{took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "slipway_http_request_duration_seconds",
		Help:    "How long requests took, by route template, method and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600},
	}, []string{"route", "method", "status"})}
	if err := to.Register(m.took); err != nil {
		return nil, fmt.Errorf("register the API's metrics: %w", err)
	}
	return m, nil
}

func (m *requestMetrics) observe(route, method string, status int, took time.Duration) {
	if !slices.Contains(methods, method) {
		method = "other" // clients may send any word
	}
	m.took.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}
