package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
)

// ForgetHost gives a host up, and returns when that is recorded and the host's token has ended. Asked for again it meets the one that
// runs.
func (c *Client) ForgetHost(ctx context.Context, in contract.ForgetHostInput) error {
	ctx, cancel, asked, err := c.waits(ctx, in.RequestID)
	defer cancel()
	if err != nil {
		return err
	}
	in.Submission = asked
	err = c.submit(ctx, submission(in.RequestID, asked), nil, client.StartWorkflowOptions{
		ID:                    ids.ForgetWorkflow(in.HostID),
		TaskQueue:             c.queue,
		WorkflowTaskTimeout:   server.TaskTimeout,
		TypedSearchAttributes: temporal.NewSearchAttributes(attributes.Host.ValueSet(in.Hostname)),
		StaticSummary:         run.Summary("forget host " + in.Hostname),
		StaticDetails:         "host " + in.HostID + ", " + in.RequestID,

		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, contract.WorkflowForget, in)
	return faultOf(err, "The host was not given up", "It may still be: look at the host before you ask again.")
}

// listedAtOnce is how many workflows a page of ServersAt holds.
const listedAtOnce = 500

// ServersAt are the ids of the servers of which a build, delete or clean-up runs that may wait for the host: it names the host, or
// something of it is parked, on whichever host. What has just begun is listed a moment later.
func (c *Client) ServersAt(ctx context.Context, hostname string) ([]string, error) {
	var servers []string
	// The engine's list has one host of each, and a clean-up may wait for several.
	for _, f := range []BuildFilter{{Host: hostname, Limit: listedAtOnce}, {Parked: true, Limit: listedAtOnce}} {
		for more := true; more; more = f.Page != "" {
			found, next, err := c.Builds(ctx, f)
			if err != nil {
				return nil, err
			}
			for _, b := range found {
				servers = append(servers, b.ServerID)
			}
			f.Page = next
		}
	}
	return servers, nil
}

// EndUndos gives up what waits for a host in the workflow and the clean-up of a server, as an operator's act on each undo. works says
// whether one of the two runs, ended how many undos were ended. Unavailable where one does not say what waits.
func (c *Client) EndUndos(ctx context.Context, serverID, hostname string, act contract.OperatorAct) (works bool, ended int, err error) {
	for _, workflowID := range []string{ids.ServerWorkflow(serverID), ids.CleanUpWorkflow(serverID)} {
		runs, n, err := c.endUndos(ctx, workflowID, hostname, act)
		works, ended = works || runs, ended+n
		if err != nil {
			return works, ended, err
		}
	}
	return works, ended, nil
}

func (c *Client) endUndos(ctx context.Context, workflowID, hostname string, act contract.OperatorAct) (runs bool, ended int, err error) {
	ctx, cancel := context.WithTimeout(requestid.With(ctx, act.RequestID), submitPatience)
	defer cancel()
	described, err := c.temporal.DescribeWorkflow(ctx, workflowID, "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, faultOf(err, "The build could not be read", again)
	}
	info := described.RawResponse.GetWorkflowExecutionInfo()
	if info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return false, 0, nil
	}
	runID := info.GetExecution().GetRunId()
	state, err := c.state(ctx, workflowID, runID)
	if err != nil {
		return true, 0, err
	}
	for _, undo := range slices.Backward(state.Undos) { // in their order: the last is undone first
		if undo.Host != hostname || !undo.Waiting() {
			continue
		}
		act.Undo = undo.ID
		// It may be sent again with the same request: only what it finds waiting is acted upon.
		err := faultOf(c.update(ctx, workflowID, runID, ids.OperatorAct(act.Act, uuid.NewString()), act), "The build did not take it", again)
		if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			return true, ended, err
		}
		ended++ // or has ended meanwhile, or waits in another run of the same clean-up: whoever asked looks again
	}
	return true, ended, nil
}
