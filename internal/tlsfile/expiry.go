package tlsfile

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// warn says that a certificate ends soon, or has ended.
func warn(log *slog.Logger, setting string, c *x509.Certificate) {
	if left := time.Until(c.NotAfter); left < pki.ExpiresSoon {
		log.Warn("A certificate ends soon, or has expired: renew it. It is taken up without a restart.",
			"setting", setting, "subject", c.Subject.String(), "ends", c.NotAfter.UTC().Format(time.RFC3339), "days", int(left/(24*time.Hour)))
	}
}

// everyDay is how often certificates are looked at that no connection asks for.
const everyDay = 24 * time.Hour

// Run warns of certificates that end soon, once a day, until ctx ends. They were warned of when they were read.
func (f *Files) Run(ctx context.Context) {
	tick := time.NewTicker(everyDay)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.warnAll()
		}
	}
}

func (f *Files) warnAll() {
	for _, pair := range f.all() {
		warn(f.log, pair.setting, pair.get().Leaf)
	}
}

func (f *Files) all() []*file[*tls.Certificate] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.held)
}

// Ends is when the first of the process's certificates ends; zero where it has none.
func (f *Files) Ends() (first time.Time) {
	for _, pair := range f.all() {
		if end := pair.get().Leaf.NotAfter; first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

var expiry = prometheus.NewDesc("slipway_certificate_expiry_timestamp_seconds",
	"When the certificate ends that this process serves or presents, by the setting that names its file.", []string{"setting"}, nil)

// Describe implements prometheus.Collector.
func (f *Files) Describe(descs chan<- *prometheus.Desc) { descs <- expiry }

// Collect implements prometheus.Collector.
func (f *Files) Collect(metrics chan<- prometheus.Metric) {
	for _, pair := range f.all() {
		metrics <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(pair.get().Leaf.NotAfter.Unix()), pair.setting)
	}
}
