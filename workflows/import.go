package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// ImportImage brings bytes to an image and into every store that was asked for. It answers its submission as soon as the
// image is taken or the import refused. What ends it early gives the image back as it was before, without a byte of it left.
func ImportImage(ctx workflow.Context, in contract.ImportInput) error {
	m := newImporting(ctx, in)
	if err := m.serve(ctx); err != nil {
		return err
	}
	m.failure = m.run(ctx)
	if m.failure != nil {
		m.show(ctx, phaseFailed)
		m.saga.Unwind(ctx, in.UndoPatience)
		m.saga.Wait(ctx)
	}
	m.settled = true
	finishing, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(finishing, func() bool { return workflow.AllHandlersFinished(ctx) })
	if m.failure != nil {
		m.show(ctx, phaseFailed)
		return fault.ToTemporal(m.failure)
	}
	m.show(ctx, phaseActive)
	return nil
}

// phaseImporting is an import's while the bytes are on their way.
const phaseImporting = "importing"

// importing is one run of it.
type importing struct {
	in       contract.ImportInput
	until    time.Time // the deadline
	saga     saga.Saga[none]
	begun    contract.ImportBegun
	accepted bool
	taken    bool // whether there may be anything to give back
	state    contract.ImportState
	settled  bool
	failure  *fault.Error
}

func newImporting(ctx workflow.Context, in contract.ImportInput) *importing {
	m := &importing{in: in, until: workflow.Now(ctx).Add(in.Deadline), state: contract.ImportState{Phase: phaseImporting}}
	m.saga = saga.Saga[none]{
		Undo: func(ctx workflow.Context, _ none) error { return m.abandon(ctx) },
		Observe: func(ctx workflow.Context, e *saga.Entry[none]) {
			if e.State == saga.Parked {
				m.show(ctx, phaseParked)
				workflow.GetLogger(ctx).Warn("An import cannot be given up; it goes on trying.",
					"image_id", in.Task.ImageID, "request_id", in.Task.RequestID)
			}
		},
	}
	return m
}

// serve answers the submission, and tells how far the import is.
func (m *importing) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryImport, func() (contract.ImportState, error) { return m.state, nil }); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateImport, func(ctx workflow.Context, task string) error {
		if task != m.in.Task.ID {
			return fault.ToTemporal(fault.New(fault.Conflict, "Image %s is being imported already.", m.in.Task.ImageID))
		}
		if err := workflow.Await(ctx, func() bool { return m.accepted || m.settled }); err != nil {
			return err
		}
		if m.accepted {
			return nil
		}
		return fault.ToTemporal(m.failure)
	})
}

// run brings the bytes to the stores, one after the other.
func (m *importing) run(ctx workflow.Context) *fault.Error {
	m.saga.Register(saga.Entry[none]{Name: contract.AbandonImport, Chain: ownChain})
	if err := m.begin(ctx); err != nil {
		failure := fault.FromTemporal(err)
		// A refusal is the answer of a transaction that took nothing.
		m.taken = failure.Kind == fault.Unavailable || failure.Kind == fault.Internal
		return failure
	}
	m.taken, m.accepted = true, true
	stores := m.begun.Stores
	if m.in.Method != contract.ImportCopy {
		tried, failure := m.first(ctx, stores)
		if failure != nil {
			return failure
		}
		stores = stores[tried:]
	}
	if failure := m.copies(ctx, stores); failure != nil {
		return failure
	}
	return m.finish(ctx)
}

// begin is the submission: the user waits for it.
func (m *importing) begin(ctx workflow.Context) error {
	// Not cancellable, as a build's control steps: an undo must not overtake its do.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	return workflow.ExecuteLocalActivity(workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    controlStep,
		ScheduleToCloseTimeout: admissionPatience,
		RetryPolicy:            retryFor(admissionPatience),
		Summary:                summary(m.in.Summary()),
	}), contract.BeginImport, m.in).Get(ctx, &m.begun)
}

// first brings the bytes to the first store that takes them, and says how many were tried; where all have to take them, that is
// one.
func (m *importing) first(ctx workflow.Context, stores []string) (tried int, failure *fault.Error) {
	for i, store := range stores {
		failure = m.bring(ctx, contract.StoreImage, store, contract.StoreImageInput{
			Task: m.in.Task, Method: m.in.Method, URI: m.in.URI, Store: store, Stays: m.in.Every && len(stores) > 1,
		})
		switch {
		case failure == nil:
			return i + 1, nil
		case m.ends(ctx, failure), failure.Kind != fault.Unavailable && failure.Kind != fault.Internal:
			return 0, failure // the next store would not like these bytes better
		}
		m.failed(store)
	}
	return 0, failure
}

// copies brings them to more stores.
func (m *importing) copies(ctx workflow.Context, stores []string) *fault.Error {
	for _, store := range stores {
		failure := m.bring(ctx, contract.CopyImage, store, contract.CopyImageInput{Task: m.in.Task, Store: store})
		switch {
		case failure == nil:
			continue
		case m.ends(ctx, failure):
			return failure
		}
		m.failed(store)
		if len(m.state.Done) == 0 && len(m.state.Failed) == len(m.begun.Stores) {
			return failure // none has it
		}
	}
	return nil
}

// ends says whether the import is over: each store had to get the image, the image is gone, or somebody cancels.
func (m *importing) ends(ctx workflow.Context, failure *fault.Error) bool {
	return m.in.Every || failure.Kind == fault.NotFound || ctx.Err() != nil || !workflow.Now(ctx).Before(m.until)
}

func (m *importing) failed(store string) { m.state.Failed = append(m.state.Failed, store) }

// bring does one store's step.
func (m *importing) bring(ctx workflow.Context, name, store string, in interface{ Summary() string }) *fault.Error {
	m.state.Store = store
	left := m.until.Sub(workflow.Now(ctx))
	if left <= 0 {
		return m.overdue(nil)
	}
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToCloseTimeout: left,
		HeartbeatTimeout:       importSilence,
		RetryPolicy:            retryFor(m.in.Patience),
		WaitForCancellation:    true,
		Summary:                summary(in.Summary()),
	}), name, in).Get(ctx, nil)
	m.state.Store = ""
	switch {
	case err == nil:
		m.state.Done = append(m.state.Done, store)
		return nil
	case !workflow.Now(ctx).Before(m.until):
		return m.overdue(err)
	}
	failure := fault.FromTemporal(err)
	m.state.Error = failure.Text
	return failure
}

// importSilence is how long a step may say nothing before its worker counts as dead, and another goes on.
const importSilence = 10 * time.Second

func (m *importing) overdue(cause error) *fault.Error {
	failure := fault.Wrap(fault.Unavailable, cause, "The import did not end within %s.", m.in.Deadline)
	m.state.Error = failure.Text
	return failure
}

// finish makes the image active where it is not yet. The bytes are there, so this does not fail.
func (m *importing) finish(ctx workflow.Context) *fault.Error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	words := "The image is in " + strings.Join(m.state.Done, ", ") + "."
	if len(m.state.Done) == 0 {
		words = "Every store had the image already."
	}
	if len(m.state.Failed) > 0 {
		words += " It could not be brought to " + strings.Join(m.state.Failed, ", ") + ": " + m.state.Error
	}
	in := contract.FinishImportInput{Import: m.in, Begun: m.begun, Failed: m.state.Failed, Message: words}
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, m.endOptions()), contract.FinishImport, in).Get(ctx, nil)
	if err != nil {
		return fault.FromTemporal(err)
	}
	return nil
}

// abandon is the undo of the whole.
func (m *importing) abandon(ctx workflow.Context) error {
	if !m.taken {
		return nil
	}
	in := contract.AbandonImportInput{Import: m.in, Begun: m.begun, Failed: m.begun.Stores, Message: m.failure.Text}
	if in.Failed == nil {
		in.Failed = m.in.Stores // the answer of BeginImport was lost
	}
	if !m.in.Every {
		in.Failed = slices.DeleteFunc(slices.Clone(in.Failed), func(s string) bool { return slices.Contains(m.state.Done, s) })
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, m.endOptions()), contract.AbandonImport, in).Get(ctx, nil)
}

// endOptions are those of an undo; removing bytes takes longer than a row.
func (m *importing) endOptions() workflow.ActivityOptions {
	o := undoOptions("", "")
	o.StartToCloseTimeout, o.HeartbeatTimeout = 10*time.Minute, importSilence
	o.Summary = "for " + m.in.Task.ImageID
	return o
}

func (m *importing) show(ctx workflow.Context, phase string) {
	if m.state.Phase == phase {
		return
	}
	m.state.Phase = phase
	_ = workflow.UpsertTypedSearchAttributes(ctx, attrPhase.ValueSet(phase))
}

// submissions is how often an import is asked for that meets a run of the image which has just ended.
const submissions = 3

// Import starts an import and returns as soon as it is accepted (nil: its task exists) or refused. Conflict while another
// import of the image runs.
func (c *Client) Import(ctx context.Context, in contract.ImportInput) error {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, in.Task.RequestID), submitPatience)
	defer cancel()
	err := c.submitImport(ctx, in)
	for n := 1; n < submissions && errors.As(err, new(*serviceerror.NotFound)); n++ {
		err = c.submitImport(ctx, in)
	}
	return answer(err, "The import was not accepted", "It may still be: look for the image's tasks before you ask again.")
}

func (c *Client) submitImport(ctx context.Context, in contract.ImportInput) error {
	start := c.temporal.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID:                  contract.ImageWorkflowID(in.Task.ImageID),
		TaskQueue:           c.queue,
		WorkflowTaskTimeout: taskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			attrImage.ValueSet(in.Task.ImageID), attrProject.ValueSet(in.Task.ProjectID), attrPhase.ValueSet(phaseImporting)),
		StaticSummary: summary("import " + in.Task.ImageID + ": " + in.Summary()),
		StaticDetails: fmt.Sprintf("image %s, task %s, project %s, %s", in.Task.ImageID, in.Task.ID, in.Task.ProjectID, in.Task.RequestID),
		// The run that it meets knows that it is another import's.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, contract.WorkflowImport, in)
	update, err := c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateID: "import-" + in.Task.ID, UpdateName: contract.UpdateImport, Args: []any{in.Task.ID},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return err
	}
	return update.Get(ctx, nil)
}
