// Package console reads the serial console of a server.
package console

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Patience bounds a console read: the user is waiting.
const Patience = 10 * time.Second

// ReadConsole asks a server's host for the end of its serial console. It is a workflow because the control plane reaches
// hosts through Temporal only: a hypervisor listens on nothing.
func ReadConsole(ctx workflow.Context, in contract.ConsoleInput) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.HostQueue(in.Hostname),
		ScheduleToCloseTimeout: Patience,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 3},
	})
	var text string
	err := workflow.ExecuteActivity(ctx, contract.ReadConsole, in).Get(ctx, &text)
	return text, err
}
