package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/listener"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

// serveOperator runs a role with the operators' listener beside it: /metrics, /healthz and what more the role has. Either
// ends the other.
func serveOperator(ctx context.Context, c config.Operator, certificates *tlsfile.Files, metrics *prometheus.Registry, more map[string]http.Handler, run func(context.Context) error) error {
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), certificates)
	run = runBoth(func(ctx context.Context) error { certificates.Run(ctx); return nil }, run)
	if c.Listen == "" {
		return run(ctx)
	}
	secure, err := operatorTLS(c, certificates)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	for pattern, h := range more {
		mux.Handle(pattern, h)
	}
	l, err := listener.Open(ctx, "operator.listen", c.Listen)
	if err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	server := &http.Server{
		Protocols: &protocols, Handler: tlsfile.Handler(secure, slog.Default(), mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		TLSConfig: secure, ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelInfo), // who is refused, and why
	}
	serve := func() error { return server.Serve(l) }
	if secure != nil {
		serve = func() error { return server.ServeTLS(l, "", "") } // the certificate is the configuration's
	}
	group, ctx := errgroup.WithContext(ctx)
	stopped := make(chan struct{})
	group.Go(func() error {
		defer close(stopped)
		return run(ctx)
	})
	group.Go(func() error {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("the operators' listener: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		// Metrics stay readable while the role drains.
		<-ctx.Done()
		<-stopped
		return server.Close()
	})
	return group.Wait()
}

// runBoth runs both; either ends the other.
func runBoth(one, other func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		group, ctx := errgroup.WithContext(ctx)
		for _, run := range []func(context.Context) error{one, other} {
			group.Go(func() error {
				defer stop()
				return run(ctx)
			})
		}
		return group.Wait()
	}
}
