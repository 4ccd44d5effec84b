package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

var networkKind = &kind{
	noun: "network", service: "network", path: "networks", plural: "networks", singular: "network", byName: filterName,
	listHint: "slipway network list",
	layout: layout{list: []column{
		col("ID", "id"), col("NAME", "name"), col("STATUS", "status"), col("SHARED", "shared"), col("SUBNETS", "subnets"),
		col("MTU", "mtu").onlyWide(), col("DESCRIPTION", "description").onlyWide(), col("PROJECT", "project_id").onlyWide(), col("CREATED", "created_at").onlyWide(),
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			query := url.Values{}
			if name != "" {
				query.Set("name", name)
			}
			networks, err := s.list(ctx, networkKind, query)
			if err != nil {
				return doing(err, "list the networks")
			}
			return c.output.many(cmd.OutOrStdout(), &networkKind.layout, networks)
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			fields := object{"name": args[0]}
			if description != "" {
				fields["description"] = description
			}
			if shared {
				fields["shared"] = true
			}
			if mtu > 0 {
				fields["mtu"] = mtu
			}
			network, err := s.create(ctx, networkKind, fields)
			if err != nil {
				return doing(err, "create the network %q", args[0])
			}
			return c.output.one(cmd.OutOrStdout(), &networkKind.layout, network)
		}),
	}
	cmd.Flags().StringVar(&description, "description", "", "description")
	cmd.Flags().BoolVar(&shared, "shared", false, "for every project (admin)")
	cmd.Flags().IntVar(&mtu, "mtu", 0, "largest packet (default: the API's)")
	return cmd
}
