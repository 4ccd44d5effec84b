package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/cli/show"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
)

func doctorCommand() *cobra.Command {
	var output show.Output
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is missing on this hypervisor before OVN switches its servers",
		Long: `Looks at this machine with the settings of its "slipway host", which may run meanwhile, and changes nothing: whether Open vSwitch
answers, what moves its packets and whether guests can rely on it, whether OVN's controller is connected, whether the chassis is told
who it is and where the others reach it, whether the bridges of its mappings are there, and which ports are plugged. Exit status 1 if
something is missing.`,
		Example: "  slipway doctor --config /etc/slipway/host.yaml\n  slipway doctor --config /etc/slipway/host.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return show.UsageError("%v", err)
			}
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			found, err := examine(cmd, c.Host)
			if err != nil {
				return err
			}
			var network show.Object
			text, err := json.Marshal(found)
			if err == nil {
				err = json.Unmarshal(text, &network)
			}
			if err != nil {
				return err
			}
			missing, err := cli.ShowHostNetwork(cmd.OutOrStdout(), &output, network)
			if err != nil {
				return err
			}
			if len(missing) > 0 {
				return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("servers cannot rely on the network of this host: see %s", strings.Join(missing, ", "))}
			}
			return nil
		},
	}
	config.Flags(cmd.Flags(), "host", "log")
	output.Bind(cmd.Flags())
	return cmd
}

// examine looks at this machine as its host service does.
func examine(cmd *cobra.Command, c config.Host) (contract.HostNetwork, error) {
	name, err := os.Hostname()
	if c.Hostname == "" && err != nil {
		return contract.HostNetwork{}, fmt.Errorf("finding this machine's name: %w (host.hostname sets it)", err)
	}
	name = cmp.Or(c.Hostname, name)
	stateDir, err := filepath.Abs(c.StateDir)
	if err != nil {
		return contract.HostNetwork{}, err
	}
	log := slog.New(slog.DiscardHandler)
	virt, err := openHypervisor(c, name, stateDir, log)
	if err != nil {
		return contract.HostNetwork{}, err
	}
	defer virt.Close()
	ports, err := openPorts(c, virt, filepath.Join(stateDir, "instances"), stateDir, log)
	if err != nil || ports == nil {
		return contract.UnswitchedHost(name), err
	}
	defer ports.Close()
	return ports.Describe(cmd.Context(), name), nil
}
