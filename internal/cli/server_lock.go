package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverLock() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "lock REF...",
		Short:             "Keep servers from being changed and deleted",
		Long:              "Keep servers from being changed and deleted, by all but admins: actions, changes of metadata and deletes are refused until they\nare unlocked. If one of several cannot be found, nothing is done.",
		Example:           "  slipway server lock web --reason 'do not touch before March'",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			var said any
			if reason != "" {
				said = show.Object{"locked_reason": reason}
			}
			return c.ofEach(ctx, cmd, s, args, patience{}, request{
				verb: "lock", asked: "locked server %s (%s)",
				of: func(id string) session.Request {
					return ofServer(http.MethodPost, id, show.Object{"lock": said}, "action")
				},
			})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, shown to whoever sees the server")
	return cmd
}

func (c *client) serverUnlock() *cobra.Command {
	return &cobra.Command{
		Use:               "unlock REF...",
		Short:             "Let servers be changed and deleted again",
		Long:              "Let servers be changed and deleted again. What an admin of another project has locked, admins unlock.",
		Example:           "  slipway server unlock web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			return c.ofEach(ctx, cmd, s, args, patience{}, request{
				verb: "unlock", asked: "unlocked server %s (%s)",
				of: func(id string) session.Request {
					return ofServer(http.MethodPost, id, show.Object{"unlock": nil}, "action")
				},
			})
		}),
	}
}
