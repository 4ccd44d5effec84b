// Package imports brings bytes to images.
package imports

import (
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The import. Its one undo takes back whatever it did not finish: the rows behind the first take nothing that this undo does
// not know of.
var steps = run.Table[*importing]{
	run.OnControl(contract.BeginImport, run.AdmissionPatience, beginImport).Accepts().Detached().
		GivenBackBy(contract.AbandonImport).GivenBackWith(abandonImport).GivenBackWithin(untilBytesAreGone).
		Survives(refused),

	run.OnWorker(contract.StoreImage, bringOptions, storeImage).Each("store", stores).When(noneHasIt).
		TakesNothing("the import is given back as a whole").
		Survives(triesTheNextStore),

	run.OnWorker(contract.CopyImage, bringOptions, copyImage).Each("other store", untried).
		TakesNothing("the import is given back as a whole").
		Survives(doesWithoutTheStore),

	run.OnWorker(contract.FinishImport, finishOptions, finishImport).Detached().
		TakesNothing("the last step"),
}

// ImportImage brings bytes to an image and into every store that was asked for. It answers its submission as soon as the
// image is taken or the import refused. What ends it early gives the image back as it was before, without a byte of it left.
func ImportImage(ctx workflow.Context, in contract.ImportInput) error {
	m := &importing{in: in, until: workflow.Now(ctx).Add(in.Deadline)}
	m.run = run.New(ctx, m.frame())
	if err := m.serve(ctx); err != nil {
		return err
	}
	return run.Drive(ctx, m.run, steps, m)
}

// importing is the state of one import.
type importing struct {
	in    contract.ImportInput
	run   *run.Run
	until time.Time // the deadline
	begun contract.ImportBegun
	taken bool // whether there may be anything to give back
	tried int  // stores that were to be the first with the bytes
	state contract.ImportState
}

func (m *importing) frame() run.Frame {
	return run.Frame{
		About: m.in.Task.ImageID, Log: []any{"image_id", m.in.Task.ImageID, "request_id", m.in.Task.RequestID},
		Limits: run.Limits{UndoPatience: m.in.UndoPatience},
		Phase:  attributes.PhaseImporting, Failed: attributes.PhaseFailed, Ended: attributes.PhaseActive,
		Shown: func(ctx workflow.Context, phase string) {
			_ = workflow.UpsertTypedSearchAttributes(ctx, attributes.Phase.ValueSet(phase))
		},
		Words:       contract.Summary,
		RefusesLast: true,
	}
}

// serve answers the submission, and tells how far the import is.
func (m *importing) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryImport, func() (contract.ImportState, error) {
		state := m.state
		state.Phase, _, _ = m.run.Phase()
		return state, nil
	}); err != nil {
		return err
	}
	// As a validator it leaves nothing of a refusal in the history, which the engine bounds. Older versions had none: their
	// histories hold submissions that the handler refused.
	ours := func(_ workflow.Context, task string) error {
		if task != m.in.Task.ID {
			return failure.Of(fault.New(fault.Conflict, "Image %s is being imported already.", m.in.Task.ImageID))
		}
		return nil
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateImport, func(ctx workflow.Context, task string) error {
		if err := ours(ctx, task); err != nil {
			return err
		}
		return m.run.Submitted(ctx)
	}, workflow.UpdateHandlerOptions{Validator: ours})
}

func beginImport(m *importing, _ int) (contract.ImportInput, func(contract.ImportBegun)) {
	return m.in, func(begun contract.ImportBegun) { m.begun, m.taken = begun, true }
}

// refused knows whether an import that was not begun took anything: a refusal is the answer of a transaction that did not.
func refused(_ workflow.Context, m *importing, _ int, f *run.Failure) bool {
	m.taken = f.Fault.Kind == fault.Unavailable || f.Fault.Kind == fault.Internal
	return false
}

// The first store that takes the bytes: one after the other is tried; where all have to take them, that is one.

func stores(m *importing) int { return len(m.begun.Stores) }

func noneHasIt(m *importing) bool {
	return m.in.Method != contract.ImportCopy && len(m.state.Done) == 0
}

func storeImage(m *importing, _ int) (contract.StoreImageInput, func(run.None)) {
	store := m.begun.Stores[m.tried]
	m.tried++
	m.state.Store = store
	return contract.StoreImageInput{
		Task: m.in.Task, Method: m.in.Method, URI: m.in.URI, Store: store, Stays: m.in.Every && len(m.begun.Stores) > 1,
	}, func(run.None) { m.brought(store) }
}

func triesTheNextStore(ctx workflow.Context, m *importing, _ int, f *run.Failure) bool {
	over := m.failed(ctx, f)
	if over || f.Fault.Kind != fault.Unavailable && f.Fault.Kind != fault.Internal {
		return false // the next store would not like these bytes better
	}
	m.state.Failed = append(m.state.Failed, m.begun.Stores[m.tried-1])
	return m.tried < len(m.begun.Stores)
}

// Copies to the stores that were not tried yet.

func untried(m *importing) int { return len(m.begun.Stores) - m.tried }

func copyImage(m *importing, n int) (contract.CopyImageInput, func(run.None)) {
	store := m.begun.Stores[m.tried+n]
	m.state.Store = store
	return contract.CopyImageInput{Task: m.in.Task, Store: store}, func(run.None) { m.brought(store) }
}

func doesWithoutTheStore(ctx workflow.Context, m *importing, n int, f *run.Failure) bool {
	if m.failed(ctx, f) {
		return false
	}
	m.state.Failed = append(m.state.Failed, m.begun.Stores[m.tried+n])
	return len(m.state.Done) > 0 || len(m.state.Failed) < len(m.begun.Stores) // else none has it
}

func (m *importing) brought(store string) {
	m.state.Store, m.state.Done = "", append(m.state.Done, store)
}

// failed notes why a store did not get the bytes, and says whether the import is over: each store had to get the image, the
// image is gone, or somebody cancels, or the deadline does.
func (m *importing) failed(ctx workflow.Context, f *run.Failure) bool {
	m.state.Store = ""
	if !workflow.Now(ctx).Before(m.until) {
		f.Fault = fault.Wrap(fault.Unavailable, f.Fault, "The import did not end within %s.", m.in.Deadline)
	}
	m.state.Error = f.Fault.Text
	return m.in.Every || f.Fault.Kind == fault.NotFound || ctx.Err() != nil || !workflow.Now(ctx).Before(m.until)
}

// silence is how long a step may say nothing before its worker counts as dead, and another goes on.
const silence = 10 * time.Second

// bringOptions are those of one store's step.
func bringOptions(ctx workflow.Context, m *importing) (workflow.ActivityOptions, error) {
	left := m.until.Sub(workflow.Now(ctx))
	if left <= 0 {
		return workflow.ActivityOptions{}, failure.Of(fault.New(fault.Unavailable, "There was no time left."))
	}
	return workflow.ActivityOptions{
		ScheduleToCloseTimeout: left,
		HeartbeatTimeout:       silence,
		RetryPolicy:            run.RetryFor(m.in.Patience),
		WaitForCancellation:    true,
	}, nil
}

// finishImport makes the image active where it is not yet. The bytes are there, so this does not fail.
func finishImport(m *importing, _ int) (contract.FinishImportInput, func(run.None)) {
	words := "The image is in " + strings.Join(m.state.Done, ", ") + "."
	if len(m.state.Done) == 0 {
		words = "Every store had the image already."
	}
	if len(m.state.Failed) > 0 {
		words += " It could not be brought to " + strings.Join(m.state.Failed, ", ") + ": " + m.state.Error
	}
	return contract.FinishImportInput{Import: m.in, Begun: m.begun, Failed: m.state.Failed, Message: words}, nil
}

func finishOptions(_ workflow.Context, m *importing) (workflow.ActivityOptions, error) {
	o := run.UndoOptions(m.in.Task.ImageID, "", "")
	untilBytesAreGone(&o)
	return o, nil
}

// abandonImport is the undo of the whole.
func abandonImport(m *importing) (any, bool) {
	f := m.run.Failure()
	if !m.taken || f == nil {
		return nil, false
	}
	in := contract.AbandonImportInput{Import: m.in, Begun: m.begun, Failed: m.begun.Stores, Message: f.Text}
	if in.Failed == nil {
		in.Failed = m.in.Stores // the answer of BeginImport was lost
	}
	if !m.in.Every {
		in.Failed = slices.DeleteFunc(slices.Clone(in.Failed), func(s string) bool { return slices.Contains(m.state.Done, s) })
	}
	return in, true
}

// untilBytesAreGone: removing bytes takes longer than a row.
func untilBytesAreGone(o *workflow.ActivityOptions) {
	o.StartToCloseTimeout, o.HeartbeatTimeout = 10*time.Minute, silence
}
