// Package admission says when a step may work on its hypervisor: in the order of its server, in its turn, and for no longer
// than its own deadline.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// leaveBehindAfter lets a step clean up after it was told to stop: a program is killed at once and reaped within seconds.
const leaveBehindAfter = 10 * time.Second

// Host admits the steps of one hypervisor.
type Host struct {
	// turns limits how many steps work at once. Undos do not wait: they free room.
	turns *semaphore.Weighted
	order *order
	// mayUndo says why what the host has of a server must not be taken away now; nil: it always may.
	mayUndo func(ctx context.Context, serverID string) error
	// grace is how long a step may go on after its context has ended before it is left behind.
	grace time.Duration
}

// New admits so many steps at once. mayUndo is asked before each undo of a server; nil lets all be.
func New(turns int, mayUndo func(ctx context.Context, serverID string) error) *Host {
	return &Host{turns: semaphore.NewWeighted(int64(turns)), order: newOrder(), mayUndo: mayUndo, grace: leaveBehindAfter}
}

// Step is one try of a step.
type Step struct {
	Name      string
	Server    string // whose order it keeps; "" keeps none
	Undo      bool   // gives back what other steps of the server took
	Turn      bool   // waits for its turn
	Scheduled time.Time
	Deadline  time.Duration // its own, from its turn on; 0: as long as whoever asked waits
	// Wanted asks whether somebody still waits for the step.
	Wanted func(ctx context.Context) error
	Log    *slog.Logger
}

// Do does a step's work when it may. began is when it began to work.
func (h *Host) Do(asked context.Context, s Step, work func(context.Context) (any, error)) (out any, began time.Time, err error) {
	began = time.Now()
	ctx, giveUp := context.WithCancelCause(asked)
	defer giveUp(nil)
	end := func() {}
	if s.Undo && s.Server != "" && h.mayUndo != nil {
		if err := h.mayUndo(ctx, s.Server); err != nil {
			return nil, began, err
		}
	}
	if s.Server != "" {
		if end, err = h.begin(ctx, s, giveUp); err != nil {
			return nil, began, err
		}
	}
	if s.Turn {
		if err := h.takeTurn(ctx, s); err != nil {
			end()
			return nil, began, hostReason(asked, ctx, 0, err)
		}
		defer h.turns.Release(1)
	}
	if s.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Deadline)
		defer cancel()
	}
	began = time.Now()
	out, err = h.call(ctx, s, work, end)
	return out, began, hostReason(asked, ctx, s.Deadline, err)
}

// begin waits until the step may work on its server.
func (h *Host) begin(ctx context.Context, s Step, giveUp context.CancelCauseFunc) (end func(), err error) {
	// What has to be said in the end has to be said while the engine still listens.
	if deadline, ok := ctx.Deadline(); ok {
		early, cancel := context.WithDeadline(ctx, deadline.Add(-min(5*time.Second, time.Until(deadline)/10)))
		defer cancel()
		ctx = early
	}
	if s.Undo {
		return h.order.undo(ctx, s.Server, s.Name, s.Scheduled)
	}
	return h.order.do(ctx, s.Server, s.Name, s.Scheduled, giveUp)
}

// takeTurn waits until the step may work. One that had to wait asks whether it is still wanted: meanwhile it may have been
// given up and undone, and would take what nobody gives back.
func (h *Host) takeTurn(ctx context.Context, s Step) error {
	if h.turns.TryAcquire(1) {
		return nil
	}
	if err := h.turns.Acquire(ctx, 1); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the host was too busy to begin the step in time").NotTheHosts()
	}
	if err := s.Wanted(ctx); err != nil {
		h.turns.Release(1)
		return fault.Wrap(fault.Unavailable, err, "the step was given up while it waited for its turn").NotTheHosts()
	}
	return nil
}

// hostReason says why a step failed whose context ended for a reason of the host's own.
func hostReason(asked, ctx context.Context, deadline time.Duration, err error) error {
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

// call does the work. What goes on although its context ended is left behind after the grace: whoever asked is not kept
// waiting, but it still counts as running, so that its undo waits for it. ended is called when it has ended in truth.
func (h *Host) call(ctx context.Context, s Step, work func(context.Context) (any, error), ended func()) (any, error) {
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
				s.Log.Warn("A step that was left behind has ended.", "error", a.err)
			default:
			}
		}()
		a.out, a.err = work(ctx)
	}()
	select {
	case a := <-answered:
		return a.out, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(h.grace)
	defer late.Stop()
	select {
	case a := <-answered:
		return a.out, a.err
	case <-late.C:
		close(abandoned)
		s.Log.Warn("A step does not end although it was told to; it is left behind, and undos of its server wait for it.", "grace", h.grace)
		return nil, fmt.Errorf("it was told to stop and still runs: %w", ctx.Err())
	}
}
