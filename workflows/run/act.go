package run

import (
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// What an operator may do with undos that wait.
const (
	Retry = "retry" // try again at once
	Skip  = "skip"  // give up: what it would have given back stays where it is
)

// UndoState is one registered undo, as operators see it.
type UndoState struct {
	ID       string // chain and name
	Chain    string
	Activity string
	Place    string
	State    string
	Why      string     // it was skipped, where no operator said so
	Since    *time.Time // when it began
}

// Undos are all that were registered, in order; the last is undone first.
func (r *Run) Undos() []UndoState {
	var all []UndoState
	for _, e := range r.saga.Entries() {
		u := UndoState{ID: e.ID(), Chain: e.Chain, Activity: e.What.undo, Place: e.What.where(), State: string(e.State), Why: e.Why}
		if !e.Since.IsZero() {
			since := e.Since
			u.Since = &since
		}
		all = append(all, u)
	}
	return all
}

// Act retries the undo of that id, or every one that waits where it is "", or skips one, once record has kept who asked.
func (r *Run) Act(ctx workflow.Context, act, undo, reason string, record func(workflow.Context) error) error {
	entries, err := r.waiting(act, undo, reason)
	if err == nil {
		err = record(ctx)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if act == Skip {
			r.saga.Skip(ctx, e)
		} else {
			r.saga.Retry(e)
		}
	}
	return nil
}

// waiting finds the undos that an operator means.
func (r *Run) waiting(act, undo, reason string) ([]*saga.Entry[*taking], error) {
	if act != Retry && act != Skip {
		return nil, fault.New(fault.Invalid, "An undo can be given %s or %s, not %q.", Retry, Skip, act)
	}
	if act == Skip && (undo == "" || strings.TrimSpace(reason) == "") {
		return nil, fault.New(fault.Invalid, "To skip needs the id of one undo and a reason.")
	}
	var waits []*saga.Entry[*taking]
	known := false
	for _, e := range r.saga.Entries() {
		if undo != "" && e.ID() != undo {
			continue
		}
		known = true
		if e.Waiting() {
			waits = append(waits, e)
		}
	}
	switch {
	case len(waits) > 0:
		return waits, nil
	case undo == "":
		return nil, fault.New(fault.Conflict, "No undo waits here.")
	case known:
		return nil, fault.New(fault.Conflict, "The undo %s does not wait.", undo)
	}
	return nil, fault.New(fault.NotFound, "There is no undo %s here.", undo)
}
