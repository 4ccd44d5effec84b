// Package reservation admits several servers of one request and starts a build for each.
package reservation

import (
	"errors"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/boot"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

var steps = run.Table[*reservation]{
	run.OnControl(contract.ResolveImage, run.AdmissionPatience, resolveImage).Detached().
		TakesNothing("nothing was taken"),

	run.OnControl(contract.AdmitServers, run.AdmissionPatience, admitServers).Accepts().Detached().
		GivenBackBy(contract.DropServers).GivenBackWith(dropServers), // of those whose builds were never started

	run.OnWorker(contract.StartBuilds, startOptions, startBuilds).Each("hundred servers", batches).Uncancelled().
		TakesNothing("a build that has begun goes on by itself"),
}

// startsAtOnce is how many builds one step starts. The step's input holds the request, at most 112 KiB (api/rest.MaxBody):
// the history of a thousand servers stays below 2 MB, of ten thousand (config's limit) below 15. As children of this workflow
// each would record its whole input here, and each start would wait for a lock on this one workflow.
const startsAtOnce = 100

// ReserveServers admits the servers of one request and starts a build for each. It answers the submit update as soon as
// they are accepted or refused. Each build then goes on by itself: the reservation waits for their starts, not for their
// ends. What it has admitted and cannot start, because it was cancelled, it gives back.
func ReserveServers(ctx workflow.Context, in contract.ReserveInput) error {
	r := &reservation{in: in}
	r.run = run.New(ctx, r.frame())
	if err := r.serve(ctx); err != nil {
		return err
	}
	return run.Drive(ctx, r.run, steps, r)
}

// reservation is the state of one.
type reservation struct {
	in       contract.ReserveInput
	run      *run.Run
	image    contract.ResolvedImage
	admitted int
	next     int   // the first server whose build was not yet asked for
	refused  []int // places of those that the engine did not start
	reason   string
}

func (r *reservation) frame() run.Frame {
	boot := r.in.Boot
	about := server.Subject{ServerID: boot.ServerID, ProjectID: boot.ProjectID, RequestID: boot.RequestID, Name: boot.Name, Deadlines: boot.Deadlines}
	f := about.Frame(string(contract.PhaseScheduling))
	f.Overdue, f.HandOver, f.Seen = nil, nil, nil // nothing of it is on hosts
	f.Ended = attributes.PhaseStarted
	f.GivesBack = func() bool { return len(r.refused) > 0 }
	return f
}

// serve answers the submission and tells how far the reservation is.
func (r *reservation) serve(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, contract.QueryReservation, func() (contract.ReservationState, error) {
		return contract.ReservationState{
			Admitted: r.admitted, Started: r.next - len(r.refused), Dropped: len(r.refused), Settled: r.run.Settled(),
		}, nil
	}); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(ctx workflow.Context, s contract.Submission) (contract.Admitted, error) {
		r.in.Boot.Extend(s)
		if err := r.run.Submitted(ctx); err != nil {
			return contract.Admitted{}, err
		}
		return contract.Admitted{Servers: r.admitted}, nil
	})
}

func resolveImage(r *reservation, _ int) (contract.ResolveImageInput, func(contract.ResolvedImage)) {
	boot := r.in.Boot
	return contract.ResolveImageInput{
		ServerID: boot.ServerID, ProjectID: boot.ProjectID, Roles: boot.Roles, ImageID: boot.ImageID, Flavor: boot.Flavor,
		BlockDevices: boot.BlockDevices, TrustedCertificates: boot.TrustedCertificates, KernelID: boot.KernelID, RamdiskID: boot.RamdiskID,
	}, func(image contract.ResolvedImage) { r.image = image }
}

func admitServers(r *reservation, _ int) (contract.AdmitServersInput, func(contract.Admitted)) {
	return contract.AdmitServersInput{
		Server: boot.RecordInput(r.in.Boot, r.image, r.run.Began()), Min: r.in.Min, Max: r.in.Max, Limits: r.in.Boot.Limits,
	}, func(admitted contract.Admitted) { r.admitted = admitted.Servers }
}

// batches are the steps in which the builds start.
func batches(r *reservation) int { return (r.admitted + startsAtOnce - 1) / startsAtOnce }

// startBuilds starts the builds up to a place. It goes on trying while the engine does not answer: the servers were accepted.
func startBuilds(r *reservation, _ int) (contract.StartBuildsInput, func(contract.StartedBuilds)) {
	to := min(r.next+startsAtOnce, r.admitted)
	in := contract.StartBuildsInput{Boot: r.in.Boot, Admitted: r.admitted, From: r.next, To: to}
	return in, func(out contract.StartedBuilds) {
		r.next, r.refused = to, append(r.refused, out.Refused...)
		if r.reason == "" {
			r.reason = out.Reason
		}
	}
}

func startOptions(workflow.Context, *reservation) (workflow.ActivityOptions, error) {
	return workflow.ActivityOptions{StartToCloseTimeout: startPatience, HeartbeatTimeout: 10 * time.Second, RetryPolicy: run.Tireless()}, nil
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

// dropServers is the undo of the admission.
func dropServers(r *reservation) (any, bool) {
	why := r.run.Failure()
	if why == nil {
		why = fault.Wrap(fault.Internal, errors.New(r.reason), "the workflow engine did not take it.")
	}
	return contract.DropServersInput{
		FirstServerID: r.in.Boot.ServerID,
		RequestID:     r.in.Boot.RequestID,
		Places:        r.dropped(),
		Code:          why.Kind.Status(),
		Message:       "The build was not started: " + why.Text,
		Details:       why.Error(),
	}, true
}
