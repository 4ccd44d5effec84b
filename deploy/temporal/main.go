// Command slipway-temporal is the workflow engine of a Slipway deployment: the official Temporal server (frontend,
// history, matching, worker) and the official Web UI in one process, on Postgres.
//
// On start it creates its two databases where they are missing, brings both schemas to the version this program was
// built with, registers the namespace and Slipway's search attributes, and then writes one JSON line to standard
// output: {"ready":true,"frontend":…,"ui":…,"namespace":…}. Every step is idempotent, so starting it again after a crash
// at any point is safe. Logs go to standard error as JSON. SIGTERM and SIGINT stop it in order: it takes no new
// requests, finishes those under way and exits 0.
//
// Health is the frontend's gRPC health service, service name "temporal.api.workflowservice.v1.WorkflowService".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql" // the only store this program speaks
	"go.temporal.io/server/temporal"
)

// startDeadline bounds the preparation of the databases and of the namespace. A first start takes about 3 s on a
// small machine; the deadline only turns a database that never answers into an error.
const startDeadline = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	forgetLibpq()
	opts, err := parseOptions(os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway-temporal:", err)
		os.Exit(2)
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: opts.LogLevel, Format: "json"}))
	if err := run(ctx, opts, logger); err != nil {
		logger.Error("slipway-temporal stops", tag.Error(err))
		os.Exit(1)
	}
}

// forgetLibpq leaves the options to say where Postgres is: pgx fills what they leave out from the variables of libpq
// (PGSERVICE, PGOPTIONS …), which are about somebody else's database, and cannot be told not to.
func forgetLibpq() {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
		}
	}
}

func run(ctx context.Context, opts options, logger log.Logger) error {
	if err := opts.choosePorts(); err != nil {
		return err
	}
	startCtx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()

	if err := prepareDatabases(startCtx, opts, logger); err != nil {
		return err
	}
	guard, err := opts.guard(logger)
	if err != nil {
		return err
	}
	server, err := temporal.NewServer(append(guard,
		temporal.ForServices(opts.services()),
		temporal.WithConfig(opts.serverConfig()),
		temporal.WithStaticHosts(opts.staticHosts()),
		temporal.WithDynamicConfigClient(dynamicSettings(opts)),
		temporal.WithLogger(logger),
	)...)
	if err != nil {
		return fmt.Errorf("assemble the Temporal server: %w", err)
	}
	if err := server.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the Temporal server: %w", err), server.Stop())
	}
	stopUI := func() {}
	defer func() {
		stopUI()
		if err := server.Stop(); err != nil {
			logger.Error("stopping the Temporal server", tag.Error(err))
		}
	}()

	err = prepareNamespace(startCtx, opts)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // asked to stop before it was ready
	}
	if err != nil {
		return err
	}
	if opts.UIAddr != "" {
		if stopUI, err = startUI(startCtx, opts, logger); err != nil {
			stopUI = func() {}
			return err
		}
	}
	ready, err := json.Marshal(map[string]any{
		"ready": true, "frontend": opts.FrontendAddr, "ui": opts.UIAddr, "namespace": opts.Namespace,
	})
	if err != nil {
		return fmt.Errorf("write the ready line: %w", err)
	}
	fmt.Println(string(ready))
	logger.Info("ready", tag.Address(opts.FrontendAddr), tag.WorkflowNamespace(opts.Namespace))

	<-ctx.Done()
	logger.Info("stopping")
	return nil
}
