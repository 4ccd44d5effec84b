package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/saga"
)

// startsAtOnce is how many builds one step starts. The step's input holds the request, at most 112 KiB (api/rest.MaxBody):
// the history of a thousand servers stays below 2 MB, of ten thousand (config's limit) below 15. As children of this workflow
// each would record its whole input here, and each start would wait for a lock on this one workflow.
const startsAtOnce = 100

// ReserveServers admits the servers of one request and starts a build for each. It answers the submit update as soon as
// they are accepted or refused. Each build then goes on by itself: the reservation waits for their starts, not for their
// ends. What it has admitted and cannot start, because it was cancelled, it gives back.
func ReserveServers(ctx workflow.Context, in contract.ReserveInput) error {
	r := newReservation(ctx, in)
	if err := r.serve(ctx); err != nil {
		return err
	}
	err := r.run(ctx)
	r.failure, r.settled = err, true
	if err != nil || len(r.refused) > 0 {
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
	in       contract.ReserveInput
	at       time.Time
	saga     saga.Saga[none]
	admitted int
	next     int   // the first server whose build was not yet asked for
	refused  []int // places of those that the engine did not start
	reason   string
	settled  bool
	failure  *fault.Error
}

func newReservation(ctx workflow.Context, in contract.ReserveInput) *reservation {
	r := &reservation{in: in, at: workflow.Now(ctx)}
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
		return contract.ReservationState{Admitted: r.admitted, Started: r.next - len(r.refused), Dropped: len(r.refused), Settled: r.settled}, nil
	}); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(ctx workflow.Context) (contract.Admitted, error) {
		if err := workflow.Await(ctx, func() bool { return r.admitted > 0 || r.settled }); err != nil {
			return contract.Admitted{}, err
		}
		if r.admitted > 0 {
			return contract.Admitted{Servers: r.admitted}, nil
		}
		return contract.Admitted{}, fault.ToTemporal(r.failure)
	})
}

// run admits the servers and starts their builds, until all are started or somebody cancels.
func (r *reservation) run(ctx workflow.Context) *fault.Error {
	if err := r.admit(ctx); err != nil {
		return fault.FromTemporal(err)
	}
	for r.next < r.admitted {
		if err := ctx.Err(); err != nil {
			return fault.FromTemporal(err)
		}
		if err := r.start(ctx, min(r.next+startsAtOnce, r.admitted)); err != nil {
			return fault.FromTemporal(err)
		}
	}
	return nil
}

// admit is the submission: the user waits for it.
func (r *reservation) admit(ctx workflow.Context) error {
	// Not cancellable, as a build's control steps: an undo must not overtake its do.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	boot := r.in.Boot
	resolve := contract.ResolveImageInput{ServerID: boot.ServerID, ProjectID: boot.ProjectID, ImageID: boot.ImageID, Flavor: boot.Flavor}
	var image contract.ResolvedImage
	if err := r.local(ctx, contract.ResolveImage, resolve, resolve.Summary(), &image); err != nil {
		return err
	}
	r.saga.Register(saga.Entry[none]{Name: contract.DropServers, Chain: ownChain})
	in := contract.AdmitServersInput{Server: recordInput(boot, image, r.at), Min: r.in.Min, Max: r.in.Max, Limits: boot.Limits}
	var admitted contract.Admitted
	if err := r.local(ctx, contract.AdmitServers, in, in.Summary(), &admitted); err != nil {
		return err
	}
	r.admitted = admitted.Servers
	return nil
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

// start starts the builds up to a place. It goes on trying while the engine does not answer: the servers were accepted.
func (r *reservation) start(ctx workflow.Context, to int) error {
	in := contract.StartBuildsInput{Boot: r.in.Boot, Admitted: r.admitted, From: r.next, To: to}
	// Not cancellable: what has begun is not to be dropped.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	var out contract.StartedBuilds
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: startPatience,
		HeartbeatTimeout:    10 * time.Second,
		RetryPolicy:         &undoRetry,
		Summary:             summary(in.Summary()),
	}), contract.StartBuilds, in).Get(ctx, &out)
	if err != nil {
		return err
	}
	r.next, r.refused = to, append(r.refused, out.Refused...)
	if r.reason == "" {
		r.reason = out.Reason
	}
	return nil
}

// startPatience bounds one try to start some builds. Those that it has started are found at once by the next.
const startPatience = 30 * time.Second

// dropped are the places of the servers that were admitted and will not be built. After an admission whose outcome is not
// known it is all that there may be.
func (r *reservation) dropped() []int {
	places := append([]int{}, r.refused...)
	last := r.admitted
	if last == 0 {
		last = r.in.Max
	}
	for place := r.next; place < last; place++ {
		places = append(places, place)
	}
	return places
}

// drop is the undo of the admission.
func (r *reservation) drop(ctx workflow.Context) error {
	why := r.failure
	if why == nil {
		why = fault.Wrap(fault.Internal, errors.New(r.reason), "the workflow engine did not take it.")
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
