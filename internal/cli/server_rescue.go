package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverRescue() *cobra.Command {
	var image, adminPass string
	var waiting patience
	cmd := &cobra.Command{
		Use:   "rescue REF",
		Short: "Boot a server of another disk, to mend its own",
		Long: `Boot a server of a disk of another image, or of its own anew, to mend what is wrong with its root disk, which is the second one
meanwhile. By an image with hw_rescue_device or hw_rescue_bus the server keeps all its disks, and the rescue disk is the last one.
"slipway server unrescue" boots it of its own again. The API makes a password for the guest that rescues, and tells it once.`,
		Example:           "  slipway server rescue web --wait\n  slipway server rescue web --image rescue-cd --password secret",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{}
			if image != "" {
				of, err := imageKind.find(ctx, s, image)
				if err != nil {
					return err
				}
				fields["rescue_image_ref"] = of["id"]
			}
			if cmd.Flags().Changed("password") {
				fields["adminPass"] = adminPass
			}
			return c.ofEach(ctx, cmd, s, args, waiting, request{
				verb: "rescue", asked: "asked server %s (%s) to rescue", done: "rescued",
				of: func(id string) session.Request {
					return ofServer(http.MethodPost, id, show.Object{"rescue": fields}, "action")
				},
				answered: func(answer show.Object) {
					if adminPass == "" {
						c.say(cmd, "its password is %s", show.Text(answer, "adminPass"))
					}
				},
				await: func(ctx context.Context, server show.Object, requestID string) error {
					return c.waitDone(ctx, s, server, "rescue", requestID)
				},
			})
		}),
	}
	cmd.Flags().StringVar(&image, "image", "", "image of the rescue disk, by name or id (the server's own)")
	cmd.Flags().StringVar(&adminPass, "password", "", "admin password of the guest that rescues (one is made up)")
	c.completeFlag(cmd, "image", imageKind)
	waiting.flags(cmd, "wait until the guest that rescues runs", "the rescue goes on")
	return cmd
}
