package server

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// Blame counts a failure against its host, before anything is undone there: what a host can't even undo it should not be
// given more of. What can't be counted now holds nobody up.
func Blame(ctx workflow.Context, serverID string, left run.Attempt) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	in := contract.CountHostFailureInput{ServerID: serverID, Hostname: left.Place, Step: left.Row, Text: left.Fault.Text}
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: run.ControlTry, ScheduleToCloseTimeout: run.AdmissionPatience,
		RetryPolicy: run.RetryFor(run.AdmissionPatience), Summary: run.Summary(contract.Summary(contract.CountHostFailure, in)),
	})
	if err := workflow.ExecuteLocalActivity(ctx, contract.CountHostFailure, in).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("A host's failure could not be counted.", "server_id", serverID, "host", left.Place, "error", err)
	}
}

// Explain makes the one failure of what was tried on several hosts: the first error, whole, with what happened on each. last is
// nil when the allowed number of hosts has failed.
func Explain(attempts []run.Attempt, last *fault.Error) *fault.Error {
	if len(attempts) == 0 {
		return last
	}
	var tried, look []string
	for _, a := range attempts {
		tried = append(tried, fmt.Sprintf("%s: %s: %s", a.Place, a.Row, a.Fault.Text))
		if !a.Fault.Blameless {
			look = append(look, "`slipway host show "+a.Place+"`")
		}
	}
	text := fmt.Sprintf("No valid host was found. Tried %s", strings.Join(tried, "; "))
	if last != nil {
		text += "; then: " + last.Text
	}
	if len(look) > 0 {
		text += fmt.Sprintf(" (An operator looks at %s, and at what `slipway host` logged there.)", strings.Join(look, ", "))
	}
	return fault.Wrap(fault.NoValidHost, attempts[0].Fault, "%s", text)
}

// InUse says why what an undo would give back of a server stays: the server is in use where the undo would take it, as when the
// engine was restored. What belongs to no host, as its addresses, is in use wherever the server is.
func InUse(ctx workflow.Context, u run.Undo) (why string, err error) {
	undo, _ := u.Input.(contract.Undo)
	// It is asked until it is answered, as an undo is done until it is.
	ctx = workflow.WithActivityOptions(ctx, run.UndoOptions(undo.ServerID, "", ""))
	var stands bool
	on := contract.ServerStandsOnInput{ServerID: undo.ServerID, Hostname: undo.Hostname}
	err = workflow.ExecuteActivity(ctx, contract.ServerStandsOn, on).Get(ctx, &stands)
	switch {
	case err != nil || !stands:
		return "", err
	case undo.Hostname == "":
		return "The server is in use, and this with it.", nil
	}
	return "The server is in use on " + undo.Hostname + ", and this with it.", nil
}
