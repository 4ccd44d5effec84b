package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageDeactivate() *cobra.Command {
	return c.imageAction("deactivate", "deactivated", "Forbid the use of images for now",
		"Deactivate images: nobody but an admin downloads them or builds servers from them until they are reactivated. Servers\nthat were built from them are left alone.")
}

func (c *client) imageReactivate() *cobra.Command {
	return c.imageAction("reactivate", "reactivated", "Allow the use of deactivated images again",
		"Reactivate images that were deactivated.")
}

func (c *client) imageAction(action, done, short, long string) *cobra.Command {
	return &cobra.Command{
		Use:               action + " IMAGE...",
		Short:             short,
		Long:              long + " If one of several cannot be found, nothing is done.",
		Example:           "  slipway image " + action + " debian-11",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(imageKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			images, err := imageKind.findAll(ctx, s, args)
			if err != nil {
				return err
			}
			for _, image := range images {
				if err := actOnImage(ctx, s, image, action); err != nil {
					return err
				}
				c.say(cmd, "%s image %s", done, imageKind.layout.Label(image))
			}
			return nil
		}),
	}
}

func actOnImage(ctx context.Context, s *session.Session, image show.Object, action string) error {
	_, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodPost, Path: imageKind.item(show.Text(image, "id"), "actions", action)})
	return session.Doing(err, "%s the image %q", action, imageKind.layout.Label(image))
}

func (c *client) imageDelete() *cobra.Command {
	var store string
	cmd := c.deleteCommand(imageKind, "  slipway image delete debian-11 debian-10\n  slipway image delete debian-12 --store ceph")
	whole := cmd.RunE
	cmd.Long += " A protected one is\nrefused. With --store only its bytes in that store are removed; the last store of an image is not."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if store == "" {
			return whole(cmd, args)
		}
		return c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			images, err := imageKind.findAll(ctx, s, args)
			if err != nil {
				return err
			}
			for _, image := range images {
				_, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodDelete,
					Path: fmt.Sprintf("stores/%s/%s", url.PathEscape(store), url.PathEscape(show.Text(image, "id")))})
				if err != nil {
					failure := session.Explain(session.Doing(err, "delete the image %q from the store %q", imageKind.layout.Label(image), store))
					if show.Text(image, "stores") == store {
						failure.Hints = []string{"it lies nowhere else: slipway image delete " + show.Text(image, "id") + " deletes it whole"}
					}
					return failure
				}
				c.say(cmd, "deleted image %s from store %s", imageKind.layout.Label(image), store)
			}
			return nil
		})(cmd, args)
	}
	cmd.Flags().StringVar(&store, "store", "", "only its bytes in this store")
	c.completeStores(cmd, "store")
	return cmd
}
