package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverShelve() *cobra.Command {
	var offload bool
	var waiting patience
	cmd := &cobra.Command{
		Use:   "shelve REF...",
		Short: "Shut servers down and keep only an image of each",
		Long: `Shut servers down and make an image of each one's disk, named after the server. The guest leaves its host with its disks when
build.shelved_offload_time has passed, which is at once where nothing else is set. The server keeps its id, ports, addresses and quota;
what its ephemeral and swap disks held is lost. "slipway server unshelve" has it run again. With --offload servers that are shelved
already leave their hosts now, which needs the admin role. If one of several cannot be found, nothing is done.`,
		Example:           "  slipway server shelve web --wait\n  slipway server shelve web --offload\n  slipway server unshelve web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			a := serverAsk{verb: "shelve", asks: "be shelved", done: "shelved", body: show.Object{"shelve": nil}}
			if offload {
				a = serverAsk{verb: "shelve --offload", asks: "leave its host", done: "offloaded", body: show.Object{"shelveOffload": nil}}
			}
			return c.askOfServers(ctx, cmd, s, args, waiting, a)
		}),
	}
	cmd.Flags().BoolVar(&offload, "offload", false, "have servers that are shelved leave their hosts (admin)")
	waiting.flags(cmd, "wait until it is done", "the action goes on")
	return cmd
}

func (c *client) serverUnshelve() *cobra.Command {
	var zone, host string
	var anyZone bool
	var waiting patience
	cmd := &cobra.Command{
		Use:   "unshelve REF...",
		Short: "Have shelved servers run again",
		Long: `Have shelved servers run again: where they are, or, where they have left their hosts, on hosts that are chosen anew, of the images
that were made of them. Those images are deleted then. If one of several cannot be found, nothing is done.`,
		Example: "  slipway server unshelve web --wait\n  slipway server unshelve web --availability-zone az2\n" +
			"  slipway server unshelve web --host hv2",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			to := show.Object{}
			if zone != "" {
				to["availability_zone"] = zone
			}
			if anyZone {
				to["availability_zone"] = nil
			}
			if host != "" {
				to["host"] = host
			}
			var says any
			if len(to) > 0 {
				says = to
			}
			return c.askOfServers(ctx, cmd, s, args, waiting, serverAsk{
				verb: "unshelve", asks: "run again", done: "unshelved", body: show.Object{"unshelve": says},
			})
		}),
	}
	cmd.Flags().StringVar(&zone, "availability-zone", "", "availability zone that they are in from now on (the one that was asked for before)")
	cmd.Flags().BoolVar(&anyZone, "no-availability-zone", false, "in any availability zone from now on")
	cmd.Flags().StringVar(&host, "host", "", "host, by its name (any); this needs the admin role")
	cmd.MarkFlagsMutuallyExclusive("availability-zone", "no-availability-zone")
	waiting.flags(cmd, "wait until they run", "the action goes on")
	return cmd
}
