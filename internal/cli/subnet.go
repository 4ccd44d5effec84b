package cli

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var subnetKind = &kind{
	noun: "subnet", service: "network", path: "subnets", plural: "subnets", singular: "subnet", byName: filterName,
	listHint: "slipway subnet list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("CIDR", "cidr"), show.Col("GATEWAY", "gateway_ip"), show.Col("DHCP", "enable_dhcp"), show.Col("NETWORK", "network_id"),
		show.Computed("POOL", poolOf).OnlyWide(), show.Col("DNS", "dns_nameservers").OnlyWide(), show.Col("PROJECT", "project_id").OnlyWide(),
	}},
}

func poolOf(o show.Object) string {
	var pools []string
	for _, p := range show.Objects(o["allocation_pools"]) {
		pools = append(pools, show.Text(p, "start")+"-"+show.Text(p, "end"))
	}
	return strings.Join(pools, ", ")
}

func (c *client) subnetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "subnet",
		Aliases: []string{"subnets"},
		Short:   "List, show, create and delete subnets",
		Example: "  slipway subnet create private-v4 --network private --cidr 10.0.0.0/24",
	}
	cmd.AddCommand(c.subnetList(), c.showCommand(subnetKind, "  slipway subnet show private-v4"), c.subnetCreate(),
		c.deleteCommand(subnetKind, "  slipway subnet delete private-v4"))
	return cmd
}

func (c *client) subnetList() *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List subnets",
		Example: "  slipway subnet list --network private",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			if network != "" {
				found, err := networkKind.find(ctx, s, network)
				if err != nil {
					return err
				}
				query.Set("network_id", show.Text(found, "id"))
			}
			subnets, err := subnetKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the subnets")
			}
			return c.output.Many(cmd.OutOrStdout(), &subnetKind.layout, subnets)
		}),
	}
	cmd.Flags().StringVar(&network, "network", "", "only of this network (name or id)")
	c.completeFlag(cmd, "network", networkKind)
	return cmd
}

func (c *client) subnetCreate() *cobra.Command {
	var network, cidr, gateway, pool string
	var dns []string
	var noDHCP bool
	cmd := &cobra.Command{
		Use:   "create NAME --network REF --cidr RANGE",
		Short: "Create a subnet",
		Long: "Create a subnet: the range of addresses that servers on a network get theirs from.\n\n" +
			"Nobody serves DHCP yet: servers learn their addresses from their config drive, where they are static.",
		Example: `  slipway subnet create private-v4 --network private --cidr 10.0.0.0/24
  slipway subnet create lab --network lab --cidr 192.168.7.0/24 --gateway none --pool 192.168.7.100-192.168.7.200 --dns 192.168.7.2`,
		Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return show.UsageError("--cidr %s is no range of addresses such as 10.0.0.0/24", cidr)
			}
			version := 4
			if prefix.Addr().Is6() {
				version = 6
			}
			fields := show.Object{"name": args[0], "cidr": cidr, "ip_version": version, "enable_dhcp": !noDHCP}
			switch gateway {
			case "":
			case "none":
				fields["gateway_ip"] = nil
			default:
				fields["gateway_ip"] = gateway
			}
			if pool != "" {
				start, end, ok := strings.Cut(pool, "-")
				if !ok {
					return show.UsageError("--pool wants FIRST-LAST, not %q", pool)
				}
				fields["allocation_pools"] = []show.Object{{"start": start, "end": end}}
			}
			if len(dns) > 0 {
				fields["dns_nameservers"] = dns
			}
			found, err := networkKind.find(ctx, s, network)
			if err != nil {
				return err
			}
			fields["network_id"] = found["id"]
			subnet, err := subnetKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the subnet %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &subnetKind.layout, subnet)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&network, "network", "", "network, by name or id (required)")
	flags.StringVar(&cidr, "cidr", "", "range of addresses (required)")
	flags.StringVar(&gateway, "gateway", "", "gateway's address, or none (default: the first of the range)")
	flags.StringVar(&pool, "pool", "", "addresses to give away, FIRST-LAST (default: all but the gateway)")
	flags.StringArrayVar(&dns, "dns", nil, "name server (repeat)")
	flags.BoolVar(&noDHCP, "no-dhcp", false, "say that the subnet has no DHCP (nobody serves it yet)")
	_ = cmd.MarkFlagRequired("network")
	_ = cmd.MarkFlagRequired("cidr")
	c.completeFlag(cmd, "network", networkKind)
	return cmd
}
