// Package boot is the build of a server: a table (steps.go), and what surrounds it.
package boot

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/server"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// TableVersion is the name under which the engine records by which version of the table a build goes.
const TableVersion = "build table"

// Workflow builds by a table.
type Workflow struct{ table run.Table[*build] }

// New is the workflow over the table in steps.go.
func New() Workflow { return Workflow{table: steps} }

// Step is a row of the build.
type Step = run.Spec

// OnHost is the scope of steps that run on a hypervisor.
const OnHost = run.Placed

// Table is the build's rows in order, for what derives from them: docs/build-steps.md, the fault matrix, a server's teardown.
func Table() []Step { return steps.Specs() }

// BootServer builds one server. It answers the submit update as soon as the submission is accepted or refused, builds,
// and gives everything back if it cannot finish. A delete that arrives at any moment cancels the build, undoes it and
// removes the server. What a lost host still holds goes to a clean-up of its own, which waits for the host.
func (w Workflow) BootServer(ctx workflow.Context, in contract.BootInput) error {
	version := run.Version(ctx, TableVersion, w.table.Specs())
	about := server.Subject{
		ServerID: in.ServerID, ProjectID: in.ProjectID, RequestID: in.RequestID, Name: in.Name, Deadlines: in.Deadlines,
	}
	b := &build{in: in, ports: make([]contract.Port, len(in.Networks))}
	frame := b.frame(about)
	b.deletion = teardown.Workflow{Rows: w.table.Specs(), Version: TableVersion}.Follows(ctx, &frame, in.RequestID)
	b.run = run.New(ctx, frame)
	if err := about.Serve(ctx, b.run); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, b.submitted); err != nil {
		return err
	}
	table := w.table.At(version)
	if in.Reserved {
		// The reservation took what the admission takes.
		b.run.Accept()
		table.TakenBefore(b.run, b)
	}
	return run.Drive(ctx, b.run, table, b)
}

// build is the state of one build.
type build struct {
	in  contract.BootInput
	run *run.Run

	// What the steps found out.
	image contract.ResolvedImage
	host  contract.HostSelection
	ports []contract.Port

	grown      contract.InjectedData // of BuildDisk
	injected   contract.InjectedData
	vendorData contract.DynamicVendorData

	deletion *teardown.Asked
}

// submitted answers a submission. Another with the same idempotency key waits for this build from then on.
func (b *build) submitted(ctx workflow.Context, s contract.Submission) error {
	b.in.Extend(s)
	return b.run.Submitted(ctx)
}

func (b *build) frame(about server.Subject) run.Frame {
	f := about.Frame(scheduling)
	f.Limits.Tries = b.in.MaxHosts
	f.Chosen = func(ctx workflow.Context, hostname string) string {
		_ = workflow.UpsertTypedSearchAttributes(ctx, attributes.Host.ValueSet(hostname), attributes.Phase.ValueSet(spawning))
		return spawning
	}
	f.Waits = b.waitForRoom
	f.Stands = b.stands
	f.Left = b.blame
	f.Finished = func(ctx workflow.Context) { b.run.Show(ctx, attributes.PhaseActive) }
	f.Explain = b.explain
	return f
}

// How often a build that waits for room looks again: at first, within the hour, and at least, where it may wait for days.
const (
	firstLook = 2 * time.Second
	laterLook = 30 * time.Second
	everyLook = 10 * time.Minute
)

// waitForRoom pauses a build that found no host, where the configuration lets it wait, and says whether to look again.
func (b *build) waitForRoom(ctx workflow.Context, line *run.Line, f *fault.Error) bool {
	waited := workflow.Now(ctx).Sub(b.run.Began())
	if f.Kind != fault.NoValidHost || waited >= b.in.Deadlines.Capacity {
		return false
	}
	// The pause grows with what was waited. One line of the progress tells of all the looks.
	pause := min(max(firstLook, waited/2), max(laterLook, waited/100), everyLook, b.in.Deadlines.Capacity-waited)
	line.State, line.Detail, line.Finished = run.Running, "Waiting for a host with room.", nil
	if workflow.Sleep(ctx, pause) != nil {
		now := workflow.Now(ctx)
		line.State, line.Detail, line.Finished = run.Failed, "", &now
		line.Error = f.Text + " The wait for a host with room was cancelled."
		return false
	}
	return true
}

// stands asks whether another run has built the server, as when the engine was restored from before the end of this build: then
// it is its user's, and this one takes nothing of it away. What this run itself may have made active it gives back.
func (b *build) stands(ctx workflow.Context) bool {
	begun := slices.ContainsFunc(b.run.Lines(), func(l *run.Line) bool { return l.Row == contract.Activate })
	if begun || b.deletion.Came() || workflow.GetVersion(ctx, "ask before giving back", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return false
	}
	var stands bool
	// It is asked until it is answered, as an undo is done until it is.
	ctx = workflow.WithActivityOptions(ctx, run.UndoOptions(b.in.ServerID, "", ""))
	err := workflow.ExecuteActivity(ctx, contract.ServerStands, contract.ServerStandsInput{ServerID: b.in.ServerID}).Get(ctx, &stands)
	return err != nil || stands
}

// blame counts a failure against its host.
func (b *build) blame(ctx workflow.Context, left run.Attempt) {
	if left.Fault.Blameless || workflow.GetVersion(ctx, "count a host's failures", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return
	}
	server.Blame(ctx, b.in.ServerID, left)
}

// explain makes the build's one failure: the first error, whole, with what happened on each host that was tried. last is
// nil when the allowed number of hosts has failed.
func (b *build) explain(last *fault.Error) *fault.Error {
	if at := b.run.StuckAt(); at != "" {
		last = fault.Wrap(fault.Unavailable, last, "The build did not end within %s; it was at %s.", b.in.Deadlines.Build, at)
	}
	return server.Explain(b.run.Tried(), last)
}
