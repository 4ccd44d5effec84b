package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The pause of a server, and its end.
var (
	pauseSteps = table(
		host(contract.PauseDomain, time.Minute, pauseDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
	)
	unpauseSteps = table(
		host(contract.UnpauseDomain, time.Minute, unpauseDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
	)
)

// PauseServer stops a guest's processors.
func (w Actions) PauseServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, pauseSteps)
}

// UnpauseServer lets them go on.
func (w Actions) UnpauseServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, unpauseSteps)
}

func pauseDomain(a *action, _ int) (contract.PauseDomainInput, func(run.None)) {
	return contract.PauseDomainInput{ServerID: a.in.ServerID}, nil
}

func unpauseDomain(a *action, _ int) (contract.UnpauseDomainInput, func(run.None)) {
	return contract.UnpauseDomainInput{ServerID: a.in.ServerID}, nil
}
