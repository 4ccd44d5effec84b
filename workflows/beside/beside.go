// Package beside asks a host for something, of a server's guest beside whatever holds the server's lock. Each question is a workflow because
// the control plane reaches hosts through Temporal only: a hypervisor does not listen for it.
package beside

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Patience bounds a question: the user is waiting.
const Patience = 10 * time.Second

// tries of what reads.
const tries = 3

// ReadConsole asks a server's host for the end of its serial console.
func ReadConsole(ctx workflow.Context, in contract.ConsoleInput) (text string, err error) {
	err = ask(ctx, in.Hostname, tries, contract.ReadConsole, in, &text)
	return text, err
}

// Diagnose asks it for what was counted of its guest.
func Diagnose(ctx workflow.Context, in contract.GuestInput) (found contract.Diagnostics, err error) {
	err = ask(ctx, in.Hostname, tries, contract.ReadDiagnostics, in, &found)
	return found, err
}

// TakeScreenshot asks it for a picture of its guest's screen.
func TakeScreenshot(ctx workflow.Context, in contract.GuestInput) (picture contract.Screenshot, err error) {
	err = ask(ctx, in.Hostname, tries, contract.ReadScreen, in, &picture)
	return picture, err
}

// TriggerCrashDump has it interrupt its guest, once: a guest that dumps its memory is not to be interrupted in that.
func TriggerCrashDump(ctx workflow.Context, in contract.GuestInput) error {
	return ask(ctx, in.Hostname, 1, contract.InjectNMI, in, nil)
}

// OpenConsole has it bring a console of the guest to a session of the API, once: what was brought twice would be two.
func OpenConsole(ctx workflow.Context, in contract.OpenConsoleInput) error {
	return ask(ctx, in.Hostname, 1, contract.OpenConsole, in, nil)
}

// DescribeNetwork asks a host for what switches its guests.
func DescribeNetwork(ctx workflow.Context, in contract.HostNetworkInput) (found contract.HostNetwork, err error) {
	err = ask(ctx, in.Hostname, tries, contract.DescribeNetwork, in, &found)
	return found, err
}

func ask(ctx workflow.Context, hostname string, tries int32, what string, in, out any) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.HostQueue(hostname),
		ScheduleToCloseTimeout: Patience,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: tries},
	})
	return workflow.ExecuteActivity(ctx, what, in).Get(ctx, out)
}
