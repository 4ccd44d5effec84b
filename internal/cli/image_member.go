package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var imageMemberLayout = show.Layout{ID: "member_id", Name: "member_id", List: []show.Column{
	show.Col("PROJECT", "member_id"), show.Col("STATUS", "status"), show.Col("IMAGE", "image_id"), show.Col("CREATED", "created_at").OnlyWide(), show.Col("UPDATED", "updated_at").OnlyWide(),
}, Show: []show.Column{
	show.Col("PROJECT", "member_id"), show.Col("STATUS", "status"), show.Col("IMAGE", "image_id"), show.Col("CREATED", "created_at"), show.Col("UPDATED", "updated_at"),
}}

func (c *client) imageMemberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "member",
		Aliases: []string{"members"},
		Short:   "Share images with other projects, and accept what others share",
		Long: `An image with the visibility "shared" can be given to other projects. Who is given one may use it by its id at once; in the
project's list it stands when the project has accepted it.`,
		Example: "  slipway image set debian-12 --shared\n  slipway image member add debian-12 other-project\n  slipway image member accept 4f5b8e64-8c11-4b6f-9a94-5f1b2c3d4e5f",
	}
	cmd.AddCommand(c.imageMemberList(), c.imageMemberShow(), c.imageMemberAdd(), c.imageMemberRemove(),
		c.imageMemberAnswer("accept", "accepted", "Take an image that another project shares into the list"),
		c.imageMemberAnswer("reject", "rejected", "Leave an image that another project shares out of the list"),
		c.imageMemberAnswer("pending", "pending", "Take the answer to a shared image back"))
	return cmd
}

func memberPath(image show.Object, project string) string {
	return imageKind.item(show.Text(image, "id"), "members", url.PathEscape(project))
}

func imageMembers(ctx context.Context, s *session.Session, image show.Object) ([]show.Object, error) {
	return s.Pages(ctx, session.Request{Service: "image", Path: imageKind.item(show.Text(image, "id"), "members")}, "members")
}

func (c *client) imageMemberList() *cobra.Command {
	return &cobra.Command{
		Use:               "list IMAGE",
		Aliases:           []string{"ls"},
		Short:             "List the projects that an image is shared with",
		Example:           "  slipway image member list debian-12",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			members, err := imageMembers(ctx, s, image)
			if err != nil {
				return session.Doing(err, "list the members of the image %q", args[0])
			}
			return c.output.Many(cmd.OutOrStdout(), &imageMemberLayout, members)
		}),
	}
}

func (c *client) imageMemberShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show IMAGE PROJECT",
		Short:             "Show what a project answered to a shared image",
		Example:           "  slipway image member show debian-12 other-project",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.completeBelow(imageMembers, 2),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			image, project, err := imageAndProject(ctx, s, args[0], args[1])
			if err != nil {
				return err
			}
			member, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodGet, Path: memberPath(image, project)})
			if err != nil {
				return session.Doing(err, "show the member %q of the image %q", args[1], args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &imageMemberLayout, member)
		}),
	}
}

func imageAndProject(ctx context.Context, s *session.Session, image, project string) (show.Object, string, error) {
	found, err := imageKind.find(ctx, s, image)
	if err != nil {
		return nil, "", err
	}
	id, err := projectID(ctx, s, project)
	return found, id, err
}

func (c *client) imageMemberAdd() *cobra.Command {
	return &cobra.Command{
		Use:               "add IMAGE PROJECT...",
		Short:             "Share an image with projects",
		Long:              "Share an image with projects, by name or id. Its visibility has to be shared. They see it in their lists when they\naccept it.",
		Example:           "  slipway image member add debian-12 other-project\n  slipway image member add debian-12 9d2c0f1e8a7b4c6d9e0f112233445566",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.eachMember(func(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, project string) error {
			_, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodPost, Path: imageKind.item(show.Text(image, "id"), "members"), Body: show.Object{"member": project}})
			if err != nil {
				failure := session.Explain(session.Doing(err, "share the image %q with the project %s", imageKind.layout.Label(image), project))
				if visibility := show.Text(image, "visibility"); session.IsStatus(err, http.StatusForbidden) && visibility != "shared" {
					failure.Hints = []string{"it is " + visibility + ": slipway image set " + show.Text(image, "id") + " --shared"}
				}
				return failure
			}
			c.say(cmd, "shared image %s with project %s, which can accept it: slipway image member accept %s", imageKind.layout.Label(image), project, show.Text(image, "id"))
			return nil
		}),
	}
}

func (c *client) imageMemberRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove IMAGE PROJECT...",
		Aliases:           []string{"delete", "rm"},
		Short:             "Share an image with projects no longer",
		Example:           "  slipway image member remove debian-12 other-project",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: c.completeBelow(imageMembers, maxArgs),
		RunE: c.eachMember(func(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, project string) error {
			_, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodDelete, Path: memberPath(image, project)})
			if err != nil {
				return session.Doing(err, "share the image %q with the project %s no longer", imageKind.layout.Label(image), project)
			}
			c.say(cmd, "image %s is shared with project %s no longer", imageKind.layout.Label(image), project)
			return nil
		}),
	}
}

// maxArgs is more than any command line has.
const maxArgs = 1 << 20

// eachMember is a verb that does something with an image and each of the projects named after it. All are found first.
func (c *client) eachMember(do func(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, project string) error) func(*cobra.Command, []string) error {
	return c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
		image, err := imageKind.find(ctx, s, args[0])
		if err != nil {
			return err
		}
		projects := make([]string, len(args)-1)
		for i, ref := range args[1:] {
			if projects[i], err = projectID(ctx, s, ref); err != nil {
				return err
			}
		}
		for _, project := range projects {
			if err := do(ctx, cmd, s, image, project); err != nil {
				return err
			}
		}
		return nil
	})
}

// imageMemberAnswer is what a project says to an image that is shared with it.
func (c *client) imageMemberAnswer(verb, status, short string) *cobra.Command {
	var project string
	cmd := &cobra.Command{
		Use:     verb + " IMAGE",
		Short:   short,
		Long:    short + ".\n\nslipway image list --shared --member-status pending shows those that wait for an answer.",
		Example: "  slipway image member " + verb + " 4f5b8e64-8c11-4b6f-9a94-5f1b2c3d4e5f",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			id := ""
			if project == "" {
				id, err = ownProject(s)
			} else {
				id, err = projectID(ctx, s, project)
			}
			if err != nil {
				return err
			}
			return c.answerMember(ctx, cmd, s, image, id, status)
		}),
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			shared, err := imageKind.list(ctx, s, url.Values{"visibility": {"shared"}, "member_status": {"all"}})
			return completionsOf(imageKind, shared, nil, prefix), err
		})
	}
	cmd.Flags().StringVar(&project, "project", "", "the project that answers (default: that of the token; others for an admin)")
	return cmd
}

func (c *client) answerMember(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, project, status string) error {
	member, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodPut, Path: memberPath(image, project), Body: show.Object{"status": status}})
	if err != nil {
		failure := session.Explain(session.Doing(err, "set the membership of project %s in the image %q to %s", project, imageKind.layout.Label(image), status))
		if session.IsStatus(err, http.StatusNotFound) {
			failure.Hints = []string{"the image is not shared with this project: its owner adds it with `slipway image member add`"}
		}
		return failure
	}
	return c.output.One(cmd.OutOrStdout(), &imageMemberLayout, member)
}
