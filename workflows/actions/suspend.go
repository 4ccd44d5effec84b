package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// memoryTimeout is how long a host may take to write or read all of a guest's memory.
const memoryTimeout = 30 * time.Minute

// The suspension of a server to its host's disk, and its end.
var (
	suspendSteps = table(
		host(contract.SaveDomain, memoryTimeout, saveDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
	)
	resumeSteps = table(
		host(contract.StartDomain, memoryTimeout, startDomain).
			GivenBackBy(contract.PutBackGuest).GivenBackWith(putBack),
	)
)

// SuspendServer puts a guest's memory away and ends it.
func (w Actions) SuspendServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, suspendSteps)
}

// ResumeServer starts the guest from there.
func (w Actions) ResumeServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, resumeSteps)
}

func saveDomain(a *action, _ int) (contract.SaveDomainInput, func(run.None)) {
	return contract.SaveDomainInput{ServerID: a.in.ServerID}, nil
}
