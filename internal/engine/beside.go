package engine

import (
	"context"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/beside"
)

// Console reads the end of a server's serial console from its host.
func (c *Client) Console(ctx context.Context, in contract.ConsoleInput) (text string, err error) {
	err = c.ask(ctx, ids.ConsoleWorkflow(in.ServerID, uuid.NewString()), "console of "+in.ServerID, contract.WorkflowConsole, in, &text)
	return text, faultOf(err, "The console could not be read: the server's host did not answer", again)
}

// Diagnostics reads what was counted of a server's guest from its host.
func (c *Client) Diagnostics(ctx context.Context, in contract.GuestInput) (found contract.Diagnostics, err error) {
	err = c.ask(ctx, ids.DiagnosticsWorkflow(in.ServerID, uuid.NewString()), "diagnostics of "+in.ServerID, contract.WorkflowDiagnose, in, &found)
	return found, faultOf(err, "The diagnostics could not be read: the server's host did not answer", again)
}

// Screenshot takes a picture of the screen of a server's guest.
func (c *Client) Screenshot(ctx context.Context, in contract.GuestInput) (picture contract.Screenshot, err error) {
	err = c.ask(ctx, ids.ScreenshotWorkflow(in.ServerID, uuid.NewString()), "screen of "+in.ServerID, contract.WorkflowTakeScreenshot, in, &picture)
	return picture, faultOf(err, "The screen could not be read: the server's host did not answer", again)
}

// TriggerCrashDump has a server's host interrupt its guest.
func (c *Client) TriggerCrashDump(ctx context.Context, in contract.GuestInput) error {
	err := c.ask(ctx, ids.CrashDumpWorkflow(in.ServerID, uuid.NewString()), "crash dump of "+in.ServerID, contract.WorkflowTriggerCrashDump, in, nil)
	return faultOf(err, "The guest was not seen to be interrupted: the server's host did not answer", "It may have been: look at its console before you ask again.")
}

// OpenConsole has a server's host bring a console of its guest to a session of the API.
func (c *Client) OpenConsole(ctx context.Context, in contract.OpenConsoleInput) error {
	err := c.ask(ctx, ids.OpenConsoleWorkflow(in.ServerID, uuid.NewString()), in.Type+" console of "+in.ServerID, contract.WorkflowOpenConsole, in, nil)
	return faultOf(err, "The console could not be opened: the server's host did not answer", again)
}

// HostNetwork asks a host for what switches its guests.
func (c *Client) HostNetwork(ctx context.Context, in contract.HostNetworkInput) (found contract.HostNetwork, err error) {
	err = c.ask(ctx, ids.HostNetworkWorkflow(in.Hostname, uuid.NewString()), "network of "+in.Hostname, contract.WorkflowDescribeNetwork, in, &found)
	return found, faultOf(err, "What switches the host's guests is not known: the host did not answer", again)
}

func (c *Client) ask(ctx context.Context, id, summary, workflow string, in, out any) error {
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: c.queue, WorkflowExecutionTimeout: 2 * beside.Patience, StaticSummary: summary,
	}, workflow, in)
	if err != nil {
		return err
	}
	return run.Get(ctx, out)
}
