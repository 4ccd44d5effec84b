package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The start of a server that was stopped.
var startSteps = table(
	host(contract.StartDomain, 2*time.Minute, startDomain).
		GivenBackBy(contract.PowerOffDomain),
)

// StartServer starts a guest that is off.
func (w Actions) StartServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, startSteps)
}

func startDomain(a *action, _ int) (contract.StartDomainInput, func(run.None)) {
	return contract.StartDomainInput{ServerID: a.in.ServerID}, nil
}
