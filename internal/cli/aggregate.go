package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Aggregates have no name filter in Nova's API: the whole list is read.
var aggregateKind = &kind{
	noun: "aggregate", service: "compute", path: "os-aggregates", plural: "aggregates", singular: "aggregate", listHint: "slipway aggregate list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("ZONE", "availability_zone"), show.Col("HOSTS", "hosts"), show.Col("METADATA", "metadata"),
		show.Col("CREATED", "created_at").OnlyWide(),
	}},
}

func (c *client) aggregateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "aggregate",
		Aliases: []string{"aggregates"},
		Short:   "Keep hosts that have something in common (admin)",
		Long: `Keep aggregates of hosts. One with a zone makes its hosts that availability zone. What else its metadata says counts for flavors that ask for it
(the property aggregate_instance_extra_specs:KEY), and filter_tenant_id keeps its hosts for projects.`,
		Example: "  slipway aggregate create rack-b --zone rack-b\n  slipway aggregate add-host rack-b hv2\n  slipway aggregate set rack-b --property disk=ssd",
	}
	cmd.AddCommand(c.listCommand(aggregateKind, "List the aggregates", "", "  slipway aggregate list"),
		c.showCommand(aggregateKind, "  slipway aggregate show rack-b"), c.aggregateCreate(), c.aggregateSet(),
		c.aggregateHost("add-host", "add_host", "Put a host into an aggregate"), c.aggregateHost("remove-host", "remove_host", "Take a host out of an aggregate"),
		c.deleteCommand(aggregateKind, "  slipway aggregate delete rack-b"))
	return cmd
}

func (c *client) aggregateCreate() *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create an aggregate without hosts",
		Example: "  slipway aggregate create rack-b --zone rack-b",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{"name": args[0]}
			if zone != "" {
				fields["availability_zone"] = zone
			}
			made, err := aggregateKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the aggregate %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &aggregateKind.layout, made)
		}),
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the availability zone that its hosts are")
	return cmd
}

func (c *client) aggregateSet() *cobra.Command {
	var name, zone string
	var properties, gone []string
	cmd := &cobra.Command{
		Use:               "set REF",
		Short:             "Change an aggregate's name, zone and metadata",
		Example:           "  slipway aggregate set rack-b --property disk=ssd --no-property gpu",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(aggregateKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			metadata, err := pairs("property", properties)
			if err != nil {
				return err
			}
			of, err := aggregateKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			fields, changed := show.Object{}, show.Object{}
			for key, value := range map[string]string{"name": name, "availability_zone": zone} {
				if value != "" {
					fields[key] = value
				}
			}
			for key, value := range metadata {
				changed[key] = value
			}
			for _, key := range gone {
				changed[key] = nil
			}
			if len(fields) > 0 {
				err = aggregateKind.change(ctx, s, of, http.MethodPut, nil, show.Object{"aggregate": fields})
			}
			if err == nil && len(changed) > 0 {
				err = aggregateKind.change(ctx, s, of, http.MethodPost, []string{"action"}, show.Object{"set_metadata": show.Object{"metadata": changed}})
			}
			if err != nil {
				return session.Doing(err, "change the aggregate %q", args[0])
			}
			c.say(cmd, "changed aggregate %s", show.Text(of, "name"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "another name")
	cmd.Flags().StringVar(&zone, "zone", "", "the availability zone that its hosts are")
	cmd.Flags().StringArrayVar(&properties, "property", nil, "metadata key=value (repeat)")
	cmd.Flags().StringArrayVar(&gone, "no-property", nil, "name of metadata that goes; availability_zone: its hosts are in their own zones again (repeat)")
	cmd.MarkFlagsOneRequired("name", "zone", "property", "no-property")
	return cmd
}

func (c *client) aggregateHost(verb, action, short string) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " REF HOST",
		Short:             short,
		Example:           "  slipway aggregate " + verb + " rack-b hv2",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.complete(aggregateKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			of, err := aggregateKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if err := aggregateKind.change(ctx, s, of, http.MethodPost, []string{"action"}, show.Object{action: show.Object{"host": args[1]}}); err != nil {
				return session.Doing(err, "%s %q %q", verb, args[0], args[1])
			}
			c.say(cmd, "changed aggregate %s", show.Text(of, "name"))
			return nil
		}),
	}
}
