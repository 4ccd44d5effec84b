// Package workers says which workflows and activities run in which process, and keeps a hypervisor registered.
package workers

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"golang.org/x/sync/semaphore"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/requestid"
)

// heartbeatEvery is how often a running step says that it lives and learns that it was cancelled.
const heartbeatEvery = 2 * time.Second

// Steps measures what activities cost; register it once for a process.
type Steps struct {
	seconds *prometheus.HistogramVec
}

// NewSteps makes the metrics.
func NewSteps(r prometheus.Registerer) *Steps {
	s := &Steps{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "slipway_step_duration_seconds",
		Help:    "How long one try of a step (a build's do or undo) took, by its outcome: ok or the kind of its fault.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"step", "outcome"})}
	r.MustRegister(s.seconds)
	return s
}

// steps is what every activity of Slipway has in common, so that the steps themselves hold only their own matter: faults
// become Temporal's errors, host steps wait their turn and heartbeat, and each try is logged and measured.
type steps struct {
	interceptor.WorkerInterceptorBase
	log     *slog.Logger
	metrics *Steps
	// turn limits how many steps work on this host at once; nil in the control plane. Undos do not wait: they free room.
	turn *semaphore.Weighted
	// wanted asks the engine whether it still waits for the activity with this task token.
	wanted func(ctx context.Context, token []byte) error
}

// waitsForOthers are steps that need no turn: they wait for the network, many of them for the same download, and would keep
// the host's builds that have all they need from working.
var waitsForOthers = map[string]bool{contract.FetchImage: true}

func (s *steps) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &step{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, steps: s}
}

type step struct {
	interceptor.ActivityInboundInterceptorBase
	*steps
	lastDetails atomic.Pointer[[]any]
}

// Init puts the step between the activity and its heartbeats, to know what it last said.
func (s *step) Init(outbound interceptor.ActivityOutboundInterceptor) error {
	return s.Next.Init(&heartbeats{ActivityOutboundInterceptorBase: interceptor.ActivityOutboundInterceptorBase{Next: outbound}, step: s})
}

type heartbeats struct {
	interceptor.ActivityOutboundInterceptorBase
	step *step
}

func (h *heartbeats) RecordHeartbeat(ctx context.Context, details ...any) {
	h.step.lastDetails.Store(&details)
	h.Next.RecordHeartbeat(ctx, details...)
}

func (s *step) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	undoes := false
	if len(in.Args) > 0 {
		_, undoes = in.Args[0].(interface{ Undoes() })
	}
	if info.HeartbeatTimeout > 0 {
		stop := s.keepAlive(ctx)
		defer stop()
	}
	asked, deadline := ctx, time.Duration(0)
	if s.turn != nil && !undoes && info.HeartbeatTimeout > 0 {
		if !waitsForOthers[info.ActivityType.Name] {
			if err := s.takeTurn(ctx, info); err != nil {
				return nil, err
			}
			defer s.turn.Release(1)
		}
		// The step's own deadline begins with its turn.
		deadline = info.StartToCloseTimeout - contract.HostTurn
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}

	began := time.Now()
	out, err := s.Next.ExecuteActivity(ctx, in)
	took := time.Since(began)
	switch {
	case err == nil, asked.Err() != nil:
	case ctx.Err() != nil:
		// It had all the time that it may take. Again here would be as slow, and a build would wait for every try.
		err = fault.Wrap(fault.HostUnfit, err, "the host did not finish the step within %s", deadline)
	case errors.Is(err, context.Canceled):
		// Something within the step was given up, but nobody cancelled the step: the engine would not take that for an answer.
		err = &fault.Error{Kind: fault.KindOf(err), Text: fault.Public(err), Cause: errors.New(err.Error())}
	}

	log := s.log.With("step", info.ActivityType.Name, "workflow_id", info.WorkflowExecution.ID, "attempt", info.Attempt, "duration", took)
	if id := requestid.Of(ctx); id != "" {
		log = log.With("request_id", id)
	}
	if id, ok := contract.ServerIDOf(info.WorkflowExecution.ID); ok {
		log = log.With("server_id", id)
	}
	outcome := "ok"
	if err != nil {
		outcome = string(fault.KindOf(err))
		log.Warn("A step failed.", "kind", outcome, "error", err)
	} else {
		log.Info("A step is done.")
	}
	s.metrics.seconds.WithLabelValues(info.ActivityType.Name, outcome).Observe(took.Seconds())
	if undoes {
		return out, fault.ToTemporalAgain(err)
	}
	return out, fault.ToTemporal(err)
}

// takeTurn waits until the step may work. One that had to wait asks the engine whether it is still wanted: meanwhile it may
// have been given up and undone, and would take what nobody gives back.
func (s *step) takeTurn(ctx context.Context, info activity.Info) error {
	if s.turn.TryAcquire(1) {
		return nil
	}
	if err := s.turn.Acquire(ctx, 1); err != nil {
		return fault.ToTemporal(fault.Wrap(fault.Unavailable, err, "the host was too busy to begin the step in time"))
	}
	if err := s.wanted(ctx, info.TaskToken); err != nil {
		s.turn.Release(1)
		return fault.ToTemporal(fault.Wrap(fault.Unavailable, err, "the step was given up while it waited for its turn"))
	}
	return nil
}

// keepAlive heartbeats beside the step until stop, repeating what the step itself last reported.
func (s *step) keepAlive(ctx context.Context) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(heartbeatEvery)
		defer every.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-every.C:
				if details := s.lastDetails.Load(); details != nil {
					activity.RecordHeartbeat(ctx, *details...)
				} else {
					activity.RecordHeartbeat(ctx)
				}
			}
		}
	}()
	return func() { close(done); <-ended }
}
