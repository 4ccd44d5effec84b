package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
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

func stopDomain(a *action, _ int) (contract.StopDomainInput, func(run.None)) {
	return contract.StopDomainInput{ServerID: a.in.ServerID, Timeout: a.begun.ShutdownTimeout}, nil
}
