package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"

	"github.com/slipway-cloud/slipway/activities/control"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/libpq"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/internal/webdownload"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/workers"
)

func workerCommand() *cobra.Command {
	return role("worker", "Run builds: the control plane's workflows and database steps",
		"Polls the control task queue of Temporal. Any number may run; builds and imports of images go on when one dies.",
		[]string{"database", "temporal", "images", "build", "network", "audit", "housekeeping", "notifications"}, runWorker)
}

func runWorker(ctx context.Context, c config.Config, log *slog.Logger) error {
	certificates := tlsfile.New(log)
	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer store.Close()
	keys, err := openKeys(ctx, c.Temporal, store)
	if err != nil {
		return err
	}
	temporal, err := dialTemporal(ctx, c.Temporal, payload.ControlConverter(keys), certificates, log)
	if err != nil {
		return err
	}
	defer temporal.Close()
	if err := workers.PrepareEngine(ctx, temporal, c.Temporal.Namespace); err != nil {
		return err
	}
	namespace := workers.Namespace{Temporal: temporal, Namespace: c.Temporal.Namespace, ControlQueue: c.Temporal.ControlQueue}
	switch was, err := namespace.KeepRetention(ctx, c.Temporal.Retention); {
	case err != nil:
		log.Warn("the engine's retention could not be set", "error", err)
	case was != 0:
		log.Info("the engine keeps workflows that have ended as long as temporal.retention says", "was", was.String(), "is", c.Temporal.Retention.String())
	}
	locks := store.Locks("image uploads")
	defer locks.Close()
	stores, err := imagestore.OpenStores(imageSettings(c.Images, imageLocks{locks}))
	if err != nil {
		return err
	}
	keeper, err := keepTogether(ctx, c, store, stores, temporal, log)
	if err != nil {
		return err
	}
	images, err := openImages(c.Images, store, stores, keeper, log)
	if err != nil {
		return err
	}
	web, err := c.Images.WebDownload()
	if err != nil {
		return err
	}
	_, interceptors, err := injectFaults("", nil)
	if err != nil {
		return err
	}
	deadlines, err := deadlinesOf(c.Build)
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	notifications, err := dispatcher(c.Notifications, store, certificates, log)
	if err != nil {
		return err
	}
	if err := metrics.Register(notifications); err != nil {
		return fmt.Errorf("register the notifications' metrics: %w", err)
	}
	elections := store.Locks("elections")
	defer elections.Close()
	networks, err := networkWriter(ctx, c.Network, store, elections, certificates, log)
	if err != nil {
		return err
	}
	if networks == nil {
		elections.Close() // nobody stands for election
	} else if err := metrics.Register(networks); err != nil {
		return fmt.Errorf("register the networks' metrics: %w", err)
	}
	return serveOperator(ctx, c.Operator, certificates, metrics, nil, runBoth(keeper.Run, func(ctx context.Context) error {
		defer beside(ctx, func(ctx context.Context) { workers.KeepSchedules(ctx, temporal, schedules(c), log) })()
		defer beside(ctx, notifications.Run)()
		if networks != nil {
			defer beside(ctx, networks.Run)()
		}
		return workers.RunControl(ctx, workers.ControlOptions{
			Temporal: temporal,
			Queue:    c.Temporal.ControlQueue,
			Activities: control.New(control.Options{
				Store:        store,
				Builds:       engine.NewClient(temporal, c.Temporal.ControlQueue),
				Images:       images,
				Keys:         keys,
				Web:          webdownload.New(web, log),
				Placement:    placementOf(c.Build),
				HostFailures: c.Build.HostFailures,
				ReclaimAfter: c.Build.ReclaimInterval,
				ConfirmAfter: c.Build.ResizeConfirmWindow,
				ResizeAway:   !c.Build.AllowResizeToSameHost,
				OffloadAfter: c.Build.ShelvedOffloadTime,
				Deadlines:    deadlines,
				VIFType:      c.Network.VIFType(),
				Logger:       log,
			}),
			Audit:   control.NewAudit(store, workers.Engine{Temporal: temporal}, images),
			Metrics: workers.NewSteps(metrics),
			Logger:  log,
			BuildID: buildID(),

			Interceptors: interceptors,
		})
	}))
}

// beside runs something until ctx has ended or end is called, which returns when that has.
func beside(ctx context.Context, run func(context.Context)) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func() { stop(); <-ended }
}

// placementOf is how hosts are chosen.
func placementOf(b config.Build) placement.Settings {
	return placement.Settings{
		DownAfter: b.HostDownAfter, CleanBeforeUse: b.CleanBeforeUse, MaxIOOps: b.MaxIOOps,
		Multipliers: scheduler.Multipliers{
			RAM: b.RAMWeight, CPU: b.CPUWeight, Disk: b.DiskWeight, IOOps: b.IOOpsWeight, BuildFailure: b.BuildFailureWeight,
			SoftAffinity: b.SoftAffinityWeight, SoftAntiAffinity: b.SoftAntiAffinityWeight,
		},
	}
}

// openStore connects to the database and brings it up to date. It waits for one that does not answer yet: after a power cut
// Postgres takes its time, and a process that ends meanwhile is started again later and later.
func openStore(ctx context.Context, c config.Config, log *slog.Logger) (*models.Store, error) {
	if names := libpq.Forget(); len(names) > 0 {
		log.Warn("Variables of Postgres's clients have no effect here: database.dsn says everything.", "variables", names)
	}
	if err := refusePlaintext(c, c.Database.InClear(), log); err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	store, err := models.Open(patience, c.Database.DSN, models.Options{MaxConns: c.Database.MaxConns, Logger: log})
	for said := false; fault.Is(err, fault.Unavailable) && patience.Err() == nil; {
		if !said {
			said = true
			log.Warn("The database does not answer; trying again.", "patience", dialTimeout, "error", err)
		}
		select {
		case <-patience.Done():
			continue // the error that it has is the one to tell
		case <-time.After(dialPause):
		}
		store, err = models.Open(patience, c.Database.DSN, models.Options{MaxConns: c.Database.MaxConns, Logger: log})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w (database.dsn says where it is)", err)
	}
	if err := store.Migrate(ctx); err != nil {
		store.Close()
		return nil, fmt.Errorf("migrating the database: %w", err)
	}
	return store, nil
}

// dialTimeout bounds the first contact with the database, and with Temporal; once connected the clients reconnect by
// themselves. dialPause is between two tries.
const (
	dialTimeout = 30 * time.Second
	dialPause   = 200 * time.Millisecond
)

func dialTemporal(ctx context.Context, c config.Temporal, seals converter.DataConverter, certificates *tlsfile.Files, log *slog.Logger) (client.Client, error) {
	secure, err := temporalTLS(c, certificates)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	t, err := client.DialContext(ctx, client.Options{
		HostPort:      c.Address,
		Namespace:     c.Namespace,
		DataConverter: seals,
		// The Web UI shows with each task who did it: with the version, so that it is seen which build a host still runs.
		Identity: fmt.Sprintf("slipway %s %d@%s", version(), os.Getpid(), machine()),

		ConnectionOptions: client.ConnectionOptions{TLS: secure},

		ContextPropagators: requestid.Propagators(),
		Logger:             sdklog.NewStructuredLogger(log.With("component", "temporal")),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to Temporal at %s: %w (temporal.address says where it is)", c.Address, err)
	}
	return t, nil
}

func machine() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
