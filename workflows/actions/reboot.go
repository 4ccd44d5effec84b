package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The reboots of a server: by its guest's own shutdown, and without asking it.
var (
	softRebootSteps = table(
		host(contract.StopDomain, 15*time.Minute, stopDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),

		host(contract.StartDomain, 2*time.Minute, startDomain).
			TakesNothing("the guest runs, as it did"),
	)
	hardRebootSteps = table(
		host(contract.RemakeDomain, 5*time.Minute, remakeDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),

		host(contract.StartDomain, 2*time.Minute, startDomain).
			TakesNothing("the guest is put back with its domain"),
	)
)

// SoftRebootServer has a guest shut down and starts it again.
func (w Actions) SoftRebootServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, softRebootSteps)
}

// HardRebootServer makes a guest's domain anew, whatever the guest does, and starts it.
func (w Actions) HardRebootServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, hardRebootSteps)
}

func remakeDomain(a *action, _ int) (contract.RemakeDomainInput, func(run.None)) {
	return contract.RemakeDomainInput{ServerID: a.in.ServerID}, nil
}
