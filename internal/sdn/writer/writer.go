// Package writer brings what Postgres says of networks to the engine that carries them. It is level-triggered: a change names a resource, and
// the writer makes that be in the engine as it is in Postgres by then, so a death anywhere only repeats. Of all processes that run it one is
// elected, by a lock of Postgres', and the engine obeys no other.
package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/pace"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Store is what Postgres says, as models.Store has it.
type Store interface {
	KeepNetworkChanges(ctx context.Context, engine string) error
	NetworkChanges(ctx context.Context, limit int) ([]sdn.Change, error)
	EnsureDefaultGroups(ctx context.Context) error
	NetworkDesired(ctx context.Context, refs ...sdn.Ref) ([]sdn.Desired, error)
	NetworkDesiredAround(ctx context.Context, refs ...sdn.Ref) ([][]sdn.Desired, error)
	NetworkChangesApplied(ctx context.Context, all ...sdn.Change) error
	NetworkChangeFailed(ctx context.Context, c sdn.Change, cause error, pause time.Duration) error
	MarkNetworkChanges(ctx context.Context, refs ...sdn.Ref) ([]sdn.Ref, error)
	NetworkRefs(ctx context.Context, kind sdn.Kind, after string, limit int) ([]sdn.Ref, error)
	NetworkBacklog(ctx context.Context) (sdn.Backlog, error)
	ListenNetworkChanges(ctx context.Context, woke func()) error
}

// Lock is the election that was won. It is lost with its connection.
type Lock interface {
	Held(ctx context.Context) error
	Unlock() error
}

// Options of a Writer. A zero duration is replaced by the one that is named.
type Options struct {
	Engine string // its name in Postgres
	Open   func(ctx context.Context) (sdn.Engine, error)
	Elect  func(ctx context.Context) (Lock, error) // Conflict where another process has won
	Store  Store
	Logger *slog.Logger

	Reconcile  time.Duration // compares both sides so often; 5 min
	SecondLook time.Duration // what the engine has and Postgres does not know is looked at again so long after; 30 s
	Stand      time.Duration // stands for election so often, and tries again so soon what is away; 1 s
	Poll       time.Duration // looks by itself so often, where nothing wakes it; 5 s
	FirstRetry time.Duration // pause after a resource that could not be applied, doubled with each further one; 1 s
	LastRetry  time.Duration // longest pause; 5 min
}

const (
	// atOnce is how many changes are read together. Each is a transaction of the engine's.
	atOnce = 64
	// together is how many resources are in one transaction, where a change reaches many.
	together = 500
	// page is how many resources are compared together.
	page = 200
	// patience is how long Postgres may take for one of its parts.
	patience = 30 * time.Second
)

func (o Options) filled() Options {
	for d, preset := range map[*time.Duration]time.Duration{
		&o.Reconcile: 5 * time.Minute, &o.SecondLook: 30 * time.Second, &o.Stand: time.Second, &o.Poll: 5 * time.Second,
		&o.FirstRetry: time.Second, &o.LastRetry: 5 * time.Minute,
	} {
		if *d <= 0 {
			*d = preset
		}
	}
	return o
}

// Writer is one process that stands for election. It is a prometheus.Collector.
type Writer struct {
	o       Options
	log     *slog.Logger
	metrics metrics
}

// New makes one.
func New(o Options) *Writer {
	return &Writer{o: o.filled(), log: o.Logger.With("component", "networks"), metrics: newMetrics()}
}

var _ prometheus.Collector = (*Writer)(nil)

// Run stands for election, and writes while elected, until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		lock, err := w.o.Elect(ctx)
		if err == nil {
			err = w.term(ctx, lock)
			err = errors.Join(err, lock.Unlock())
		}
		// What is away is told of once, until it is another reason or an end.
		switch {
		case ctx.Err() != nil || fault.Is(err, fault.Conflict):
			said = ""
		case err == nil:
		case err.Error() != said:
			said = err.Error()
			w.log.Warn("networks are not written to their engine; trying again", "every", w.o.Stand, "error", err)
		}
		pace.Rest(ctx, w.o.Stand, nil)
	}
}

// term writes for as long as the election holds and the engine answers.
func (w *Writer) term(ctx context.Context, lock Lock) error {
	engine, err := w.o.Open(ctx)
	if err != nil {
		return err
	}
	defer engine.Close()
	name := uuid.NewString()
	if err := engine.Lead(ctx, name); err != nil {
		return err
	}
	keeping, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.o.Store.KeepNetworkChanges(keeping, w.o.Engine); err != nil {
		return err
	}
	w.metrics.leading.Set(1)
	defer w.metrics.leading.Set(0)
	w.log.Info("this process writes networks to their engine", "term", name)

	ctx, end := context.WithCancelCause(ctx)
	bell := pace.NewBell()
	var beside sync.WaitGroup
	defer beside.Wait()
	defer end(nil)
	beside.Go(func() { w.listen(ctx, bell) })
	beside.Go(func() {
		if err := w.reconcile(ctx, engine, bell); err != nil {
			end(err)
		}
	})
	for ctx.Err() == nil {
		if err := lock.Held(ctx); err != nil {
			return err
		}
		applied, err := w.serve(ctx, engine)
		switch {
		case err != nil: // sdn.ErrDeposed also where the engine has forgotten all: the next term begins with a comparison
			return err
		case applied == 0:
			pace.Rest(ctx, w.o.Poll, bell)
			if err := engine.Ping(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// listen rings at each change.
func (w *Writer) listen(ctx context.Context, bell pace.Bell) {
	for ctx.Err() == nil {
		err := w.o.Store.ListenNetworkChanges(ctx, bell.Ring)
		if ctx.Err() == nil {
			w.log.Warn("not told of changes of networks; looking for them", "every", w.o.Poll, "error", err)
			pace.Rest(ctx, w.o.Poll, nil)
		}
	}
}

// serve applies the changes that are due, up to so many and for as long as half its time, and says how many it has read.
func (w *Writer) serve(ctx context.Context, engine sdn.Engine) (int, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	changes, err := w.o.Store.NetworkChanges(ctx, atOnce)
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	refs := make([]sdn.Ref, len(changes))
	for i, c := range changes {
		refs[i] = c.Ref
	}
	desired, err := w.o.Store.NetworkDesiredAround(ctx, refs...)
	if err != nil {
		return 0, err
	}
	var applied []sdn.Change
	for i, c := range changes {
		if i > 0 && time.Since(began) > patience/2 {
			break // the others have a turn of their own, as they are by then
		}
		err = w.apply(ctx, engine, c, desired[i])
		if err == nil {
			w.metrics.applied.WithLabelValues(string(c.Kind)).Inc()
			applied = append(applied, c)
			continue
		}
		if ends(err) || ctx.Err() != nil {
			break // with the engine, or with the right to write to it
		}
		// One that the engine does not take holds up no other.
		again := pace.Backoff(c.Attempts+1, w.o.FirstRetry, w.o.LastRetry)
		w.metrics.failed.WithLabelValues(string(c.Kind)).Inc()
		w.log.Error("a change of a network is not applied", "kind", c.Kind, "id", c.ID, "attempts", c.Attempts+1, "again_in", again, "error", err)
		if err = w.o.Store.NetworkChangeFailed(ctx, c, err, again); err != nil {
			break
		}
	}
	if len(applied) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err = errors.Join(err, w.o.Store.NetworkChangesApplied(ctx, applied...))
	}
	return len(changes), err
}

// ends says of an error that the term is over, and not that one resource is wrong.
func ends(err error) bool { return errors.Is(err, sdn.ErrDeposed) || fault.Is(err, fault.Unavailable) }

// apply makes a resource be as it is desired, in one transaction, and then all that takes from it, in more where that is much.
func (w *Writer) apply(ctx context.Context, engine sdn.Engine, c sdn.Change, desired []sdn.Desired) error {
	for some := range slices.Chunk(desired, together) {
		if err := w.complete(ctx, engine, c.Sequence, some); err != nil {
			return err
		}
	}
	return nil
}

// complete applies with what the engine misses before it: the change of that may come later, or have been lost with the engine.
func (w *Writer) complete(ctx context.Context, engine sdn.Engine, revision int64, desired []sdn.Desired) error {
	for {
		for i := range desired {
			desired[i].Revision = revision
		}
		err := engine.Apply(ctx, desired...)
		var missing *sdn.Missing
		if !errors.As(err, &missing) {
			return err
		}
		before, err := w.o.Store.NetworkDesired(ctx, missing.Refs...)
		if err != nil {
			return err
		}
		for _, found := range before {
			if has(desired, found.Ref) || !found.Stands() {
				// It went since the resource was read, and so that is about to change, too.
				return fmt.Errorf("%w, and Postgres neither", missing)
			}
		}
		desired = append(before, desired...)
	}
}

func has(all []sdn.Desired, ref sdn.Ref) bool {
	return slices.ContainsFunc(all, func(d sdn.Desired) bool { return d.Ref == ref })
}
