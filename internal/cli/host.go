package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// hostKind is Slipway's own resource at the root of the API (/hosts); only admins see it.
var hostKind = &kind{
	noun: "host", service: "hosts", path: "hosts", plural: "hosts", singular: "host", name: "hostname", listHint: "slipway host list",
	layout: layout{name: "hostname", list: []column{
		col("ID", "id"), col("HOSTNAME", "hostname"), col("ZONE", "availability_zone"), computed("STATE", hostState), computed("STATUS", hostStatus),
		col("SERVERS", "servers"), computed("VCPUS", usedOf("used_vcpus", "vcpus")), computed("MEMORY MIB", usedOf("used_memory_mib", "memory_mib")),
		computed("DISK GIB", usedOf("used_disk_gib", "disk_gib")), col("LEFTOVERS", "leftovers").onlyWide(), col("FAILURES", "build_failures").onlyWide(),
		col("HYPERVISOR", "hypervisor_type").onlyWide(), computed("GUESTS", hostGuests).onlyWide(), col("VERSION", "version").onlyWide(), col("SEEN", "seen_at").onlyWide(),
		computed("REASON", func(o object) string { return first(text(o, "disabled_reason"), text(o, "not_ready_reason")) }).onlyWide(),
	}, show: []column{
		col("ID", "id"), col("HOSTNAME", "hostname"), col("ZONE", "availability_zone"), computed("STATE", hostState), col("NOT READY", "not_ready_reason"),
		computed("STATUS", hostStatus), col("DISABLED", "disabled_reason"), col("BUILD FAILURES", "build_failures"), col("LAST FAILURE", "last_failure"), col("LAST FAILURE AT", "last_failure_at"), col("TRIAL DUE", "trial_due_at"),
		col("SERVERS", "servers"), col("LEFTOVERS", "leftovers"),
		computed("VCPUS", usedOf("used_vcpus", "vcpus")), computed("MEMORY MIB", usedOf("used_memory_mib", "memory_mib")), computed("DISK GIB", usedOf("used_disk_gib", "disk_gib")),
		col("CPU RATIO", "cpu_ratio"), col("RAM RATIO", "ram_ratio"), col("DISK RATIO", "disk_ratio"), col("RESERVED MIB", "reserved_memory_mib"),
		col("HYPERVISOR", "hypervisor_type"), col("HYPERVISOR VERSION", "hypervisor_version"), computed("GUESTS", hostGuests), computed("GUESTS SINCE", trialField("since")), computed("GUESTS WHY", trialField("reason")),
		computed("TRIED", trialField("at")), computed("CPU", trialField("cpu")), col("UEFI", "uefi"), col("ARCHITECTURES", "architectures"),
		col("VERSION", "version"), col("STARTED", "started_at"), col("SEEN", "seen_at"), col("BACK", "back_at"), col("CREATED", "created_at"),
	}},
}

// newHostLayout shows a host with the token that the API tells only once.
var newHostLayout = &layout{name: "hostname", list: []column{
	col("ID", "id"), col("HOSTNAME", "hostname"), col("ZONE", "availability_zone"), col("TOKEN", "token"),
}}

// hostState is whether the host is heard of, and whether it says that its hypervisor works.
func hostState(o object) string {
	state := text(o, "state")
	if ready, known := o["ready"].(bool); known && !ready && state == "up" {
		return "not ready"
	}
	return state
}

// hostGuests is how guests run there, by the host's last trial.
func hostGuests(o object) string {
	is := func(field string) bool { return text(o, "trial", field) == "true" }
	switch {
	case text(o, "trial", "at") == "":
		return ""
	case !is("passed") && !is("untried"):
		return "failing"
	case is("accelerated") && is("untried"):
		return "accelerated, untried"
	case is("untried"):
		return "emulated, untried"
	case is("accelerated"):
		return "accelerated"
	}
	return "emulated"
}

// trialField is what the host's last trial says.
func trialField(name string) func(object) string {
	return func(o object) string { return text(o, "trial", name) }
}

func hostStatus(o object) string {
	if enabled, ok := o["enabled"].(bool); ok {
		if enabled {
			return "enabled"
		}
		return "disabled"
	}
	return text(o, "status")
}

// usedOf is "used/all" of a capacity.
func usedOf(used, all string) func(object) string {
	return func(o object) string {
		if text(o, all) == "" {
			return ""
		}
		return first(text(o, used), "0") + "/" + text(o, all)
	}
}

func (c *client) hostVerbs() []*cobra.Command {
	return []*cobra.Command{
		c.hostList(), c.showCommand(hostKind, "  slipway host show hv1"), c.hostCreate(), c.hostToken(), c.hostEnable(), c.hostDisable(),
		c.deleteCommand(hostKind, "  slipway host delete hv1"),
	}
}

func (c *client) hostList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List hypervisors (admin)",
		Long:    "List the hypervisors that registered: whether each answers, whether it takes new servers, and what of it is in use.",
		Example: "  slipway host list\n  slipway host list -o wide",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			hosts, err := s.list(ctx, hostKind, nil)
			if err != nil {
				return doing(err, "list the hosts")
			}
			return c.output.many(cmd.OutOrStdout(), &hostKind.layout, hosts)
		}),
	}
}

func (c *client) hostCreate() *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use:   "create HOSTNAME",
		Short: "Admit a hypervisor and print its token (admin)",
		Long: `Admit a hypervisor. The answer has the token with which "slipway host" on that machine talks to the API; the API keeps
only its hash and never tells it again. --quiet prints the token alone.`,
		Example: "  slipway host create hv2 --availability-zone rack-b\n  slipway host create hv2 --quiet | ssh hv2 'install -m 600 /dev/stdin /etc/slipway/host-token'",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			fields := object{"hostname": args[0]}
			if zone != "" {
				fields["availability_zone"] = zone
			}
			host, err := s.create(ctx, hostKind, fields)
			if err != nil {
				return doing(err, "create the host %q", args[0])
			}
			return c.showToken(cmd, host)
		}),
	}
	cmd.Flags().StringVar(&zone, "availability-zone", "", "availability zone")
	return cmd
}

// showToken prints a host with its token, which no later answer has.
func (c *client) showToken(cmd *cobra.Command, host object) error {
	if c.output.quiet {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), text(host, "token"))
		return err
	}
	c.say(cmd, "keep the token: it is not shown again")
	return c.output.one(cmd.OutOrStdout(), newHostLayout, host)
}

func (c *client) hostToken() *cobra.Command {
	return &cobra.Command{
		Use:               "token REF",
		Short:             "Give a hypervisor a new token (admin)",
		Long:              "Give a hypervisor a new token and print it; the old one ends at once. --quiet prints the token alone.",
		Example:           "  slipway host token hv1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(hostKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			host, err := s.find(ctx, hostKind, args[0])
			if err != nil {
				return err
			}
			answer, _, err := s.call(ctx, request{service: "hosts", method: http.MethodPost, path: hostKind.item(text(host, "id"), "token")})
			if err != nil {
				return doing(err, "give the host %q a new token", args[0])
			}
			return c.showToken(cmd, hostKind.unwrap(answer))
		}),
	}
}

func (c *client) hostEnable() *cobra.Command {
	return &cobra.Command{
		Use:               "enable REF...",
		Short:             "Let hypervisors take new servers (admin)",
		Long:              "Let hypervisors take new servers: those that were disabled, and those that get none because builds failed on them. Their\nfailures are forgotten; without this such a host comes back by itself when its trial passes.",
		Example:           "  slipway host enable hv1",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(hostKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			return c.patchHosts(ctx, cmd, s, args, "enable", object{"enabled": true})
		}),
	}
}

func (c *client) hostDisable() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "disable REF...",
		Short:             "Keep new servers off hypervisors (admin)",
		Long:              "Keep new servers off hypervisors; those on them stay and run on.",
		Example:           "  slipway host disable hv1 --reason 'new memory on Tuesday'",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(hostKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			fields := object{"enabled": false}
			if reason != "" {
				fields["disabled_reason"] = reason
			}
			return c.patchHosts(ctx, cmd, s, args, "disable", fields)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the other admins")
	return cmd
}

func (c *client) patchHosts(ctx context.Context, cmd *cobra.Command, s *session, refs []string, verb string, fields object) error {
	hosts, err := s.findAll(ctx, hostKind, refs)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		_, _, err := s.call(ctx, request{service: "hosts", method: http.MethodPatch, path: hostKind.item(text(host, "id")), body: object{"host": fields}})
		if err != nil {
			return doing(err, "%s the host %q", verb, text(host, "hostname"))
		}
		c.say(cmd, "%sd host %s", verb, text(host, "hostname"))
	}
	return nil
}
