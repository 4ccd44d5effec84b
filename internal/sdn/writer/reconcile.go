package writer

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/pace"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// reconcile compares both sides at the beginning of a term and then now and again, and marks what differs as changed: whatever put it
// out of step, the way to put it right is the one of every change. It ends with an error where the term has to.
func (w *Writer) reconcile(ctx context.Context, engine sdn.Engine, bell pace.Bell) error {
	strangers := map[sdn.Ref]time.Time{} // what Postgres does not know, by when that was first seen
	for ctx.Err() == nil {
		if err := w.compare(ctx, engine, strangers, bell); err != nil && ctx.Err() == nil {
			return err
		}
		again := w.o.Reconcile
		if len(strangers) > 0 {
			again = min(again, w.o.SecondLook)
		}
		pace.Rest(ctx, again, nil)
	}
	return nil
}

func (w *Writer) compare(ctx context.Context, engine sdn.Engine, strangers map[sdn.Ref]time.Time, bell pace.Bell) error {
	if err := w.o.Store.EnsureDefaultGroups(ctx); err != nil {
		return err
	}
	// What the engine has is listed first: what is made meanwhile is no stranger.
	known, err := engine.Known(ctx)
	if err != nil {
		return err
	}
	unknown := make(map[sdn.Ref]bool, len(known))
	for _, ref := range known {
		unknown[ref] = true
	}
	for _, kind := range sdn.Kinds() {
		for after := ""; ; {
			refs, err := w.o.Store.NetworkRefs(ctx, kind, after, page)
			if err != nil {
				return err
			}
			if len(refs) == 0 {
				break
			}
			after = refs[len(refs)-1].ID
			for _, ref := range refs {
				delete(unknown, ref)
			}
			if err := w.repair(ctx, engine, refs, bell); err != nil {
				return err
			}
		}
	}
	for ref := range strangers {
		if !unknown[ref] {
			delete(strangers, ref)
		}
	}
	var gone []sdn.Ref
	for ref := range unknown {
		if since, seen := strangers[ref]; !seen {
			strangers[ref] = time.Now()
		} else if time.Since(since) >= w.o.SecondLook {
			gone = append(gone, ref)
			delete(strangers, ref)
		}
	}
	return w.mark(ctx, gone, bell)
}

// repair marks those resources that are not in the engine as they shall be.
func (w *Writer) repair(ctx context.Context, engine sdn.Engine, refs []sdn.Ref, bell pace.Bell) error {
	// What differs is looked at twice: its change may just have been on the way.
	for range 2 {
		desired, err := w.o.Store.NetworkDesired(ctx, refs...)
		if err != nil {
			return err
		}
		if refs, err = engine.Differing(ctx, desired...); err != nil || len(refs) == 0 {
			return err
		}
	}
	return w.mark(ctx, refs, bell)
}

func (w *Writer) mark(ctx context.Context, refs []sdn.Ref, bell pace.Bell) error {
	if len(refs) == 0 {
		return nil
	}
	marked, err := w.o.Store.MarkNetworkChanges(ctx, refs...)
	for _, ref := range marked { // the others wait anyway
		w.metrics.repaired.WithLabelValues(string(ref.Kind)).Inc()
		w.log.Warn("the network engine was not as the database says; putting it right", "kind", ref.Kind, "id", ref.ID)
	}
	bell.Ring()
	return err
}
