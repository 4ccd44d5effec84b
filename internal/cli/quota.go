package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var quotaLayout = show.Layout{ID: "resource", Name: "resource", List: []show.Column{
	show.Col("RESOURCE", "resource"), show.Col("IN USE", "in_use"),
	show.Computed("LIMIT", func(o show.Object) string {
		if limit := show.Text(o, "limit"); limit != "-1" {
			return limit
		}
		return "unlimited"
	}),
	show.Computed("LEFT", func(o show.Object) string {
		limit, ok := show.Number(o, "limit")
		used, known := show.Number(o, "in_use")
		if !ok || !known || limit < 0 {
			return ""
		}
		return fmt.Sprint(max(0, limit-used))
	}),
}}

func (c *client) quotaCommand() *cobra.Command {
	var project string
	show := &cobra.Command{
		Use:   "show",
		Short: "Show a project's quota and what is in use",
		Long: `Show what the project may use and what is in use. Limits of a single request or server, such as metadata_items, have no
use to show. -o json prints the API's own answer.`,
		Example: "  slipway quota show\n  slipway quota show --project 3f1c…",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			id := project
			if id == "" {
				var err error
				if id, err = ownProject(s); err != nil {
					return err
				}
			}
			answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: "os-quota-sets/" + url.PathEscape(id) + "/detail"})
			if err != nil {
				return session.Doing(err, "read the quota of project %q", id)
			}
			set, _ := answer["quota_set"].(show.Object)
			if c.output.Format == "json" || c.output.Format == "yaml" {
				return c.output.One(cmd.OutOrStdout(), &quotaLayout, set)
			}
			return c.output.Many(cmd.OutOrStdout(), &quotaLayout, quotaRows(set))
		}),
	}
	show.Flags().StringVar(&project, "project", "", "another project's id (admin)")
	cmd := &cobra.Command{Use: "quota", Short: "Show quota and its use, and set it", Example: "  slipway quota show\n  slipway quota set 3f1c… --limit cores=40"}
	cmd.AddCommand(show, c.quotaSet())
	return cmd
}

// quotaSet names limits as Nova does, so that a new one needs no new flag.
func (c *client) quotaSet() *cobra.Command {
	var limits []string
	var class, force, reset bool
	cmd := &cobra.Command{
		Use:   "set PROJECT",
		Short: "Set what a project may use (admin)",
		Long: `Set limits of a project, by its id; -1 is unlimited. What was never set follows the limits of all projects (quota set default --class), and
these the settings of the installation. --reset forgets what was set for the project.`,
		Example: "  slipway quota set 3f1c… --limit cores=40 --limit server_groups=-1\n  slipway quota set default --class --limit instances=20\n  slipway quota set 3f1c… --reset",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			named, err := pairs("limit", limits)
			if err != nil {
				return err
			}
			set, path, key := show.Object{}, "os-quota-sets/", "quota_set"
			for name, limit := range named {
				set[name] = limit
			}
			if class {
				path, key = "os-quota-class-sets/", "quota_class_set"
			}
			if force {
				set["force"] = true
			}
			request := session.Request{Service: "compute", Method: http.MethodPut, Path: path + url.PathEscape(args[0]), Body: show.Object{key: set}}
			if reset {
				request.Method, request.Body = http.MethodDelete, nil
			}
			if _, _, err := s.Call(ctx, request); err != nil {
				return session.Doing(err, "set the quota of %q", args[0])
			}
			c.say(cmd, "set the quota of %s", args[0])
			return nil
		}),
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&limits, "limit", nil, "Nova's name of a limit, and its value (repeat)")
	flags.BoolVar(&class, "class", false, "of a class of projects instead; all projects are of the class default")
	flags.BoolVar(&force, "force", false, "below what is used too")
	flags.BoolVar(&reset, "reset", false, "back to the defaults")
	cmd.MarkFlagsOneRequired("limit", "reset")
	cmd.MarkFlagsMutuallyExclusive("limit", "reset")
	cmd.MarkFlagsMutuallyExclusive("class", "reset", "force") // there is use to be below for a project's limits alone
	return cmd
}

// counted are the resources whose use the API adds up; for all others it answers 0, as Nova does.
var counted = map[string]bool{"instances": true, "cores": true, "ram": true, "server_groups": true}

func quotaRows(set show.Object) []show.Object {
	var rows []show.Object
	for resource, value := range set {
		if detail, ok := value.(show.Object); ok {
			row := show.Object{"resource": resource, "limit": detail["limit"]}
			if counted[resource] {
				row["in_use"] = detail["in_use"]
			}
			rows = append(rows, row)
		}
	}
	sort.Slice(rows, func(i, j int) bool { return show.Text(rows[i], "resource") < show.Text(rows[j], "resource") })
	return rows
}
