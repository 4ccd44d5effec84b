// Package engine is the client side of Temporal: how the API and the worker start, ask and change workflows. Its errors are
// faults.
package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// submitPatience bounds a submission's wait for accepted or refused.
const submitPatience = 30 * time.Second

// Client is how the API reaches the workflows. Its errors are faults.
type Client struct {
	temporal client.Client
	queue    string
	now      func(context.Context) (time.Time, error)

	heartbeats converter.DataConverter
}

// NewClient makes a client that starts workflows on the control queue.
func NewClient(temporal client.Client, controlQueue string) *Client {
	return &Client{temporal: temporal, queue: controlQueue, heartbeats: converter.GetDefaultDataConverter()}
}

// By is the same client, whose submissions are refused once it has stopped waiting for them. The clock has to be the one of
// those who accept them: the database's.
func (c Client) By(clock func(context.Context) (time.Time, error)) *Client {
	c.now = clock
	return &c
}

// waits begins a submission's wait. What it says is by when the submission has to be accepted so that nothing of it happens
// behind the end of the wait: a try to accept it that began in time has ended by then.
func (c *Client) waits(ctx context.Context, requestID string) (context.Context, context.CancelFunc, contract.Submission, error) {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, requestID), submitPatience)
	if c.now == nil {
		return ctx, cancel, contract.Submission{}, nil
	}
	now, err := c.now(ctx)
	until, _ := ctx.Deadline()
	return ctx, cancel, contract.Submission{AnswerBy: now.Add(time.Until(until) - run.ControlTry)}, err
}

// Submit starts a build, or meets the one that already runs for the same server id, and returns as soon as it is accepted
// (nil: the server's row exists) or refused (a fault, and nothing exists). It never waits for the build.
func (c *Client) Submit(ctx context.Context, in contract.BootInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	options := c.boot(in)
	// The same submission again meets the run that answers it; after a refusal it may be tried anew.
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	err = c.submit(ctx, submission(in.RequestID, asked), nil, options, contract.WorkflowBoot, in)
	return faultOf(err, notAccepted, c.afterwards(ctx))
}

// submission is a request's one submission. One that may meet a run which another has begun says how long it waits.
func submission(requestID string, asked ...any) client.UpdateWorkflowOptions {
	return client.UpdateWorkflowOptions{UpdateID: ids.Submission(requestID), UpdateName: contract.UpdateSubmit, Args: asked}
}

const (
	notAccepted = "The build was not accepted"
	maybeStill  = "It may still be: look for the server before you ask again, or ask again with the same Idempotency-Key."
)

// afterwards says what may become of a submission that nobody answered: nothing, where the wait is over.
func (c *Client) afterwards(ctx context.Context) string {
	if c.now != nil && ctx.Err() != nil {
		return "It will not be built. " + again
	}
	return maybeStill
}

func (c *Client) boot(in contract.BootInput) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                    ids.ServerWorkflow(in.ServerID),
		TaskQueue:             c.queue,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(bootAttributes(in)...),
		StaticSummary:         bootSummary(in),
		StaticDetails:         bootDetails(in),
	}
}

// How a submission is sent again. A run that was ending when it came answers nothing, and sendPause lets it end. Where the
// engine forgot an update (it keeps them in memory until a worker takes them up, and drops them all when one too many comes)
// and the run has ended, it refuses for ever to start the same run once more: after sendPatience it is asked for another.
const (
	sendPause    = 50 * time.Millisecond
	sendPatience = 3 * time.Second
)

// submit starts a workflow, or meets the one that runs under its id, and waits until that says accepted or refused. However
// often it is sent, by this loop or below it, one run takes it once, by the update's id. But when the answer got lost and that
// run has ended, the next one refuses what has taken effect: a refusal is true only where the row is missing that the
// acceptance would have made (docs/decisions/0018-the-row-answers.md).
func (c *Client) submit(ctx context.Context, update client.UpdateWorkflowOptions, out any, options client.StartWorkflowOptions, workflow string, in any) error {
	update.WaitForStage = client.WorkflowUpdateStageCompleted
	send := func() (again bool, err error) {
		sending, cancel := context.WithTimeout(ctx, sendPatience)
		defer cancel()
		handle, err := c.temporal.UpdateWithStartWorkflow(sending, client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: c.temporal.NewWithStartWorkflowOperation(options, workflow, in), UpdateOptions: update,
		})
		if err == nil {
			err = handle.Get(sending, out)
		}
		unanswered := sending.Err() != nil || errors.As(err, new(*client.WorkflowUpdateServiceTimeoutOrCanceledError)) // either may be noticed first
		return err != nil && (unanswered || errors.As(err, new(*serviceerror.NotFound))), err
	}
	for {
		again, err := send()
		if !again || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sendPause):
		}
	}
}

// Reserve is Submit for several servers: it answers how many were accepted, or the fault that refused all of them.
func (c *Client) Reserve(ctx context.Context, in contract.ReserveInput) (admitted int, err error) {
	ctx, cancel, asked, err := c.waits(ctx, in.Boot.RequestID)
	defer cancel()
	if err != nil {
		return 0, err
	}
	in.Boot.Submission = asked
	var out contract.Admitted
	err = c.submit(ctx, submission(in.Boot.RequestID, asked), &out, client.StartWorkflowOptions{
		ID:                    ids.ReservationWorkflow(in.Boot.ServerID),
		TaskQueue:             c.queue,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(reservationAttributes(in)...),
		StaticSummary:         run.Summary(fmt.Sprintf("boot %d × %s (%s)", in.Max, in.Boot.Name, in.Boot.Flavor.Name)),
		StaticDetails:         bootDetails(in.Boot),
		// As in Submit.
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
	}, contract.WorkflowReserve, in)
	return out.Servers, faultOf(err, notAccepted, c.afterwards(ctx))
}

// Start starts the build of a server that was reserved. It is success where a workflow of that server runs or has run: this
// build, or the delete that was faster. Internal when the engine refuses it for good.
func (c *Client) Start(ctx context.Context, in contract.BootInput) error {
	options := c.boot(in)
	// The delete of a server whose build has not begun runs under the same id, and may have ended by now.
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	_, err := c.temporal.ExecuteWorkflow(requestid.With(ctx, in.RequestID), options, contract.WorkflowBoot, in)
	var (
		started *serviceerror.WorkflowExecutionAlreadyStarted
		refused *serviceerror.InvalidArgument
	)
	switch {
	case errors.As(err, &started):
		return nil
	case errors.As(err, &refused):
		return fault.Wrap(fault.Internal, err, "The build was not accepted: the workflow engine refuses it.")
	}
	return faultOf(err, "The build was not accepted", again)
}

// Delete asks for a server's end and returns as soon as the request is durable. It reaches a build that runs, and starts
// a teardown where none does.
func (c *Client) Delete(ctx context.Context, in contract.DeleteInput) error {
	options := c.ending(in.ServerID, "delete "+in.ServerID,
		attributes.Project.ValueSet(in.ProjectID), attributes.Phase.ValueSet(string(contract.PhaseDeleting)))
	ctx, cancel := context.WithTimeout(requestid.With(ctx, in.RequestID), submitPatience)
	defer cancel()
	_, err := c.temporal.SignalWithStartWorkflow(ctx, options.ID, contract.SignalDelete, in, options, contract.WorkflowDelete, in)
	return faultOf(err, "The delete was not accepted", again)
}

// Reclaim begins a delete where nothing is done to the server; Conflict where something is.
func (c *Client) Reclaim(ctx context.Context, in contract.DeleteInput) error {
	options := c.onServer(in.ServerID, "reclaim "+in.ServerID,
		attributes.Project.ValueSet(in.ProjectID), attributes.Phase.ValueSet(string(contract.PhaseDeleting)))
	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	_, err := c.temporal.ExecuteWorkflow(ctx, options, contract.WorkflowDelete, in)
	return faultOf(err, "The delete was not accepted", again)
}

// Reset asks for a server's state to be set and returns as soon as the request is durable. What is being done to the server ends
// first.
func (c *Client) Reset(ctx context.Context, in contract.ResetInput) error {
	options := c.ending(in.ServerID, "reset "+in.ServerID+" to "+in.VMState, attributes.Project.ValueSet(in.ProjectID))
	ctx, cancel := context.WithTimeout(requestid.With(ctx, in.RequestID), submitPatience)
	defer cancel()
	_, err := c.temporal.SignalWithStartWorkflow(ctx, options.ID, contract.SignalReset, in, options, contract.WorkflowReset, in)
	return faultOf(err, "The reset was not accepted", again)
}

// ending is a workflow that takes the server's lock over from whatever holds it.
func (c *Client) ending(id, summary string, found ...temporal.SearchAttributeUpdate) client.StartWorkflowOptions {
	o := c.onServer(id, summary, found...)
	o.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_UNSPECIFIED
	return o
}

// Progress tells how far a server's build or teardown is: of the running workflow, or of the last one while its history
// is kept. NotFound where there is none.
func (c *Client) Progress(ctx context.Context, serverID string) ([]contract.StepProgress, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	value, err := c.temporal.QueryWorkflow(ctx, ids.ServerWorkflow(serverID), "", contract.QueryProgress)
	if err != nil {
		return nil, faultOf(err, "The progress of the build is not to be had", again)
	}
	var steps []contract.StepProgress
	if err := value.Get(&steps); err != nil {
		return nil, fmt.Errorf("reading the progress of server %s: %w", serverID, err)
	}
	return steps, nil
}

const again = "Please try again."

// faultOf turns what the engine says into a fault. What a workflow refused stays what it was; the engine's own troubles are
// Unavailable, with a text that says what could not be done and what to do.
func faultOf(err error, what, next string) error {
	var (
		app       *temporal.ApplicationError
		timeout   *temporal.TimeoutError
		notFound  *serviceerror.NotFound
		started   *serviceerror.WorkflowExecutionAlreadyStarted
		workflowE *temporal.WorkflowExecutionError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &app):
		return failure.Fault(err)
	case errors.As(err, &started):
		return fault.Wrap(fault.Conflict, err, "%s: this server has been built already.", what)
	case errors.As(err, &notFound):
		return fault.Wrap(fault.NotFound, err, "%s: there is no such build.", what)
	case errors.As(err, &timeout), errors.As(err, &workflowE):
		return fault.Wrap(fault.Unavailable, err, "%s in time. %s", what, next)
	default:
		return fault.Wrap(fault.Unavailable, err, "%s: the workflow engine does not answer. %s", what, next)
	}
}

// How a build shows in the engine's Web UI, whoever starts it.

func bootSummary(in contract.BootInput) string {
	return run.Summary(fmt.Sprintf("boot %s (%s)", in.Name, in.Flavor.Name))
}

func bootDetails(in contract.BootInput) string {
	return fmt.Sprintf("server %s, project %s, image %s, %s", in.ServerID, in.ProjectID, in.ImageID, in.RequestID)
}

func bootAttributes(in contract.BootInput) []temporal.SearchAttributeUpdate {
	found := []temporal.SearchAttributeUpdate{
		attributes.Server.ValueSet(in.ServerID),
		attributes.Project.ValueSet(in.ProjectID),
		attributes.Image.ValueSet(in.ImageID),
		attributes.Phase.ValueSet(string(contract.PhaseScheduling)),
	}
	if in.ReservationID != "" {
		found = append(found, attributes.Reservation.ValueSet(in.ReservationID))
	}
	return found
}

func reservationAttributes(in contract.ReserveInput) []temporal.SearchAttributeUpdate {
	return []temporal.SearchAttributeUpdate{
		attributes.Reservation.ValueSet(ids.Reservation(in.Boot.ServerID)),
		attributes.Project.ValueSet(in.Boot.ProjectID),
		attributes.Image.ValueSet(in.Boot.ImageID),
		attributes.Phase.ValueSet(string(contract.PhaseScheduling)),
	}
}
