// Command slipway is all of Slipway in one binary: the roles (api, worker, host), the development stack (dev) and the
// user's verbs (boot, server, image, ...).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/supervisor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	os.Exit(cli.Exit(os.Stderr, err))
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slipway",
		Short: "Build virtual machines as durable workflows",
		Long: `Slipway builds virtual machines. A request over HTTP becomes a durable Temporal workflow that resolves the image, claims
quota, selects a hypervisor, allocates network, builds the disk and the config drive, and defines and starts the libvirt
domain, with a compensating undo for every step.

Roles take their settings from flags, then the environment (SLIPWAY_...), then a file (--config), then defaults;
"slipway config" shows all of them. The user's verbs read the usual OS_* variables or clouds.yaml.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	cmd.AddGroup(&cobra.Group{ID: "verbs", Title: "For users:"}, &cobra.Group{ID: "roles", Title: "For operators:"})
	for _, role := range []*cobra.Command{apiCommand(), workerCommand(), hostCommand(), installationCommand(), adminCommand(), keysCommand(), pkiCommand(), policyCommand(), doctorCommand(), supervisor.Command(), configCommand()} {
		role.GroupID = "roles"
		cli.Strict(role)
		cmd.AddCommand(role)
	}
	for _, verb := range cli.Commands() {
		verb.GroupID = "verbs"
		cmd.AddCommand(verb)
	}
	return cmd
}

// role makes a command that loads its settings, sets up logging, and runs until it is told to stop.
func role(use, short, long string, sections []string, run func(ctx context.Context, c config.Config, log *slog.Logger) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs}
	config.Flags(cmd.Flags(), append(sections, "log", "operator")...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(cmd.Flags())
		if err != nil {
			return err
		}
		log, err := logger(c.Log)
		if err != nil {
			return err
		}
		log = log.With("role", cmd.Name())
		slog.SetDefault(log)
		log.Info("Starting.", "version", version(), "pid", os.Getpid())
		if err := refusePlaintext(c, c.InClear(cmd.Name()), log); err != nil {
			return err
		}
		err = run(cmd.Context(), c, log)
		log.Info("Stopped.")
		return err
	}
	return cmd
}

func logger(c config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level must be debug, info, warn or error, not %q", c.Level)
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show every setting, what it means and its value here",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			for _, s := range config.Settings(c) {
				fmt.Fprintf(cmd.OutOrStdout(), "# %s (%s)\n%s: %s\n", s.Help, s.Variable, s.Name, s.Value)
			}
			return nil
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}
