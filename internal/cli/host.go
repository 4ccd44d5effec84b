package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// hostKind is Slipway's own resource at the root of the API (/hosts); only admins see it.
var hostKind = &kind{
	noun: "host", service: "hosts", path: "hosts", plural: "hosts", singular: "host", name: "hostname", listHint: "slipway host list",
	layout: show.Layout{Name: "hostname", List: []show.Column{
		show.Col("ID", "id"), show.Col("HOSTNAME", "hostname"), show.Col("ZONE", "availability_zone"), show.Computed("STATE", hostState), show.Computed("STATUS", hostStatus),
		show.Col("SERVERS", "servers"), show.Computed("VCPUS", usedOf("used_vcpus", "vcpus")), show.Computed("MEMORY MIB", usedOf("used_memory_mib", "memory_mib")),
		show.Computed("DISK GIB", usedOf("used_disk_gib", "disk_gib")), show.Computed("CERTIFICATE ENDS", hostCertificate), show.Col("LEFTOVERS", "leftovers").OnlyWide(), show.Col("FAILURES", "build_failures").OnlyWide(),
		show.Col("HYPERVISOR", "hypervisor_type").OnlyWide(), show.Computed("GUESTS", hostGuests).OnlyWide(), show.Col("VERSION", "version").OnlyWide(), show.Col("SEEN", "seen_at").OnlyWide(),
		show.Computed("REASON", func(o show.Object) string {
			return cmp.Or(show.Text(o, "disabled_reason"), show.Text(o, "not_ready_reason"))
		}).OnlyWide(),
	}, Show: []show.Column{
		show.Col("ID", "id"), show.Col("HOSTNAME", "hostname"), show.Col("ZONE", "availability_zone"), show.Computed("STATE", hostState), show.Col("NOT READY", "not_ready_reason"),
		show.Computed("STATUS", hostStatus), show.Col("DISABLED", "disabled_reason"), show.Col("BUILD FAILURES", "build_failures"), show.Col("LAST FAILURE", "last_failure"), show.Col("LAST FAILURE AT", "last_failure_at"), show.Col("TRIAL DUE", "trial_due_at"),
		show.Col("SERVERS", "servers"), show.Col("LEFTOVERS", "leftovers"),
		show.Computed("VCPUS", usedOf("used_vcpus", "vcpus")), show.Computed("MEMORY MIB", usedOf("used_memory_mib", "memory_mib")), show.Computed("DISK GIB", usedOf("used_disk_gib", "disk_gib")),
		show.Col("CPU RATIO", "cpu_ratio"), show.Col("RAM RATIO", "ram_ratio"), show.Col("DISK RATIO", "disk_ratio"), show.Col("RESERVED MIB", "reserved_memory_mib"),
		show.Col("HYPERVISOR", "hypervisor_type"), show.Col("HYPERVISOR VERSION", "hypervisor_version"), show.Computed("GUESTS", hostGuests), show.Computed("GUESTS SINCE", trialField("since")), show.Computed("GUESTS WHY", trialField("reason")),
		show.Computed("TRIED", trialField("at")), show.Computed("CPU", trialField("cpu")), show.Col("UEFI", "uefi"), show.Col("ARCHITECTURES", "architectures"),
		show.Computed("CERTIFICATE ENDS", hostCertificate), show.Col("VERSION", "version"), show.Col("STARTED", "started_at"), show.Col("SEEN", "seen_at"), show.Col("BACK", "back_at"), show.Col("CREATED", "created_at"),
	}},
}

// newHostLayout shows a host with the token that the API tells only once.
var newHostLayout = &show.Layout{Name: "hostname", List: []show.Column{
	show.Col("ID", "id"), show.Col("HOSTNAME", "hostname"), show.Col("ZONE", "availability_zone"), show.Col("TOKEN", "token"),
}}

// hostState is whether the host is heard of, and whether it says that its hypervisor works.
func hostState(o show.Object) string {
	state := show.Text(o, "state")
	if ready, known := o["ready"].(bool); known && !ready && state == "up" {
		return "not ready"
	}
	return state
}

// hostGuests is how guests run there, by the host's last trial.
func hostGuests(o show.Object) string {
	is := func(field string) bool { return show.Text(o, "trial", field) == "true" }
	switch {
	case show.Text(o, "trial", "at") == "":
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

// hostCertificate is when the first of the host's certificates ends: in how many days, where it is to be renewed.
func hostCertificate(o show.Object) string {
	end := show.ParseTime(show.Text(o, "certificate_expires_at"))
	switch left := time.Until(end); {
	case end.IsZero():
		return "-"
	case left <= 0:
		return "expired"
	case show.Text(o, "certificate_expires_soon") == "true":
		return fmt.Sprintf("in %d days", left/(24*time.Hour))
	}
	return end.Format(time.DateOnly)
}

// trialField is what the host's last trial says.
func trialField(name string) func(show.Object) string {
	return func(o show.Object) string { return show.Text(o, "trial", name) }
}

func hostStatus(o show.Object) string {
	if enabled, ok := o["enabled"].(bool); ok {
		if enabled {
			return "enabled"
		}
		return "disabled"
	}
	return show.Text(o, "status")
}

// usedOf is "used/all" of a capacity.
func usedOf(used, all string) func(show.Object) string {
	return func(o show.Object) string {
		if show.Text(o, all) == "" {
			return ""
		}
		return cmp.Or(show.Text(o, used), "0") + "/" + show.Text(o, all)
	}
}

func (c *client) hostVerbs() []*cobra.Command {
	return []*cobra.Command{
		c.listCommand(hostKind, "List hypervisors (admin)",
			"List the hypervisors that registered: whether each answers, whether it takes new servers, and what of it is in use.",
			"  slipway host list\n  slipway host list -o wide"),
		c.showCommand(hostKind, "  slipway host show hv1"), c.hostCreate(), c.hostToken(), c.hostEnable(), c.hostDisable(),
		c.deleteCommand(hostKind, "  slipway host delete hv1"), c.hostDrain(), c.hostForget(), c.hostNetwork(),
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			return c.patchHosts(ctx, cmd, s, args, "enable", show.Object{"enabled": true})
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{"enabled": false}
			if reason != "" {
				fields["disabled_reason"] = reason
			}
			return c.patchHosts(ctx, cmd, s, args, "disable", fields)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the other admins")
	return cmd
}

func (c *client) patchHosts(ctx context.Context, cmd *cobra.Command, s *session.Session, refs []string, verb string, fields show.Object) error {
	hosts, err := hostKind.findAll(ctx, s, refs)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		_, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodPatch, Path: hostKind.item(show.Text(host, "id")), Body: show.Object{"host": fields}})
		if err != nil {
			return session.Doing(err, "%s the host %q", verb, show.Text(host, "hostname"))
		}
		c.say(cmd, "%sd host %s", verb, show.Text(host, "hostname"))
	}
	return nil
}
