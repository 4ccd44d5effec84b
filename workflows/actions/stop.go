package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The delete of a server that is deferred, whatever its guest was doing.
var softDeleteSteps = table(
	host(contract.StopDomain, 15*time.Minute, stopDomain).
		GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
)

// The stop of a server.
var stopSteps = table(
	host(contract.StopDomain, 15*time.Minute, stopDomain).
		GivenBackBy(contract.PowerOnDomain), // a server that is shown as running runs
)

// StopServer shuts a guest down; the server keeps its host, its disks and its addresses.
func (w Actions) StopServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, stopSteps)
}

// SoftDeleteServer shuts a guest down that may be started again, or goes when its time is over.
func (w Actions) SoftDeleteServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, softDeleteSteps)
}

func stopDomain(a *action, _ int) (contract.StopDomainInput, func(run.None)) {
	return contract.StopDomainInput{ServerID: a.in.ServerID, Timeout: a.begun.ShutdownTimeout}, nil
}
