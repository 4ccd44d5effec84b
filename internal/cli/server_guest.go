package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var (
	diagnosticsLayout = show.Layout{List: []show.Column{
		show.Col("STATE", "state"), show.Col("HYPERVISOR", "hypervisor"), show.Col("UPTIME S", "uptime"),
		show.Col("MEMORY MIB", "memory_details", "maximum"), show.Col("USED MIB", "memory_details", "used"),
		show.Col("VCPUS", "num_cpus"), show.Col("DISKS", "num_disks"), show.Col("NICS", "num_nics"), show.Col("CONFIG DRIVE", "config_drive"),
	}}
	diagnosticsCPUs  = show.Layout{List: []show.Column{show.Col("VCPU", "id"), show.Col("TIME NS", "time")}}
	diagnosticsDisks = show.Layout{List: []show.Column{
		show.Col("READS", "read_requests"), show.Col("READ BYTES", "read_bytes"), show.Col("WRITES", "write_requests"), show.Col("WRITTEN BYTES", "write_bytes"),
	}}
	diagnosticsNICs = show.Layout{List: []show.Column{
		show.Col("MAC", "mac_address"),
		show.Col("RX BYTES", "rx_octets"), show.Col("RX PACKETS", "rx_packets"), show.Col("RX DROPPED", "rx_drop"), show.Col("RX ERRORS", "rx_errors"),
		show.Col("TX BYTES", "tx_octets"), show.Col("TX PACKETS", "tx_packets"), show.Col("TX DROPPED", "tx_drop"), show.Col("TX ERRORS", "tx_errors"),
	}}
)

func (c *client) serverDiagnostics() *cobra.Command {
	return &cobra.Command{
		Use:               "diagnostics REF",
		Short:             "Show what the hypervisor has counted of a server (admin)",
		Long:              "Show what the hypervisor has counted of a running server since it was started: CPU time, memory, disks and network.",
		Example:           "  slipway server diagnostics web\n  slipway server diagnostics web -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			found, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(show.Text(server, "id"), "diagnostics")})
			if err != nil {
				return session.Doing(err, "read the diagnostics of server %q", args[0])
			}
			w := cmd.OutOrStdout()
			if err := c.output.One(w, &diagnosticsLayout, found); err != nil {
				return err
			}
			return c.printSections(w,
				section{"vCPUs", &diagnosticsCPUs, show.Objects(found["cpu_details"])},
				section{"disks", &diagnosticsDisks, show.Objects(found["disk_details"])},
				section{"network interfaces", &diagnosticsNICs, show.Objects(found["nic_details"])})
		}),
	}
}

func (c *client) serverSetPassword() *cobra.Command {
	return &cobra.Command{
		Use:   "set-password REF",
		Short: "Set the admin password of a running server",
		Long: `Set the password of the admin in a running server: root, or whom the image names (os_admin_user). The agent in the guest sets it,
so the image needs hw_qemu_guest_agent=yes, and the guest qemu-guest-agent. It is asked for twice, or is the first line of
standard input where that is no terminal; command lines can be read by others.`,
		Example:           "  slipway server set-password web\n  slipway server set-password web <password-file",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			password, err := newPassword(cmd)
			if err != nil {
				return err
			}
			_, _, err = s.Call(ctx, session.Request{
				Service: "compute", Method: http.MethodPost, Path: serverKind.item(show.Text(server, "id"), "action"),
				Body: show.Object{"changePassword": show.Object{"adminPass": password}},
			})
			if err != nil {
				return session.Doing(err, "set the password of server %q", args[0])
			}
			c.say(cmd, "set the admin password of server %s (%s)", show.Text(server, "name"), show.Text(server, "id"))
			return nil
		}),
	}
}

// newPassword asks for one twice, or reads it where nobody is there to be asked.
func newPassword(cmd *cobra.Command) (string, error) {
	if !onTerminal(cmd) {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", show.UsageError("the first line of standard input is empty: it is the password")
		}
		return line, nil
	}
	var typed [2]string
	for i, prompt := range []string{"New password: ", "Again: "} {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		text, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		typed[i] = string(text)
	}
	switch {
	case typed[0] == "":
		return "", show.UsageError("the password is empty")
	case typed[0] != typed[1]:
		return "", show.UsageError("the two are not the same")
	}
	return typed[0], nil
}
