// Package workers says which workflows and activities run in which process, and keeps a hypervisor registered.
package workers

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/guest/admission"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
)

// heartbeatEvery is how often a running step says that it lives and learns that it was cancelled; more often where the
// engine waits for less than three of them.
const heartbeatEvery = 2 * time.Second

// Steps measures what activities cost; register it once for a process.
type Steps struct {
	seconds, actions *prometheus.HistogramVec
}

// NewSteps makes the metrics.
func NewSteps(r prometheus.Registerer) *Steps {
	s := &Steps{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "slipway_step_duration_seconds",
		Help:    "How long one try of a step (a build's do or undo) took, by its outcome: ok or the kind of its fault.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"step", "outcome"}), actions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "slipway_action_duration_seconds",
		Help:    "How long what was asked of a server took, from its first step to its end, by the action and its outcome: ok or error.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	}, []string{"action", "outcome"})}
	r.MustRegister(s.seconds, s.actions)
	return s
}

// ended observes the end of an action.
func (s *Steps) ended(e contract.End, now time.Time) {
	outcome := "ok"
	if e.Failed {
		outcome = "error"
	}
	if len(e.Steps) > 0 && e.Steps[0].Started != nil {
		s.actions.WithLabelValues(e.Action, outcome).Observe(now.Sub(*e.Steps[0].Started).Seconds())
	}
}

// steps is what every activity of Slipway has in common, so that the steps themselves hold only their own matter: faults
// become Temporal's errors, host steps heartbeat and are admitted by their host, and each try is logged and measured.
type steps struct {
	interceptor.WorkerInterceptorBase
	log     *slog.Logger
	metrics *Steps
	// host admits the steps of this host; nil in the control plane.
	host *admission.Host
	// wanted asks the engine whether it still waits for the activity with this task token.
	wanted func(ctx context.Context, token []byte) error
}

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
	t := try{info: activity.GetInfo(ctx)}
	t.activity = contract.ActivityOf(t.info.ActivityType.Name)
	if len(in.Args) > 0 {
		t.server = t.activity.Server(in.Args[0])
	}
	log := s.log.With("step", t.activity.Name, "workflow_id", t.info.WorkflowExecution.ID, "attempt", t.info.Attempt)
	if id := requestid.Of(ctx); id != "" {
		log = log.With("request_id", id)
	}
	if id, ok := ids.ServerOfWorkflow(t.info.WorkflowExecution.ID); ok || t.server != "" {
		log = log.With("server_id", cmp.Or(t.server, id))
	}
	t.log = log
	if t.info.HeartbeatTimeout > 0 {
		stop := s.keepAlive(ctx)
		defer stop()
	}

	began := time.Now()
	var out any
	var err error
	if s.host != nil {
		out, began, err = s.onHost(ctx, t, in)
	} else {
		out, err = s.Next.ExecuteActivity(ctx, in)
	}
	took := time.Since(began)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		// Something within the step was given up, but nobody cancelled the step: the engine would not take that for an answer.
		err = &fault.Error{Kind: fault.KindOf(err), Text: fault.Public(err), Cause: errors.New(err.Error())}
	}

	outcome := "ok"
	if err != nil {
		outcome = string(fault.KindOf(err))
		log.Warn("A step failed.", "duration", took, "kind", outcome, "error", err)
	} else {
		log.Info("A step is done.", "duration", took)
		if len(in.Args) > 0 {
			if end, ok := t.activity.Ends(in.Args[0]); ok {
				s.metrics.ended(end, time.Now())
			}
		}
	}
	s.metrics.seconds.WithLabelValues(t.activity.Name, outcome).Observe(took.Seconds())
	if t.activity.Owes != contract.OwesNothing {
		return out, failure.Retryable(err)
	}
	return out, failure.Of(err)
}

// try is one try of an activity.
type try struct {
	info     activity.Info
	activity contract.Activity
	server   string // that it works on; "" is none, or not one alone
	log      *slog.Logger
}

// onHost does a step when its host admits it.
func (s *step) onHost(ctx context.Context, t try, in *interceptor.ExecuteActivityInput) (out any, began time.Time, err error) {
	return s.host.Do(ctx, admission.Step{
		Name: t.activity.Name, Server: t.server, Undo: t.activity.Owes == contract.OwesUndo, Turn: t.activity.Turn(),
		Scheduled: t.info.ScheduledTime,
		// A do was given the time of its turn beside its own; an undo takes none and has less.
		Deadline: max(0, t.info.StartToCloseTimeout-contract.HostTurn),
		Wanted:   func(ctx context.Context) error { return s.wanted(ctx, t.info.TaskToken) },
		Log:      t.log,
	}, func(ctx context.Context) (any, error) { return s.Next.ExecuteActivity(ctx, in) })
}

// keepAlive heartbeats beside the step until stop, repeating what the step itself last reported.
func (s *step) keepAlive(ctx context.Context) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(min(heartbeatEvery, activity.GetInfo(ctx).HeartbeatTimeout/3))
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
