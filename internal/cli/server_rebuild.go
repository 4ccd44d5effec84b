package cli

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverRebuild() *cobra.Command {
	var image, name, hostname, description, keyName, userData, adminPass string
	var properties []string
	var noKey, noUserData bool
	var waiting patience
	cmd := &cobra.Command{
		Use:   "rebuild REF",
		Short: "Make a server anew of an image",
		Long: `Make a server anew of an image: it keeps its id, its host and its addresses, and all its disks are made anew. Without --image it is
the image that it has. What no flag names stays as it is; --property replaces all metadata. The old disks are kept until the new
guest runs: where that fails, the old guest runs again. A server that is stopped stays so.`,
		Example: "  slipway server rebuild web --image debian-13 --wait\n  slipway server rebuild web --key-name laptop --user-data cloud-init.yaml\n" +
			"  slipway server rebuild web --no-key-name --property role=web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{}
			for _, f := range []struct{ flag, field, value string }{
				{"name", "name", name}, {"hostname", "hostname", hostname}, {"description", "description", description},
				{"key-name", "key_name", keyName}, {"password", "adminPass", adminPass},
			} {
				if cmd.Flags().Changed(f.flag) {
					fields[f.field] = f.value
				}
			}
			if noKey {
				fields["key_name"] = nil
			}
			if noUserData {
				fields["user_data"] = nil
			}
			if userData != "" {
				data, err := readInput(cmd, userData)
				if err != nil {
					return session.Doing(err, "read the user data")
				}
				fields["user_data"] = base64.StdEncoding.EncodeToString(data)
			}
			if len(properties) > 0 {
				metadata, err := pairs("property", properties)
				if err != nil {
					return err
				}
				fields["metadata"] = metadata
			}
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			of, _ := server["image"].(show.Object)
			if image != "" {
				if of, err = imageKind.find(ctx, s, image); err != nil {
					return err
				}
			}
			fields["imageRef"] = of["id"]
			return c.ofEach(ctx, cmd, s, args, waiting, request{
				verb: "rebuild", asked: "asked server %s (%s) to rebuild", done: "rebuilt",
				of: func(id string) session.Request {
					return ofServer(http.MethodPost, id, show.Object{"rebuild": fields}, "action")
				},
				answered: func(answer show.Object) {
					if password := show.Text(answer, "server", "adminPass"); password != "" && adminPass == "" {
						c.say(cmd, "its password is %s", password)
					}
				},
				await: func(ctx context.Context, server show.Object, requestID string) error {
					return c.waitDone(ctx, s, server, "rebuild", requestID)
				},
			})
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&image, "image", "", "image, by name or id (the server's)")
	flags.StringVar(&name, "name", "", "new name")
	flags.StringVar(&hostname, "hostname", "", "new hostname")
	flags.StringVar(&description, "description", "", "new description")
	flags.StringVar(&keyName, "key-name", "", "key pair whose public key the guest gets")
	flags.BoolVar(&noKey, "no-key-name", false, "give the guest no key")
	flags.StringVar(&userData, "user-data", "", "file with user data for the guest, - for standard input")
	flags.BoolVar(&noUserData, "no-user-data", false, "give the guest no user data")
	flags.StringVar(&adminPass, "password", "", "admin password of the guest (one is made up)")
	flags.StringArrayVar(&properties, "property", nil, "metadata key=value, instead of all that there is (repeat)")
	cmd.MarkFlagsMutuallyExclusive("key-name", "no-key-name")
	cmd.MarkFlagsMutuallyExclusive("user-data", "no-user-data")
	c.completeFlag(cmd, "image", imageKind)
	c.completeFlag(cmd, "key-name", keypairKind)
	waiting.flags(cmd, "wait until the new guest runs", "the rebuild goes on")
	return cmd
}
