// Package workers says which workflows and activities run in which process, and keeps a hypervisor registered.
package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault/failure"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"golang.org/x/sync/semaphore"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/requestid"
)

// heartbeatEvery is how often a running step says that it lives and learns that it was cancelled; more often where the
// engine waits for less than three of them.
const heartbeatEvery = 2 * time.Second

// leaveBehindAfter lets a step clean up after it was told to stop: a program is killed at once and reaped within seconds.
const leaveBehindAfter = 10 * time.Second

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
	// order keeps undos behind dos on this host; nil in the control plane.
	order *order
	// mayUndo says why what the host has of a server must not be taken away now; nil: it always may.
	mayUndo func(ctx context.Context, serverID string) error
	// grace is how long a step on this host may go on after its context has ended before it is left behind.
	grace time.Duration
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
	t := try{info: activity.GetInfo(ctx)}
	if len(in.Args) > 0 {
		_, t.undoes = in.Args[0].(interface{ Undoes() })
		_, t.owed = in.Args[0].(interface{ Owed() })
		if of, ok := in.Args[0].(interface{ Server() string }); ok {
			t.server = of.Server()
		}
	}
	log := s.log.With("step", t.info.ActivityType.Name, "workflow_id", t.info.WorkflowExecution.ID, "attempt", t.info.Attempt)
	if id := requestid.Of(ctx); id != "" {
		log = log.With("request_id", id)
	}
	if id, ok := contract.ServerIDOf(t.info.WorkflowExecution.ID); ok || t.server != "" {
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
	if s.order != nil {
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
	}
	s.metrics.seconds.WithLabelValues(t.info.ActivityType.Name, outcome).Observe(took.Seconds())
	if t.undoes || t.owed {
		return out, failure.Retryable(err)
	}
	return out, failure.Of(err)
}

// try is one try of an activity.
type try struct {
	info   activity.Info
	undoes bool
	owed   bool
	server string // whose order it keeps on its host; "" keeps none
	log    *slog.Logger
}

// onHost does a host's step in its server's order and, where it is a do, in its turn and within its own deadline. began
// is when it began to work.
func (s *step) onHost(asked context.Context, t try, in *interceptor.ExecuteActivityInput) (out any, began time.Time, err error) {
	began = time.Now()
	ctx, giveUp := context.WithCancelCause(asked)
	defer giveUp(nil)
	end := func() {}
	if t.undoes && t.server != "" && s.mayUndo != nil {
		if err := s.mayUndo(ctx, t.server); err != nil {
			return nil, began, err
		}
	}
	if t.server != "" {
		if end, err = s.begin(ctx, t, giveUp); err != nil {
			return nil, began, err
		}
	}
	deadline := time.Duration(0)
	if !t.undoes && t.info.HeartbeatTimeout > 0 {
		if !waitsForOthers[t.info.ActivityType.Name] {
			if err := s.takeTurn(ctx, t.info); err != nil {
				end()
				return nil, began, judged(asked, ctx, deadline, err)
			}
			defer s.turn.Release(1)
		}
		// The step's own deadline begins with its turn.
		deadline = t.info.StartToCloseTimeout - contract.HostTurn
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	began = time.Now()
	out, err = s.call(ctx, t, in, end)
	return out, began, judged(asked, ctx, deadline, err)
}

// begin waits until the try may work on its server.
func (s *step) begin(ctx context.Context, t try, giveUp context.CancelCauseFunc) (end func(), err error) {
	// What has to be said in the end has to be said while the engine still listens.
	if deadline, ok := ctx.Deadline(); ok {
		early, cancel := context.WithDeadline(ctx, deadline.Add(-min(5*time.Second, time.Until(deadline)/10)))
		defer cancel()
		ctx = early
	}
	if t.undoes {
		return s.order.undo(ctx, t.server, t.info.ActivityType.Name, t.info.ScheduledTime)
	}
	return s.order.do(ctx, t.server, t.info.ActivityType.Name, t.info.ScheduledTime, giveUp)
}

// judged says why a step on a host failed whose context ended for a reason of the host's own.
func judged(asked, ctx context.Context, deadline time.Duration, err error) error {
	switch {
	case err == nil, asked.Err() != nil, ctx.Err() == nil:
		return err
	case errors.Is(context.Cause(ctx), errOvertaken):
		return fault.Wrap(fault.HostUnfit, err, "the step was given up and is being undone")
	default:
		// It had all the time that it may take. Again here would be as slow, and a build would wait for every try.
		late := fault.Wrap(fault.HostUnfit, err, "the host did not finish the step within %s", deadline)
		var waited *fault.Error
		late.Blameless = errors.As(err, &waited) && waited.Blameless
		return late
	}
}

// call runs the activity. One that goes on although its context ended is left behind after the grace: whoever asked is not
// kept waiting, but it still counts as running, so that its undo waits for it. ended is called when it has ended in truth.
func (s *step) call(ctx context.Context, t try, in *interceptor.ExecuteActivityInput, ended func()) (any, error) {
	type answer struct {
		out any
		err error
	}
	answered, abandoned := make(chan answer, 1), make(chan struct{})
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fault.Wrap(fault.Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "the host could not do the step")}
			}
			ended()
			answered <- a
			select {
			case <-abandoned:
				t.log.Warn("A step that was left behind has ended.", "error", a.err)
			default:
			}
		}()
		a.out, a.err = s.Next.ExecuteActivity(ctx, in)
	}()
	select {
	case a := <-answered:
		return a.out, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(s.grace)
	defer late.Stop()
	select {
	case a := <-answered:
		return a.out, a.err
	case <-late.C:
		close(abandoned)
		t.log.Warn("A step does not end although it was told to; it is left behind, and undos of its server wait for it.", "grace", s.grace)
		return nil, fmt.Errorf("it was told to stop and still runs: %w", ctx.Err())
	}
}

// takeTurn waits until the step may work. One that had to wait asks the engine whether it is still wanted: meanwhile it may
// have been given up and undone, and would take what nobody gives back.
func (s *step) takeTurn(ctx context.Context, info activity.Info) error {
	if s.turn.TryAcquire(1) {
		return nil
	}
	if err := s.turn.Acquire(ctx, 1); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the host was too busy to begin the step in time").NotTheHosts()
	}
	if err := s.wanted(ctx, info.TaskToken); err != nil {
		s.turn.Release(1)
		return fault.Wrap(fault.Unavailable, err, "the step was given up while it waited for its turn").NotTheHosts()
	}
	return nil
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
