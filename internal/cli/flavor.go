package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Flavors have no name filter in Nova's API, and their ids are any text: the whole list is read.
var flavorKind = &kind{
	noun: "flavor", service: "compute", path: "flavors", listPath: "flavors/detail", plural: "flavors", singular: "flavor",
	listHint: "slipway flavor list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("VCPUS", "vcpus"), show.Col("RAM MIB", "ram"), show.Col("DISK GIB", "disk"),
		show.Col("PUBLIC", "os-flavor-access:is_public"), show.Col("EPHEMERAL GIB", "OS-FLV-EXT-DATA:ephemeral").OnlyWide(), show.Col("SWAP MIB", "swap").OnlyWide(),
		show.Col("DESCRIPTION", "description").OnlyWide(), show.Col("EXTRA SPECS", "extra_specs").OnlyWide(),
	}},
}

func (c *client) flavorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "flavor",
		Aliases: []string{"flavors"},
		Short:   "List, show, create, change and delete flavors",
		Example: "  slipway flavor list\n  slipway flavor create m1.small --vcpus 1 --ram 2048 --disk 20",
	}
	cmd.AddCommand(c.flavorList(), c.showCommand(flavorKind, "  slipway flavor show m1.small"), c.flavorCreate(), c.flavorSet(), c.flavorUnset(),
		c.deleteCommand(flavorKind, "  slipway flavor delete m1.old"))
	return cmd
}

func (c *client) flavorList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List flavors",
		Long:    "List the flavors: the public ones and those the project was given; --all shows an admin every one.",
		Example: "  slipway flavor list\n  slipway flavor list --all -o wide",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			if all {
				query.Set("is_public", "None")
			}
			flavors, err := flavorKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the flavors")
			}
			return c.output.Many(cmd.OutOrStdout(), &flavorKind.layout, flavors)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "private ones of other projects too (admin)")
	return cmd
}

func (c *client) flavorCreate() *cobra.Command {
	var id, description string
	var vcpus, ram, disk, ephemeral, swap int
	var private bool
	var properties []string
	cmd := &cobra.Command{
		Use:     "create NAME --vcpus N --ram MIB --disk GIB",
		Short:   "Create a flavor (admin)",
		Long:    "Create a flavor, a size of server. This needs the admin role. --disk 0 takes the size of the image.",
		Example: "  slipway flavor create m1.small --vcpus 1 --ram 2048 --disk 20\n  slipway flavor create tiny --id 42 --vcpus 1 --ram 128 --disk 1 --property hw:cpu_policy=shared",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			specs, err := pairs("property", properties)
			if err != nil {
				return err
			}
			fields := show.Object{"name": args[0], "vcpus": vcpus, "ram": ram, "disk": disk, "OS-FLV-EXT-DATA:ephemeral": ephemeral,
				"swap": swap, "os-flavor-access:is_public": !private}
			if id != "" {
				fields["id"] = id
			}
			if description != "" {
				fields["description"] = description
			}
			flavor, err := flavorKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the flavor %q", args[0])
			}
			if len(specs) > 0 {
				answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodPost,
					Path: flavorKind.item(show.Text(flavor, "id"), "os-extra_specs"), Body: show.Object{"extra_specs": specs}})
				if err != nil {
					return session.Doing(err, "set the properties of the new flavor %q (%s)", args[0], show.Text(flavor, "id"))
				}
				flavor["extra_specs"] = answer["extra_specs"]
			}
			return c.output.One(cmd.OutOrStdout(), &flavorKind.layout, flavor)
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&vcpus, "vcpus", 1, "virtual CPUs")
	flags.IntVar(&ram, "ram", 0, "memory, MiB (required)")
	flags.IntVar(&disk, "disk", 0, "root disk, GiB")
	flags.IntVar(&ephemeral, "ephemeral", 0, "second disk, GiB")
	flags.IntVar(&swap, "swap", 0, "swap disk, MiB")
	flags.StringVar(&id, "id", "", "the flavor's id (default: the API makes one)")
	flags.BoolVar(&private, "private", false, "only for projects that are given it")
	flags.StringVar(&description, "description", "", "description")
	flags.StringArrayVar(&properties, "property", nil, "extra spec key=value (repeat)")
	_ = cmd.MarkFlagRequired("ram")
	return cmd
}

func (c *client) flavorSet() *cobra.Command {
	var description string
	var properties, projects []string
	cmd := &cobra.Command{
		Use:               "set REF",
		Short:             "Change a flavor (admin)",
		Long:              "Change a flavor: what it is described as, its properties (extra specs), and the projects that may use one which is private.\nServers keep what they were built with.",
		Example:           "  slipway flavor set m1.small --property hw_rng:allowed=False\n  slipway flavor set m1.own --project 3f1c…",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(flavorKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			specs, err := pairs("property", properties)
			if err != nil {
				return err
			}
			flavor, err := flavorKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("description") {
				if err := flavorKind.change(ctx, s, flavor, http.MethodPut, nil, show.Object{"flavor": show.Object{"description": description}}); err != nil {
					return session.Doing(err, "describe the flavor %q", args[0])
				}
			}
			if len(specs) > 0 {
				if err := flavorKind.change(ctx, s, flavor, http.MethodPost, []string{"os-extra_specs"}, show.Object{"extra_specs": specs}); err != nil {
					return session.Doing(err, "set the properties of the flavor %q", args[0])
				}
			}
			for _, project := range projects {
				if err := flavorKind.change(ctx, s, flavor, http.MethodPost, []string{"action"}, show.Object{"addTenantAccess": show.Object{"tenant": project}}); err != nil {
					return session.Doing(err, "give the flavor %q to project %q", args[0], project)
				}
			}
			c.say(cmd, "changed flavor %s", show.Text(flavor, "name"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is described as")
	cmd.Flags().StringArrayVar(&properties, "property", nil, "extra spec key=value (repeat)")
	cmd.Flags().StringArrayVar(&projects, "project", nil, "id of a project that may use it (repeat)")
	cmd.MarkFlagsOneRequired("description", "property", "project")
	return cmd
}

func (c *client) flavorUnset() *cobra.Command {
	var properties, projects []string
	cmd := &cobra.Command{
		Use:               "unset REF",
		Short:             "Take properties or projects off a flavor (admin)",
		Example:           "  slipway flavor unset m1.small --property hw_rng:allowed\n  slipway flavor unset m1.own --project 3f1c…",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(flavorKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			flavor, err := flavorKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			for _, key := range properties {
				if err := flavorKind.change(ctx, s, flavor, http.MethodDelete, []string{"os-extra_specs", url.PathEscape(key)}, nil); err != nil {
					return session.Doing(err, "take the property %q off the flavor %q", key, args[0])
				}
			}
			for _, project := range projects {
				if err := flavorKind.change(ctx, s, flavor, http.MethodPost, []string{"action"}, show.Object{"removeTenantAccess": show.Object{"tenant": project}}); err != nil {
					return session.Doing(err, "take the flavor %q from project %q", args[0], project)
				}
			}
			c.say(cmd, "changed flavor %s", show.Text(flavor, "name"))
			return nil
		}),
	}
	cmd.Flags().StringArrayVar(&properties, "property", nil, "name of an extra spec (repeat)")
	cmd.Flags().StringArrayVar(&projects, "project", nil, "id of a project (repeat)")
	cmd.MarkFlagsOneRequired("property", "project")
	return cmd
}
