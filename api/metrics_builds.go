package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/api/builds"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// What bounds the cost of a scrape: however many ask, the engine and the database are asked once in a while.
const (
	countsFresh    = 10 * time.Second
	countsPatience = 5 * time.Second
)

// buildMetrics are gauges of what runs, and of the servers. They are read at the scrape from what all api processes share,
// so any number of these say the same. Where a source does not answer its gauges are absent rather than old, and
// slipway_source_readable says so.
type buildMetrics struct {
	store  *models.Store
	builds builds.Builds
	log    *slog.Logger
	now    func() time.Time

	running, parked, overdue, servers, failures, suspended, readable *prometheus.Desc

	mu   sync.Mutex
	read time.Time
	last []prometheus.Metric
}

func newBuildMetrics(store *models.Store, b builds.Builds, log *slog.Logger) *buildMetrics {
	return &buildMetrics{
		store: store, builds: b, log: log, now: time.Now,
		running: prometheus.NewDesc("slipway_builds_running", "Builds, deletes and clean-ups that run, by phase.", []string{"phase"}, nil),
		parked:  prometheus.NewDesc("slipway_builds_parked", "Those of which an undo does not succeed or waits for a host.", nil, nil),
		overdue: prometheus.NewDesc("slipway_builds_overdue", "Those whose phase takes longer than its deadline allows, by phase.", []string{"phase"}, nil),
		servers: prometheus.NewDesc("slipway_servers", "Servers that are not deleted, by status and task state.", []string{"status", "task_state"}, nil),
		// One series for each host that failed builds since its last success, none for the others.
		failures:  prometheus.NewDesc("slipway_host_build_failures", "Builds in a row that failed on a host by its own fault, of hosts with any.", []string{"host"}, nil),
		suspended: prometheus.NewDesc("slipway_hosts_suspended", "Hosts that get no new servers because builds failed on them.", nil, nil),
		readable:  prometheus.NewDesc("slipway_source_readable", "Whether a source of these gauges answered.", []string{"source"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *buildMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.running, m.parked, m.overdue, m.servers, m.failures, m.suspended, m.readable} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Scrapes that come together share one reading.
func (m *buildMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read.IsZero() || m.now().Sub(m.read) >= countsFresh {
		m.last, m.read = m.gauges(), m.now()
	}
	for _, g := range m.last {
		to <- g
	}
}

func (m *buildMetrics) gauges() []prometheus.Metric {
	ctx, cancel := context.WithTimeout(context.Background(), countsPatience)
	defer cancel()
	var all []prometheus.Metric
	add := func(d *prometheus.Desc, value int64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...))
	}
	readable := func(source string, err error) bool {
		if err != nil {
			m.log.Warn("no gauges of a source", "source", source, "error", err)
			add(m.readable, 0, source)
			return false
		}
		add(m.readable, 1, source)
		return true
	}

	var servers []models.ServerCount
	var failing []models.Host
	var databaseErr error
	counting := make(chan struct{})
	go func() {
		defer close(counting)
		if servers, databaseErr = m.store.CountServers(ctx); databaseErr == nil {
			failing, databaseErr = m.store.FailingHosts(ctx)
		}
	}()
	counts, err := m.builds.CountBuilds(ctx)
	<-counting
	if readable("temporal", err) {
		add(m.parked, counts.Parked)
		for phase, n := range counts.Running {
			add(m.running, n, phase)
		}
		for phase, n := range counts.Overdue {
			add(m.overdue, n, phase)
		}
	}
	if readable("database", databaseErr) {
		suspended := int64(0)
		for _, h := range failing {
			add(m.failures, int64(h.BuildFailures), h.Hostname)
			if h.Suspended {
				suspended++
			}
		}
		add(m.suspended, suspended)
		for _, c := range servers {
			add(m.servers, c.Servers, lifecycle.Status(c.VMState, c.TaskState), c.TaskState)
		}
	}
	return all
}
