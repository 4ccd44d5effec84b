package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"

	"github.com/spf13/cobra"
)

var quotaLayout = layout{id: "resource", name: "resource", list: []column{
	col("RESOURCE", "resource"), col("IN USE", "in_use"),
	computed("LIMIT", func(o object) string {
		if limit := text(o, "limit"); limit != "-1" {
			return limit
		}
		return "unlimited"
	}),
	computed("LEFT", func(o object) string {
		limit, ok := number(o, "limit")
		used, known := number(o, "in_use")
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			id := project
			if id == "" {
				var err error
				if id, err = s.ownProject(); err != nil {
					return err
				}
			}
			answer, _, err := s.call(ctx, request{service: "compute", method: http.MethodGet, path: "os-quota-sets/" + url.PathEscape(id) + "/detail"})
			if err != nil {
				return doing(err, "read the quota of project %q", id)
			}
			set, _ := answer["quota_set"].(object)
			if c.output.format == "json" || c.output.format == "yaml" {
				return c.output.one(cmd.OutOrStdout(), &quotaLayout, set)
			}
			return c.output.many(cmd.OutOrStdout(), &quotaLayout, quotaRows(set))
		}),
	}
	show.Flags().StringVar(&project, "project", "", "another project's id (admin)")
	cmd := &cobra.Command{Use: "quota", Short: "Show quota and its use", Example: "  slipway quota show"}
	cmd.AddCommand(show)
	return cmd
}

// counted are the resources whose use the API adds up; for all others it answers 0, as Nova does.
var counted = map[string]bool{"instances": true, "cores": true, "ram": true}

func quotaRows(set object) []object {
	var rows []object
	for resource, value := range set {
		if detail, ok := value.(object); ok {
			row := object{"resource": resource, "limit": detail["limit"]}
			if counted[resource] {
				row["in_use"] = detail["in_use"]
			}
			rows = append(rows, row)
		}
	}
	sort.Slice(rows, func(i, j int) bool { return text(rows[i], "resource") < text(rows[j], "resource") })
	return rows
}
