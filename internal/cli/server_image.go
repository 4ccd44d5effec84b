package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverImage() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "Make images of servers",
		Long:    "Make images of servers. `slipway image` looks after them afterwards.",
		Example: "  slipway server image create web --name web-before-the-upgrade --wait",
	}
	cmd.AddCommand(c.serverImageCreate())
	return cmd
}

func (c *client) serverImageCreate() *cobra.Command {
	var name string
	var properties []string
	var waiting patience
	cmd := &cobra.Command{
		Use:   "create REF",
		Short: "Make an image of a server",
		Long: `Make an image of a server's root disk as it is at one moment. A guest that runs goes on meanwhile; it is quiet for that moment where
its image has hw_qemu_guest_agent and its agent answers. Deleting the image or the server while the image is made ends it.`,
		Example: "  slipway server image create web\n  slipway server image create web --name golden --property stage=tested --wait",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			fields, err := snapshotFields(server, name, properties)
			if err != nil {
				return err
			}
			return c.makeImage(ctx, cmd, s, args, waiting, "image", "createImage", fields)
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image (the server's)")
	cmd.Flags().StringArrayVar(&properties, "property", nil, "property key=value of the image (repeat)")
	waiting.flags(cmd, "wait until the image is active", "the image is made all the same")
	return cmd
}

func (c *client) serverBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "backup",
		Short:   "Make backups of servers",
		Long:    "Make backups of servers: images of which a server keeps as many as it is told.",
		Example: "  slipway server backup create web --type daily --rotate 7 --wait",
	}
	cmd.AddCommand(c.serverBackupCreate())
	return cmd
}

func (c *client) serverBackupCreate() *cobra.Command {
	var name, kind string
	var properties []string
	var rotate int
	var waiting patience
	cmd := &cobra.Command{
		Use:   "create REF",
		Short: "Make a backup of a server",
		Long: `Make a backup of a server: an image of its root disk, as "slipway server image create" makes one. Behind it the server's oldest
backups of the same type are deleted, until there are no more than --rotate says.`,
		Example: "  slipway server backup create web --wait\n  slipway server backup create web --type weekly --rotate 4 --name web-weekly",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			fields, err := snapshotFields(server, name, properties)
			if err != nil {
				return err
			}
			fields["backup_type"], fields["rotation"] = kind, rotate
			return c.makeImage(ctx, cmd, s, args, waiting, "backup", "createBackup", fields)
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image (the server's)")
	cmd.Flags().StringVar(&kind, "type", "daily", "type of the backup: a word of your own, among whose backups it takes its place")
	cmd.Flags().IntVar(&rotate, "rotate", 1, "how many backups of the type the server keeps")
	cmd.Flags().StringArrayVar(&properties, "property", nil, "property key=value of the image (repeat)")
	waiting.flags(cmd, "wait until the image is active", "the backup is made all the same")
	return cmd
}

// snapshotFields are what is said of an image that is made of a server.
func snapshotFields(server show.Object, name string, properties []string) (show.Object, error) {
	fields := show.Object{"name": name}
	if name == "" {
		fields["name"] = show.Text(server, "name")
	}
	if len(properties) == 0 {
		return fields, nil
	}
	metadata, err := pairs("property", properties)
	fields["metadata"] = metadata
	return fields, err
}

// makeImage asks for one, and follows it.
func (c *client) makeImage(ctx context.Context, cmd *cobra.Command, s *session.Session, refs []string, waiting patience, verb, action string, fields show.Object) error {
	var image string
	return c.ofEach(ctx, cmd, s, refs, waiting, request{
		verb: verb, asked: "asked server %s (%s) for its " + verb, done: "made the " + verb + " of",
		of: func(id string) session.Request {
			return ofServer(http.MethodPost, id, show.Object{action: fields}, "action")
		},
		answered: func(answer show.Object) {
			image = show.Text(answer, "image_id")
			c.say(cmd, "the image is %s (%s)", show.Text(fields, "name"), image)
		},
		await: func(ctx context.Context, server show.Object, requestID string) error {
			c.followImage(ctx, cmd, s, image)
			return c.waitDone(ctx, s, server, verb, requestID)
		},
	})
}

// stages say what is done while an image that is made of a server has a status.
var stages = map[string]string{"queued": "the disk is copied on its host", "saving": "the copy is stored"}

// followImage tells of an image's stages until it has passed them, or nobody knows it any more. How it ended its action tells.
func (c *client) followImage(ctx context.Context, cmd *cobra.Command, s *session.Session, id string) {
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	for last := ""; ; {
		now, err := imageKind.get(ctx, s, id)
		status := show.Text(now, "status")
		switch {
		case err != nil && !isTransient(err), err == nil && stages[status] == "":
			return
		case err == nil && status != last:
			c.say(cmd, "%s: %s", status, stages[status])
			last = status
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
