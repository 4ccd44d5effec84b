package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverAdopt() *cobra.Command {
	var on string
	cmd := &cobra.Command{
		Use:   "adopt ID --host HOST",
		Short: "Make a guest that the database has forgotten a server again (admin)",
		Long: `Make a guest that lies on a host, and that the database does not know, a server again: after the database was restored from
before the server was made. "slipway audit" lists such guests. The guest is not touched; one that runs goes on running. The
server has its id, owner, size and addresses as when it was built: what was changed since (metadata, tags) is lost. Nothing
is done where something that it needs is gone or taken: its project, its owner, its image, its network, its addresses.`,
		Example: "  slipway server adopt 7d3f1c7e-6f0e-4c53-a5a7-0f5f2a3e9d11 --host hv1",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			host, err := hostKind.find(ctx, s, on)
			if err != nil {
				return err
			}
			if _, _, err = s.Call(ctx, session.Request{
				Service: "hosts", Method: http.MethodPost, Path: hostKind.item(show.Text(host, "id"), "adopt"), Body: show.Object{"server_id": args[0]},
			}); err != nil {
				return session.Doing(err, "adopt the guest %s on host %q", args[0], show.Text(host, "hostname"))
			}
			server, err := serverKind.get(ctx, s, args[0])
			if err != nil {
				return session.Doing(err, "show the server %q, which was adopted", args[0])
			}
			c.say(cmd, "adopted server %s (%s)", show.Text(server, "name"), show.Text(server, "id"))
			return c.output.One(cmd.OutOrStdout(), &serverKind.layout, server)
		}),
	}
	cmd.Flags().StringVar(&on, "host", "", "the host on which the guest lies")
	_ = cmd.MarkFlagRequired("host")
	c.completeFlag(cmd, "host", hostKind)
	return cmd
}
