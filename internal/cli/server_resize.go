package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverResize() *cobra.Command {
	var flavor string
	var waiting patience
	cmd := &cobra.Command{
		Use:   "resize REF --flavor F",
		Short: "Give a server another flavor",
		Long: `Give a server another flavor: it is shut down, and starts again with the flavor's vCPUs and memory and with its disks grown, on its host or,
where that has not the room, on another. Disks only grow. The server is in VERIFY_RESIZE then, with the old guest and its room kept: "slipway server resize confirm" gives that up, and
"slipway server resize revert" makes the server what it was when it was shut down. A server that is stopped stays so.`,
		Example:           "  slipway server resize web --flavor m1.large --wait\n  slipway server resize confirm web\n  slipway server resize revert web --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			of, err := flavorKind.find(ctx, s, flavor)
			if err != nil {
				return err
			}
			return c.askOfServers(ctx, cmd, s, args, waiting, serverAsk{
				verb: "resize", asks: "resize", done: "resized", moves: true, body: show.Object{"resize": show.Object{"flavorRef": of["id"]}},
			})
		}),
	}
	cmd.Flags().StringVar(&flavor, "flavor", "", "flavor, by name or id (required)")
	_ = cmd.MarkFlagRequired("flavor")
	c.completeFlag(cmd, "flavor", flavorKind)
	waiting.flags(cmd, "wait until the server waits to be confirmed", "the resize goes on")
	cmd.AddCommand(
		c.serverResizeEnd("confirm", "confirmResize", "confirmed the resize of", "Keep servers as they were resized",
			"Keep servers as they were resized: what they were before is removed, and its room given back."),
		c.serverResizeEnd("revert", "revertResize", "reverted the resize of", "Make servers what they were before they were resized",
			"Make servers what they were before they were resized: with the flavor and the disks of then. What was written since is lost."),
	)
	return cmd
}

func (c *client) serverResizeEnd(verb, action, done, short, long string) *cobra.Command {
	var waiting patience
	cmd := &cobra.Command{
		Use: verb + " REF...", Short: short, Long: long + " If one of several cannot be found, nothing is done.",
		Example:           "  slipway server resize " + verb + " web --wait",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			return c.askOfServers(ctx, cmd, s, args, waiting, serverAsk{
				verb: "resize " + verb, asks: verb + " its resize", done: done, moves: verb == "revert", body: show.Object{action: nil},
			})
		}),
	}
	waiting.flags(cmd, "wait until it is done", "the action goes on")
	return cmd
}

func (c *client) serverMigrate() *cobra.Command {
	var host string
	var waiting patience
	cmd := &cobra.Command{
		Use:   "migrate REF",
		Short: "Move a server to another host (admin)",
		Long: `Move a server to another host: it is shut down, its disks travel there, and it starts again with the addresses that it has. It is in
VERIFY_RESIZE then, with the old guest and its room kept where it was: "slipway server resize confirm" gives that up, and
"slipway server resize revert" starts the old guest again. "slipway server show" tells how far the disks are. This needs the admin role.`,
		Example:           "  slipway server migrate web --wait\n  slipway server migrate web --host hv2\n  slipway server resize confirm web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			var says any
			if host != "" {
				says = show.Object{"host": host}
			}
			return c.askOfServers(ctx, cmd, s, args, waiting, serverAsk{
				verb: "migrate", asks: "migrate", done: "migrated", moves: true, body: show.Object{"migrate": says},
			})
		}),
	}
	cmd.Flags().StringVar(&host, "host", "", "host, by its name (any)")
	waiting.flags(cmd, "wait until the server waits to be confirmed", "the move goes on")
	return cmd
}

// serverAsk is an action of the API with what is said to it.
type serverAsk struct {
	verb, asks, done string
	moves            bool // maybe to another host
	body             show.Object
}

func (c *client) askOfServers(ctx context.Context, cmd *cobra.Command, s *session.Session, refs []string, p patience, a serverAsk) error {
	return c.ofEach(ctx, cmd, s, refs, p, request{
		verb: a.verb, asked: "asked server %s (%s) to " + a.asks, done: a.done, moves: a.moves,
		of: func(id string) session.Request { return ofServer(http.MethodPost, id, a.body, "action") },
		await: func(ctx context.Context, server show.Object, requestID string) error {
			return c.waitDone(ctx, s, server, a.verb, requestID)
		},
	})
}
