package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// BeginForget records that an operator gives a host up, ends its token and has it get no servers any more. Twice it changes nothing.
func (a *Activities) BeginForget(ctx context.Context, in contract.ForgetHostInput) error {
	err := a.store.BeginForget(ctx, models.ForgottenHost{
		HostID: in.HostID, Reason: in.Reason, UserID: in.UserID, RequestID: in.RequestID, At: a.now(), AnswerBy: in.AnswerBy,
		PayloadKey: a.keys.First(),
	})
	if err != nil {
		return err
	}
	a.log.InfoContext(ctx, "host given up for good", "host", in.Hostname, "host_id", in.HostID, "user_id", in.UserID, "reason", in.Reason)
	return nil
}

// parallelEnds is how many servers' workflows are asked at the same time.
const parallelEnds = 10

// EmptyHost takes from a host that was given up what is there: its shelved servers are as if they had left it before, the others go into ERROR, and undos that wait for it are ended as an
// operator ends them, with the operator's name and reason. Unavailable while something is left, such as a build that has not noticed
// yet; then it is tried again. When nothing is, the host's row goes. It may be done twice, also at the same time.
func (a *Activities) EmptyHost(ctx context.Context, in contract.ForgetHostInput) error {
	given, err := a.store.ForgottenHost(ctx, in.HostID)
	if err != nil || given.DoneAt != nil {
		return err
	}
	because := models.ServerFault{
		Code:    500,
		Message: "The host of this server was lost for good, and what the server had there with it. Delete the server, and build it anew.",
		Details: fmt.Sprintf("Host %s was given up by user %s (%s): %s", given.Hostname, given.UserID, given.RequestID, given.Reason),
	}
	if err := a.store.OffloadServersOf(ctx, given); err != nil {
		return err
	}
	if err := a.store.FailServersOf(ctx, given, because); err != nil {
		return err
	}
	// What is placed there is in the database, also when the engine does not list it yet; what was released and has an undo all the
	// same only the engine knows.
	placed, err := a.store.ServersOn(ctx, given.HostID)
	if err != nil {
		return err
	}
	listed, err := a.builds.ServersAt(ctx, given.Hostname)
	if err != nil {
		return err
	}
	looked := append(slices.Clone(placed), listed...)
	slices.Sort(looked)
	looked = slices.Compact(looked)
	idle, ended, unanswered := a.endUndos(ctx, looked, given)
	if err := a.dropIdle(ctx, idle, given, because); err != nil {
		return err
	}
	left, err := a.store.ServersOn(ctx, given.HostID)
	switch {
	case err != nil:
		return err
	case unanswered != nil:
		return errors.Join(a.waits(ctx, given, "some builds do not say what they wait for: is a worker running?"), unanswered)
	case len(left) > 0:
		return a.waits(ctx, given, fmt.Sprintf("%d servers are still being built, deleted or acted upon there: %s", len(left), some(left)))
	case ended > 0:
		return a.waits(ctx, given, fmt.Sprintf("%d undos were just ended", ended)) // and what was behind them begins
	}
	if err := a.store.EndForget(ctx, given.HostID); err != nil {
		if fault.Is(err, fault.Conflict) {
			return fault.Wrap(fault.Unavailable, err, "Something has just been placed on host %s.", given.Hostname)
		}
		return err
	}
	a.log.InfoContext(ctx, "nothing is left of a host that was given up", "host", given.Hostname, "host_id", given.HostID)
	return nil
}

// endUndos ends what waits for the host in the workflows of servers. idle are servers on which no workflow works.
func (a *Activities) endUndos(ctx context.Context, servers []string, given models.ForgottenHost) (idle []string, ended int, err error) {
	var (
		mu     sync.Mutex
		failed []error
		asking errgroup.Group
	)
	asking.SetLimit(parallelEnds)
	for _, server := range servers {
		asking.Go(func() error {
			works, n, err := a.builds.EndUndos(ctx, server, given.Hostname, contract.OperatorAct{
				Act: contract.ActSkip, Reason: "host " + given.Hostname + " was given up: " + given.Reason, UserID: given.UserID, RequestID: given.RequestID,
			})
			mu.Lock()
			defer mu.Unlock()
			ended += n
			switch {
			case err != nil:
				failed = append(failed, fmt.Errorf("end the undos of server %s on host %s: %w", server, given.Hostname, err))
			case !works:
				idle = append(idle, server)
			}
			return nil // one that does not answer holds up no other
		})
	}
	_ = asking.Wait()
	slices.Sort(idle)
	return idle, ended, errors.Join(failed...)
}

// dropIdle takes from the host what no workflow will take from it. Whatever else such a server lacks the audit finds.
func (a *Activities) dropIdle(ctx context.Context, idle []string, given models.ForgottenHost, because models.ServerFault) error {
	if len(idle) == 0 {
		return nil
	}
	if err := a.store.OffloadServersOf(ctx, given, idle...); err != nil {
		return err
	}
	if err := a.store.FailServersOf(ctx, given, because, idle...); err != nil {
		return err
	}
	for _, server := range idle {
		if err := a.store.ReleasePlacement(ctx, server, given.Hostname); err != nil {
			return err
		}
	}
	return nil
}

func (a *Activities) waits(ctx context.Context, given models.ForgottenHost, what string) error {
	if err := a.store.NoteForget(ctx, given.HostID, what); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "Host %s: %s.", given.Hostname, what)
}

// some are the first of many.
func some(all []string) string {
	const most = 5
	if len(all) > most {
		return strings.Join(all[:most], ", ") + ", …"
	}
	return strings.Join(all, ", ")
}
