package workers

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"

	"github.com/slipway-cloud/slipway/activities/host"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/admission"
)

// stopPatience is how long a worker that was told to stop lets its running steps finish. What does not finish runs again
// elsewhere or after the restart: every step may be done twice.
const stopPatience = 20 * time.Second

// HostOptions of a hypervisor's worker.
type HostOptions struct {
	Temporal   client.Client
	Hostname   string
	Activities *host.Activities
	// MaxBuilds is how many steps work at once on this host; more wait their turn.
	MaxBuilds int
	Metrics   *Steps
	Logger    *slog.Logger
	BuildID   string // as ControlOptions'
	// MayUndo is asked before each undo (Registration); nil lets all be.
	MayUndo func(ctx context.Context, serverID string) error
	// Interceptors are ControlOptions' for this host.
	Interceptors []interceptor.WorkerInterceptor
}

// waitingSteps is how many steps may be here at once, working or waiting their turn. All of them count as begun, so a
// busy host is not taken for a lost one.
const waitingSteps = 1000

// RunHost polls the host's own queue until ctx ends, then lets the running steps finish.
func RunHost(ctx context.Context, o HostOptions) error {
	queue := contract.HostQueue(o.Hostname)
	return run(ctx, queue, worker.Options{
		Interceptors: append([]interceptor.WorkerInterceptor{&steps{
			log: o.Logger, metrics: o.Metrics, host: admission.New(o.MaxBuilds, o.MayUndo),
			wanted: func(ctx context.Context, token []byte) error { return o.Temporal.RecordActivityHeartbeat(ctx, token) },
		}}, o.Interceptors...),
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: waitingSteps,
		MaxConcurrentActivityTaskPollers:   4,
		MaxHeartbeatThrottleInterval:       heartbeatEvery,
		WorkerStopTimeout:                  stopPatience,
		DeploymentOptions:                  deployment(o.BuildID),
	}, func(options worker.Options) worker.Worker {
		w := worker.New(o.Temporal, queue, options)
		register(w, contract.OnHost, o.Activities)
		return w
	})
}
