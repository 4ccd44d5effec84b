package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// orphanKind is Slipway's own resource at the root of the API (/image-orphans); only admins see it.
var orphanKind = &kind{
	noun: "orphan", service: "image-orphans", path: "image-orphans", plural: "orphans", singular: "orphan", name: "id", listHint: "slipway image orphans list",
	layout: show.Layout{ID: "id", Name: "id", List: []show.Column{
		show.Col("ID", "id"), show.Col("STORE", "store"), show.SizeColumn("SIZE", "bytes"), show.Col("FORMAT", "disk_format"), show.Col("SET ASIDE", "set_aside_at"), show.Col("DELETED", "deleted_at"),
	}},
}

func (c *client) imageOrphansCommand() *cobra.Command {
	list := c.orphanList()
	cmd := &cobra.Command{
		Use:     "orphans",
		Aliases: []string{"orphan"},
		Short:   "See, adopt and delete bytes in the stores that no image has (admin)",
		Long: `Bytes in an image store that belong to no image of this database may be another installation's, or newer than a database
that was restored. They are never deleted because they are not known: they are set aside, kept for images.quarantine (7
days), and deleted then unless somebody adopts them. Where a store holds more than a few at once, nothing of it is set
aside or deleted unless it is named here; so first see whether this is the right database, and the right store.

ID is the name in the store: the id of the image that the bytes were, with "-staged" behind it for bytes that were never
imported. Where several stores have it, --store names one.`,
		Example: "  slipway image orphans list\n  slipway image orphans adopt 5d0c1b3e-6f0e-4a53-9c0e-0a1b2c3d4e5f --name debian-12",
		Args:    cobra.NoArgs,
		RunE:    list.RunE,
	}
	cmd.AddCommand(list, c.orphanSetAside(), c.orphanAdopt(), c.orphanDelete())
	return cmd
}

func (c *client) orphanList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List them: since when they are set aside, and when they are deleted",
		Example: "  slipway image orphans list\n  slipway image orphans list -o json",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			orphans, err := orphanKind.list(ctx, s, nil)
			if err != nil {
				return session.Doing(err, "list the orphans")
			}
			return c.output.Many(cmd.OutOrStdout(), &orphanKind.layout, orphans)
		}),
	}
}

func (c *client) orphanSetAside() *cobra.Command {
	var store string
	cmd := &cobra.Command{
		Use:     "set-aside ID...",
		Short:   "Set them aside, however many there are: they are deleted after images.quarantine",
		Example: "  slipway image orphans set-aside 5d0c1b3e-6f0e-4a53-9c0e-0a1b2c3d4e5f",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, ids []string) error {
			for _, id := range ids {
				answer, _, err := s.Call(ctx, session.Request{Service: orphanKind.service, Method: http.MethodPost, Path: orphanKind.item(id, "set-aside"), Body: inStore(store)})
				if err != nil {
					return session.Doing(err, "set %q aside", id)
				}
				if until := show.Text(objectIn(answer, "orphan"), "deleted_at"); until != "" {
					c.say(cmd, "set %s aside until %s", id, until)
				} else {
					c.say(cmd, "set %s aside", id)
				}
			}
			return nil
		}),
	}
	c.bindOrphanStore(cmd, &store)
	return cmd
}

func (c *client) orphanAdopt() *cobra.Command {
	var store, name, project, format string
	cmd := &cobra.Command{
		Use:   "adopt ID",
		Short: "Make an image of them",
		Long: `Make an image of them, with the id that they have: an import reads them, judges them as an upload, and makes the image
active. What is refused stays set aside.`,
		Example: "  slipway image orphans adopt 5d0c1b3e-6f0e-4a53-9c0e-0a1b2c3d4e5f --name debian-12 --project demo",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			body := inStore(store)
			if project != "" {
				id, err := projectID(ctx, s, project)
				if err != nil {
					return err
				}
				body["project_id"] = id
			}
			for key, value := range map[string]string{"name": name, "disk_format": format} {
				if value != "" {
					body[key] = value
				}
			}
			answer, _, err := s.Call(ctx, session.Request{Service: orphanKind.service, Method: http.MethodPost, Path: orphanKind.item(args[0], "adopt"), Body: body})
			if err != nil {
				return session.Doing(err, "adopt %q", args[0])
			}
			c.say(cmd, "adopting it as image %s: slipway image task show %s", show.Text(objectIn(answer, "image"), "id"), show.Text(objectIn(answer, "image"), "id"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image")
	cmd.Flags().StringVar(&project, "project", "", "project that owns it, by name or id (default: yours)")
	cmd.Flags().StringVar(&format, "disk-format", "", "format of the disk (default: by the first bytes)")
	c.bindOrphanStore(cmd, &store)
	return cmd
}

func (c *client) orphanDelete() *cobra.Command {
	var store string
	cmd := &cobra.Command{
		Use:     "delete ID...",
		Aliases: []string{"rm"},
		Short:   "Delete them now",
		Example: "  slipway image orphans delete 5d0c1b3e-6f0e-4a53-9c0e-0a1b2c3d4e5f --store cold",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, ids []string) error {
			query := url.Values{}
			if store != "" {
				query.Set("store", store)
			}
			for _, id := range ids {
				if _, _, err := s.Call(ctx, session.Request{Service: orphanKind.service, Method: http.MethodDelete, Path: orphanKind.item(id), Query: query}); err != nil {
					return session.Doing(err, "delete the bytes of %q", id)
				}
				c.say(cmd, "deleted the bytes of %s", id)
			}
			return nil
		}),
	}
	c.bindOrphanStore(cmd, &store)
	return cmd
}

func inStore(store string) show.Object {
	if store == "" {
		return show.Object{}
	}
	return show.Object{"store": store}
}

func (c *client) bindOrphanStore(cmd *cobra.Command, store *string) {
	cmd.Flags().StringVar(store, "store", "", "store that has them, where several do")
	c.completeStores(cmd, "store")
}
