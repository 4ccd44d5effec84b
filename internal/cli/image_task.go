package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var imageTaskLayout = layout{name: "id", list: []column{
	col("ID", "id"), col("TYPE", "type"), computed("METHOD", methodOf), col("STATUS", "status"), col("MESSAGE", "message"),
	col("CREATED", "created_at"), col("UPDATED", "updated_at").onlyWide(), col("EXPIRES", "expires_at").onlyWide(),
	col("REQUEST", "request_id").onlyWide(), col("USER", "user_id").onlyWide(), col("OWNER", "owner").onlyWide(),
}, show: []column{
	col("ID", "id"), col("TYPE", "type"), computed("METHOD", methodOf), col("STATUS", "status"), col("MESSAGE", "message"),
	col("IMAGE", "image_id"), col("FROM", "input", "import_req", "method", "uri"), col("STORES", "input", "backend"), col("OWNER", "owner"), col("USER", "user_id"),
	col("REQUEST", "request_id"), col("CREATED", "created_at"), col("UPDATED", "updated_at"), col("EXPIRES", "expires_at"),
}}

func methodOf(task object) string { return text(task, "input", "import_req", "method", "name") }

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
func (s *session) imageTasks(ctx context.Context, id string) (tasks []object, known bool, err error) {
	answer, _, err := s.call(ctx, request{service: "image", method: http.MethodGet, path: imageKind.item(id, "tasks")})
	switch {
	case isStatus(err, http.StatusNotFound), isStatus(err, http.StatusForbidden), isStatus(err, http.StatusMethodNotAllowed):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return objects(answer["tasks"]), true, nil
}

// newest is the task that was made last.
func newest(tasks []object) object {
	return slices.MaxFunc(tasks, func(a, b object) int { return strings.Compare(text(a, "created_at"), text(b, "created_at")) })
}

// tasksOf finds an image and its tasks.
func (s *session) tasksOf(ctx context.Context, ref string) (image object, tasks []object, err error) {
	if image, err = s.find(ctx, imageKind, ref); err != nil {
		return nil, nil, err
	}
	tasks, known, err := s.imageTasks(ctx, text(image, "id"))
	if err != nil {
		return nil, nil, doing(err, "list the tasks of the image %q", ref)
	}
	if !known {
		return nil, nil, &Error{Code: ExitRefused, What: fmt.Sprintf("the API tells no tasks of the image %q", ref),
			Reason: "it is too old for that, or another role is needed", Hints: []string{"slipway image show " + text(image, "id")}}
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			_, tasks, err := s.tasksOf(ctx, args[0])
			if err != nil {
				return err
			}
			return c.output.many(cmd.OutOrStdout(), &imageTaskLayout, tasks)
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			image, tasks, err := s.tasksOf(ctx, args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				tasks = slices.DeleteFunc(tasks, func(t object) bool { return text(t, "id") != args[1] })
			}
			if len(tasks) == 0 {
				return &Error{Code: ExitNotFound, What: fmt.Sprintf("the image %q has no such task", args[0]),
					Hints: []string{"slipway image task list " + text(image, "id")}}
			}
			return c.output.one(cmd.OutOrStdout(), &imageTaskLayout, newest(tasks))
		}),
	}
}

func taskIDs(ctx context.Context, s *session, image object) ([]object, error) {
	tasks, _, err := s.imageTasks(ctx, text(image, "id"))
	return tasks, err
}

// completeBelow offers images for the first argument, and for those after it the ids of what lies below that image, many of
// them or up to most arguments in all.
func (c *client) completeBelow(below func(context.Context, *session, object) ([]object, error), most int) cobra.CompletionFunc {
	images := c.complete(imageKind, false)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return images(cmd, args, prefix)
		}
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session) ([]cobra.Completion, error) {
			image, err := s.find(ctx, imageKind, args[0])
			if err != nil {
				return nil, err
			}
			items, err := below(ctx, s, image)
			var found []cobra.Completion
			for _, item := range items {
				id := first(text(item, "member_id"), text(item, "id"))
				if strings.HasPrefix(id, prefix) && !slices.Contains(args, id) {
					found = append(found, cobra.CompletionWithDesc(printable(id), printable(text(item, "status"))))
				}
			}
			return found, err
		})
	}
}
