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
	cmd := &cobra.Command{Use: "quota", Short: "Show quota and its use", Example: "  slipway quota show"}
	cmd.AddCommand(show)
	return cmd
}

// counted are the resources whose use the API adds up; for all others it answers 0, as Nova does.
var counted = map[string]bool{"instances": true, "cores": true, "ram": true}

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
