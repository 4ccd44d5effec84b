package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

const (
	// startsAtOnce bounds how many builds are being started. A request's body is at most 112 KiB (api/rest.MaxBody), and so
	// about is a build's input: the commands of one workflow task stay well below the engine's 4 MB for a message.
	startsAtOnce = 20
	// historyBytes is when a reservation goes on in a new run. Each start records its build's whole input, user data and
	// files too: a thousand small ones are about 3 MB, a thousand of the largest 150 MB. The engine warns at 10 MiB and
	// ends a run at 50.
	historyBytes = 4 << 20
)

// ReserveServers admits the servers of one request and starts a build for each. It answers the submit update as soon as
// they are accepted or refused. Each build then goes on by itself: the reservation waits for their starts, not for their
// ends. What it has admitted and cannot start, because it was cancelled, it gives back.
func ReserveServers(ctx workflow.Context, in contract.ReserveInput) error {
	r := newReservation(ctx, in)
	if err := r.serve(ctx); err != nil {
		return err
	}
	err := r.run(ctx)
	if err == nil && ctx.Err() == nil && r.Next < r.Admitted {
		return r.goOn(ctx)
	}
	r.failure, r.settled = err, true
	if err != nil || len(r.dropped()) > 0 {
		r.saga.Unwind(ctx, in.Boot.Deadlines.UndoPatience)
		r.saga.Wait(ctx)
	}
	finishing, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(finishing, func() bool { return workflow.AllHandlersFinished(ctx) })
	if err != nil {
		r.show(ctx, phaseFailed)
		return fault.ToTemporal(err)
	}
	r.show(ctx, phaseStarted)
	return nil
}

// phaseStarted is a reservation's that has nothing left to start.
const phaseStarted = "started"

// reservation is one run of it.
type reservation struct {
	in contract.ReserveInput
	contract.Reserved
	saga    saga.Saga[none]
	settled bool
	failure *fault.Error
	refused error // why the engine did not start a build, where it did not
}

func newReservation(ctx workflow.Context, in contract.ReserveInput) *reservation {
	r := &reservation{in: in, Reserved: contract.Reserved{StartedAt: workflow.Now(ctx)}}
	if in.Continued != nil {
		r.Reserved = *in.Continued
		r.in.Continued = nil
	}
	r.saga = saga.Saga[none]{
		Undo: func(ctx workflow.Context, _ none) error { return r.drop(ctx) },
		Observe: func(ctx workflow.Context, e *saga.Entry[none]) {
			if e.State == saga.Parked {
				r.show(ctx, phaseParked)
				workflow.GetLogger(ctx).Warn("A reservation's undo does not succeed; it goes on trying.",
					"server_id", in.Boot.ServerID, "request_id", in.Boot.RequestID)
			}
		},
	}
	return r
}

// serve answers the submission and tells how far the reservation is.
func (r *reservation) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryReservation, func() (contract.ReservationState, error) {
		return contract.ReservationState{Admitted: r.Admitted, Started: r.Started, Dropped: len(r.Dropped), Settled: r.settled}, nil
	}); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(ctx workflow.Context) (contract.Admitted, error) {
		if err := workflow.Await(ctx, func() bool { return r.Admitted > 0 || r.settled }); err != nil {
			return contract.Admitted{}, err
		}
		if r.Admitted > 0 {
			return contract.Admitted{Servers: r.Admitted}, nil
		}
		return contract.Admitted{}, fault.ToTemporal(r.failure)
	})
}

// run admits the servers, unless an earlier run has, and starts the builds until all are started, the history is long
// enough, or somebody cancels.
func (r *reservation) run(ctx workflow.Context) *fault.Error {
	if r.Admitted == 0 {
		if err := r.admit(ctx); err != nil {
			return fault.FromTemporal(err)
		}
	} else {
		r.registerUndo()
	}
	r.start(ctx)
	if ctx.Err() != nil && r.Next < r.Admitted {
		return fault.FromTemporal(ctx.Err())
	}
	return nil
}

// admit is the submission: the user waits for it.
func (r *reservation) admit(ctx workflow.Context) error {
	// Not cancellable, as a build's control steps: an undo must not overtake its do.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	boot := r.in.Boot
	resolve := contract.ResolveImageInput{ServerID: boot.ServerID, ProjectID: boot.ProjectID, ImageID: boot.ImageID, Flavor: boot.Flavor}
	if err := r.local(ctx, contract.ResolveImage, resolve, resolve.Summary(), nil); err != nil {
		return err
	}
	r.registerUndo()
	in := contract.AdmitServersInput{Server: recordInput(boot, r.StartedAt), Min: r.in.Min, Max: r.in.Max, Limits: boot.Limits}
	var admitted contract.Admitted
	if err := r.local(ctx, contract.AdmitServers, in, in.Summary(), &admitted); err != nil {
		return err
	}
	r.Admitted = admitted.Servers
	return nil
}

func (r *reservation) registerUndo() {
	r.saga.Register(saga.Entry[none]{Name: contract.DropServers, Chain: ownChain})
}

func (r *reservation) local(ctx workflow.Context, name string, in any, words string, out any) error {
	timeout := controlStep
	if d, ok := r.in.Boot.Deadlines.Steps[name]; ok {
		timeout = d
	}
	return workflow.ExecuteLocalActivity(workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    timeout,
		ScheduleToCloseTimeout: admissionPatience,
		RetryPolicy:            retryFor(admissionPatience),
		Summary:                summary(words),
	}), name, in).Get(ctx, out)
}

// start asks for the builds in order, so many at a time, and returns when each that was asked for has begun or will not.
func (r *reservation) start(ctx workflow.Context) {
	// Not cancellable: cancelling a child would end a build that has begun.
	starting, _ := workflow.NewDisconnectedContext(ctx)
	pending := 0
	for r.Next < r.Admitted && ctx.Err() == nil && workflow.GetInfo(ctx).GetCurrentHistorySize() < historyBytes {
		place := r.Next
		r.Next++
		pending++
		workflow.Go(starting, func(ctx workflow.Context) {
			r.startOne(ctx, place)
			pending--
		})
		_ = workflow.Await(starting, func() bool { return pending < startsAtOnce })
	}
	_ = workflow.Await(starting, func() bool { return pending == 0 })
}

// startOne starts a server's build and waits until it has begun.
func (r *reservation) startOne(ctx workflow.Context, place int) {
	in := r.in.Server(place, r.Admitted)
	child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, childOptions(in)), contract.WorkflowBoot, in)
	err := child.GetChildWorkflowExecution().Get(ctx, nil)
	switch {
	case err == nil:
		r.Started++
	case temporal.IsWorkflowExecutionAlreadyStartedError(err):
		// Its delete was faster: that gives back all there is, and a server that is deleted is not built.
		workflow.GetLogger(ctx).Info("A server of a reservation was deleted before its build.", "server_id", in.ServerID, "request_id", in.RequestID)
	default:
		workflow.GetLogger(ctx).Error("A build of a reservation could not be started.", "server_id", in.ServerID, "request_id", in.RequestID, "error", err)
		r.Dropped = append(r.Dropped, place)
		r.refused = err
	}
}

func childOptions(in contract.BootInput) workflow.ChildWorkflowOptions {
	return workflow.ChildWorkflowOptions{
		WorkflowID:        contract.ServerWorkflowID(in.ServerID),
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		// The delete of a server whose build has not begun runs under the same id, and may have ended by now.
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowTaskTimeout:   taskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(bootAttributes(in)...),
		StaticSummary:         bootSummary(in),
		StaticDetails:         bootDetails(in),
	}
}

// dropped are the places of the servers that were admitted and will not be built. After an admission whose outcome is not
// known it is all that there may be.
func (r *reservation) dropped() []int {
	places := append([]int{}, r.Dropped...)
	last := r.Admitted
	if last == 0 {
		last = r.in.Max
	}
	for place := r.Next; place < last; place++ {
		places = append(places, place)
	}
	return places
}

// drop is the undo of the admission.
func (r *reservation) drop(ctx workflow.Context) error {
	why := r.failure
	if why == nil {
		why = fault.Wrap(fault.Unavailable, r.refused, "the workflow engine did not take it.")
	}
	in := contract.DropServersInput{
		FirstServerID: r.in.Boot.ServerID,
		RequestID:     r.in.Boot.RequestID,
		Places:        r.dropped(),
		Code:          why.Kind.Status(),
		Message:       "The build was not started: " + why.Text,
		Details:       why.Error(),
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, undoOptions(in.FirstServerID, "")), contract.DropServers, in).Get(ctx, nil)
}

// goOn continues in a new run with an empty history.
func (r *reservation) goOn(ctx workflow.Context) error {
	answering, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(answering, func() bool { return workflow.AllHandlersFinished(ctx) })
	next := r.in
	next.Continued = &r.Reserved
	return workflow.NewContinueAsNewError(ctx, contract.WorkflowReserve, next)
}

func (r *reservation) show(ctx workflow.Context, phase string) {
	_ = workflow.UpsertTypedSearchAttributes(ctx, attrPhase.ValueSet(phase))
}

// How a build shows in the engine's Web UI, whoever starts it.

func bootSummary(in contract.BootInput) string {
	return summary(fmt.Sprintf("boot %s (%s)", in.Name, in.Flavor.Name))
}

func bootDetails(in contract.BootInput) string {
	return fmt.Sprintf("server %s, project %s, image %s, %s", in.ServerID, in.ProjectID, in.ImageID, in.RequestID)
}

func bootAttributes(in contract.BootInput) []temporal.SearchAttributeUpdate {
	attributes := []temporal.SearchAttributeUpdate{
		attrServer.ValueSet(in.ServerID),
		attrProject.ValueSet(in.ProjectID),
		attrImage.ValueSet(in.ImageID),
		attrPhase.ValueSet(string(contract.PhaseScheduling)),
	}
	if in.ReservationID != "" {
		attributes = append(attributes, attrReservation.ValueSet(in.ReservationID))
	}
	return attributes
}

func reservationAttributes(in contract.ReserveInput) []temporal.SearchAttributeUpdate {
	return []temporal.SearchAttributeUpdate{
		attrReservation.ValueSet(contract.ReservationID(in.Boot.ServerID)),
		attrProject.ValueSet(in.Boot.ProjectID),
		attrImage.ValueSet(in.Boot.ImageID),
		attrPhase.ValueSet(string(contract.PhaseScheduling)),
	}
}
