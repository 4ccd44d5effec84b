package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var networkKind = &kind{
	noun: "network", service: "network", path: "networks", plural: "networks", singular: "network", byName: filterName,
	listHint: "slipway network list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("STATUS", "status"), show.Col("SHARED", "shared"), show.Col("SUBNETS", "subnets"),
		show.Col("MTU", "mtu").OnlyWide(), show.Col("DESCRIPTION", "description").OnlyWide(), show.Col("PROJECT", "project_id").OnlyWide(), show.Col("CREATED", "created_at").OnlyWide(),
	}},
}

func (c *client) networkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "network",
		Aliases: []string{"networks"},
		Short:   "List, show, create and delete networks",
		Long:    "List, show, create and delete networks. A network needs a subnet before servers get addresses on it: `slipway subnet`.",
		Example: "  slipway network create private\n  slipway subnet create private-v4 --network private --cidr 10.0.0.0/24",
	}
	cmd.AddCommand(c.networkList(), c.showCommand(networkKind, "  slipway network show private"), c.networkCreate(),
		c.deleteCommand(networkKind, "  slipway network delete private"))
	return cmd
}

func (c *client) networkList() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List networks",
		Long:    "List the project's networks and the shared ones.",
		Example: "  slipway network list",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			if name != "" {
				query.Set("name", name)
			}
			networks, err := networkKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the networks")
			}
			return c.output.Many(cmd.OutOrStdout(), &networkKind.layout, networks)
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "only this name")
	return cmd
}

func (c *client) networkCreate() *cobra.Command {
	var description string
	var shared bool
	var mtu int
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a network",
		Example: "  slipway network create private\n  slipway network create office --shared",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{"name": args[0]}
			if description != "" {
				fields["description"] = description
			}
			if shared {
				fields["shared"] = true
			}
			if mtu > 0 {
				fields["mtu"] = mtu
			}
			network, err := networkKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the network %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &networkKind.layout, network)
		}),
	}
	cmd.Flags().StringVar(&description, "description", "", "description")
	cmd.Flags().BoolVar(&shared, "shared", false, "for every project (admin)")
	cmd.Flags().IntVar(&mtu, "mtu", 0, "largest packet (default: the API's)")
	return cmd
}
