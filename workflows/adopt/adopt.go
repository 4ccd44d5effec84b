// Package adopt makes servers again of guests that the database has forgotten.
package adopt

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// phase is what it shows.
const phase = "adopting"

var steps = run.Table[*adoption]{
	run.AtPlace(contract.ReadFacts, time.Minute, readFacts).
		TakesNothing("it reads"),

	run.OnControl(contract.AdoptServer, run.ControlPatience, adoptServer).Accepts().
		TakesNothing("the last step: it makes everything in one transaction, or nothing"),
}

// Workflow adopts; what it made can be deleted before it has ended.
type Workflow struct{ Ends teardown.Workflow }

// AdoptGuest makes a guest that lies on a host a server again, as it was built there. It touches nothing on the host: a guest that
// runs goes on running. It answers its submission when the server is there, or cannot be.
func (w Workflow) AdoptGuest(ctx workflow.Context, in contract.AdoptInput) error {
	about := server.Subject{ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Deadlines: in.Deadlines}
	a := &adoption{in: in}
	frame := about.Frame(phase)
	frame.HandOver = nil // nothing is taken on the host
	frame.Ended = phase
	w.Ends.Follows(ctx, &frame, in.RequestID)
	a.run = run.New(ctx, frame)
	a.run.At(in.Hostname)
	if err := about.Serve(ctx, a.run); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, a.submitted); err != nil {
		return err
	}
	return run.Drive(ctx, a.run, steps, a)
}

// adoption is the state of one.
type adoption struct {
	in    contract.AdoptInput
	run   *run.Run
	found contract.FoundServer
}

func (a *adoption) submitted(ctx workflow.Context, s contract.Submission) error {
	a.in.Extend(s)
	return a.run.Submitted(ctx)
}

func readFacts(a *adoption, _ int) (contract.ReadFactsInput, func(contract.FoundServer)) {
	return contract.ReadFactsInput{ServerID: a.in.ServerID}, func(found contract.FoundServer) { a.found = found }
}

func adoptServer(a *adoption, _ int) (contract.AdoptServerInput, func(run.None)) {
	return contract.AdoptServerInput{AdoptInput: a.in, FoundServer: a.found}, nil
}
