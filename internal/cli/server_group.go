package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Server groups have no name filter in Nova's API: the whole list is read.
var serverGroupKind = &kind{
	noun: "server group", service: "compute", path: "os-server-groups", plural: "server_groups", singular: "server_group",
	listHint: "slipway server group list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("POLICY", "policy"), show.Col("RULES", "rules"), show.Col("MEMBERS", "members"),
		show.Col("PROJECT", "project_id").OnlyWide(), show.Col("USER", "user_id").OnlyWide(),
	}},
}

func (c *client) serverGroupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "group",
		Aliases: []string{"groups"},
		Short:   "List, show, create and delete server groups",
		Long:    "List, show, create and delete server groups, whose servers are kept together on one host or apart on several. A server is put into one\nwhen it is built: `slipway boot --hint group=ID`.",
		Example: "  slipway server group create web --policy anti-affinity\n  slipway boot web-1 --image debian --flavor m1.small --hint group=3f1c…",
	}
	cmd.AddCommand(c.listCommand(serverGroupKind, "List the project's server groups", "", "  slipway server group list"),
		c.showCommand(serverGroupKind, "  slipway server group show web"), c.serverGroupCreate(),
		c.deleteCommand(serverGroupKind, "  slipway server group delete web"))
	return cmd
}

func (c *client) serverGroupCreate() *cobra.Command {
	var policy string
	var most int
	cmd := &cobra.Command{
		Use:   "create NAME --policy POLICY",
		Short: "Create a server group",
		Long: `Create a server group. Its policy is affinity (all on one host), anti-affinity (no two on one, or no more than --max-per-host), or
soft-affinity and soft-anti-affinity, which are wishes. A server for which no host is left by the policy is not built.`,
		Example: "  slipway server group create web --policy anti-affinity\n  slipway server group create cache --policy anti-affinity --max-per-host 2",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{"name": args[0], "policy": policy}
			if cmd.Flags().Changed("max-per-host") {
				fields["rules"] = show.Object{"max_server_per_host": most}
			}
			group, err := serverGroupKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the server group %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &serverGroupKind.layout, group)
		}),
	}
	cmd.Flags().StringVar(&policy, "policy", "", "affinity, anti-affinity, soft-affinity or soft-anti-affinity (required)")
	cmd.Flags().IntVar(&most, "max-per-host", 0, "how many of them may share a host, of anti-affinity (default 1)")
	_ = cmd.MarkFlagRequired("policy")
	return cmd
}
