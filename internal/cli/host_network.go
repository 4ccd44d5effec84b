package cli

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var (
	hostNetworkLayout = show.Layout{Name: "hostname", List: []show.Column{
		show.Col("HOSTNAME", "hostname"), show.Col("OPEN VSWITCH", "switch", "version"), show.Col("DATAPATH", "switch", "datapath"), show.Col("SYSTEM ID", "switch", "system_id"),
		show.Col("SOUTHBOUND", "switch", "southbound"), show.Computed("ENCAPSULATION", hostEncap), show.Computed("TUNNELS TO", hostTunnels), show.Computed("MAPPINGS", hostMappings),
	}}
	hostChecksLayout = show.Layout{Name: "name", List: []show.Column{
		show.Col("CHECK", "name"), show.Computed("STATE", okOrNot), show.Col("WHAT", "text"),
	}}
	hostPortsLayout = show.Layout{ID: "port_id", Name: "tap", List: []show.Column{
		show.Col("SERVER", "server_id"), show.Col("NIC", "nic"), show.Col("PORT", "port_id"), show.Col("TAP", "tap"), show.Computed("STATE", portState), show.Col("ERROR", "error"),
	}}
)

func hostEncap(o show.Object) string {
	return strings.TrimSpace(show.Text(o, "switch", "encap") + " " + show.Text(o, "switch", "encap_ip"))
}

func hostTunnels(o show.Object) string {
	names, _ := show.At(o, "switch", "tunnels").([]any)
	var all []string
	for _, name := range names {
		all = append(all, show.TextOf(name))
	}
	return strings.Join(all, ", ")
}

func hostMappings(o show.Object) string {
	var all []string
	for _, m := range show.Objects(show.At(o, "switch", "mappings")) {
		all = append(all, show.Text(m, "network")+":"+show.Text(m, "bridge"))
	}
	return strings.Join(all, ", ")
}

func okOrNot(o show.Object) string {
	if show.Text(o, "ok") == "true" {
		return "ok"
	}
	return "missing"
}

// portState is whether what OVN says of a port is in place.
func portState(o show.Object) string {
	if show.Text(o, "up") == "true" {
		return "up"
	}
	return "down"
}

// ShowHostNetwork prints what switches a host's guests, and answers the checks that fail.
func ShowHostNetwork(w io.Writer, output *show.Output, network show.Object) (missing []string, err error) {
	checks := show.Objects(network["checks"])
	for _, c := range checks {
		if show.Text(c, "ok") != "true" {
			missing = append(missing, show.Text(c, "name"))
		}
	}
	if err := output.One(w, &hostNetworkLayout, network); err != nil {
		return missing, err
	}
	c := client{output: *output}
	return missing, c.printSections(w, section{"checks", &hostChecksLayout, checks}, section{"ports", &hostPortsLayout, show.Objects(network["ports"])})
}

func (c *client) hostNetwork() *cobra.Command {
	return &cobra.Command{
		Use:   "network REF",
		Short: "Show what switches the servers of a hypervisor where networks stand on OVN (admin)",
		Long: `Show a hypervisor's Open vSwitch as a chassis of OVN's, what has to be right about it, and the ports that are plugged there. The host is
asked for it. "slipway doctor" tells the same on the host itself.`,
		Example:           "  slipway host network hv1\n  slipway host network hv1 -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(hostKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			host, err := hostKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodGet, Path: hostKind.item(show.Text(host, "id"), "network")})
			if err != nil {
				return session.Doing(err, "look at the network of host %q", args[0])
			}
			_, err = ShowHostNetwork(cmd.OutOrStdout(), &c.output, objectIn(answer, "network"))
			return err
		}),
	}
}
