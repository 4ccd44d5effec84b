package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var imageTaskLayout = show.Layout{Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("TYPE", "type"), show.Computed("METHOD", methodOf), show.Col("STATUS", "status"), show.Col("MESSAGE", "message"),
	show.Col("CREATED", "created_at"), show.Col("UPDATED", "updated_at").OnlyWide(), show.Col("EXPIRES", "expires_at").OnlyWide(),
	show.Col("REQUEST", "request_id").OnlyWide(), show.Col("USER", "user_id").OnlyWide(), show.Col("OWNER", "owner").OnlyWide(),
}, Show: []show.Column{
	show.Col("ID", "id"), show.Col("TYPE", "type"), show.Computed("METHOD", methodOf), show.Col("STATUS", "status"), show.Col("MESSAGE", "message"),
	show.Col("IMAGE", "image_id"), show.Col("FROM", "input", "import_req", "method", "uri"), show.Col("STORES", "input", "backend"), show.Col("OWNER", "owner"), show.Col("USER", "user_id"),
	show.Col("REQUEST", "request_id"), show.Col("CREATED", "created_at"), show.Col("UPDATED", "updated_at"), show.Col("EXPIRES", "expires_at"),
}}

func methodOf(task show.Object) string {
	return show.Text(task, "input", "import_req", "method", "name")
}

func (c *client) imageTaskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "task",
		Aliases: []string{"tasks"},
		Short:   "See what imports of an image did",
		Long:    "See the tasks of an image: its imports, their states, and why they failed.",
		Example: "  slipway image task list debian-12\n  slipway image task show debian-12",
	}
	cmd.AddCommand(c.imageTaskList(), c.imageTaskShow())
	return cmd
}

// imageTasks reads the tasks of an image; known is false where the API has no such list.
func imageTasks(ctx context.Context, s *session.Session, id string) (tasks []show.Object, known bool, err error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodGet, Path: imageKind.item(id, "tasks")})
	switch {
	case session.IsStatus(err, http.StatusNotFound), session.IsStatus(err, http.StatusForbidden), session.IsStatus(err, http.StatusMethodNotAllowed):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return show.Objects(answer["tasks"]), true, nil
}

// newest is the task that was made last.
func newest(tasks []show.Object) show.Object {
	return slices.MaxFunc(tasks, func(a, b show.Object) int {
		return strings.Compare(show.Text(a, "created_at"), show.Text(b, "created_at"))
	})
}

// tasksOf finds an image and its tasks.
func tasksOf(ctx context.Context, s *session.Session, ref string) (image show.Object, tasks []show.Object, err error) {
	if image, err = imageKind.find(ctx, s, ref); err != nil {
		return nil, nil, err
	}
	tasks, known, err := imageTasks(ctx, s, show.Text(image, "id"))
	if err != nil {
		return nil, nil, session.Doing(err, "list the tasks of the image %q", ref)
	}
	if !known {
		return nil, nil, &show.Error{Code: show.ExitRefused, What: fmt.Sprintf("the API tells no tasks of the image %q", ref),
			Reason: "it is too old for that, or another role is needed", Hints: []string{"slipway image show " + show.Text(image, "id")}}
	}
	return image, tasks, nil
}

func (c *client) imageTaskList() *cobra.Command {
	return &cobra.Command{
		Use:               "list IMAGE",
		Aliases:           []string{"ls"},
		Short:             "List the tasks of an image",
		Example:           "  slipway image task list debian-12\n  slipway image task list debian-12 -o wide",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			_, tasks, err := tasksOf(ctx, s, args[0])
			if err != nil {
				return err
			}
			return c.output.Many(cmd.OutOrStdout(), &imageTaskLayout, tasks)
		}),
	}
}

func (c *client) imageTaskShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show IMAGE [TASK]",
		Short:             "Show a task of an image: the newest, or one by its id",
		Example:           "  slipway image task show debian-12\n  slipway image task show debian-12 8e1b3f5a-1c2d-4e5f-8a9b-0123456789ab -o json",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.completeBelow(taskIDs, 2),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			image, tasks, err := tasksOf(ctx, s, args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				tasks = slices.DeleteFunc(tasks, func(t show.Object) bool { return show.Text(t, "id") != args[1] })
			}
			if len(tasks) == 0 {
				return &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("the image %q has no such task", args[0]),
					Hints: []string{"slipway image task list " + show.Text(image, "id")}}
			}
			return c.output.One(cmd.OutOrStdout(), &imageTaskLayout, newest(tasks))
		}),
	}
}

func taskIDs(ctx context.Context, s *session.Session, image show.Object) ([]show.Object, error) {
	tasks, _, err := imageTasks(ctx, s, show.Text(image, "id"))
	return tasks, err
}

// completeBelow offers images for the first argument, and for those after it the ids of what lies below that image, many of
// them or up to most arguments in all.
func (c *client) completeBelow(below func(context.Context, *session.Session, show.Object) ([]show.Object, error), most int) cobra.CompletionFunc {
	images := c.complete(imageKind, false)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return images(cmd, args, prefix)
		}
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return nil, err
			}
			items, err := below(ctx, s, image)
			var found []cobra.Completion
			for _, item := range items {
				id := cmp.Or(show.Text(item, "member_id"), show.Text(item, "id"))
				if strings.HasPrefix(id, prefix) && !slices.Contains(args, id) {
					found = append(found, cobra.CompletionWithDesc(show.Printable(id), show.Printable(show.Text(item, "status"))))
				}
			}
			return found, err
		})
	}
}
