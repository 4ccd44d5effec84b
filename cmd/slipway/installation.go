package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/workers"
)

// keepTogether looks whose everything is that a process of the control plane uses, before it uses it.
func keepTogether(ctx context.Context, c config.Config, store *models.Store, stores *imagestore.Stores, temporal client.Client, log *slog.Logger) (*installation.Keeper, error) {
	engine := workers.Namespace{Temporal: temporal, Namespace: c.Temporal.Namespace, ControlQueue: c.Temporal.ControlQueue}
	keeper, err := installation.Load(ctx, store, stores, engine, log)
	if err != nil {
		return nil, err
	}
	return keeper, keeper.Check(ctx)
}

func installationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "installation",
		Short: "Show to whom databases, image stores, hosts and Temporal belong, and acknowledge a restore (admin)",
		Long: `An installation has an id, which its database, each image store, each host's state folder and Temporal's namespace keep. A
process whose parts belong to different ones does not start. The database also counts generations, of which hosts and stores
keep the highest that they saw: so a database that was restored from a backup is noticed. Until an administrator acknowledges
that, nothing is removed because the database does not know it.

join and adopt run where the settings of the api are (flags, SLIPWAY_..., --config), with the api and the workers stopped.`,
	}
	cmd.AddCommand(cli.InstallationCommands()...)
	cmd.AddCommand(joinCommand(), adoptCommand())
	return cmd
}

func joinCommand() *cobra.Command {
	var stores []string
	var temporal bool
	cmd := &cobra.Command{
		Use:   "join [--store NAME...] [--temporal]",
		Short: "Give an image store, or Temporal's namespace, to the installation of this database",
		Long: `Makes an image store or Temporal's namespace this installation's, whosever it was. The one that it belonged to is told, and
its processes stop when they look again. Image bytes that this database does not know are left where they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(stores) == 0 && !temporal {
				return errors.New("nothing is named that shall join: give --store NAME or --temporal")
			}
			return withKeeper(cmd, temporal, func(ctx context.Context, k *installation.Keeper) error {
				return join(ctx, cmd.OutOrStdout(), k, stores, temporal)
			})
		},
	}
	cmd.Flags().StringArrayVar(&stores, "store", nil, "name of an image store, as images.stores has it")
	cmd.Flags().BoolVar(&temporal, "temporal", false, "Temporal's namespace")
	config.Flags(cmd.Flags(), "database", "temporal", "images", "log")
	return cmd
}

func join(ctx context.Context, out io.Writer, k *installation.Keeper, stores []string, temporal bool) error {
	say := func(what, was string) {
		switch was {
		case "":
			was = "nobody"
		case k.ID():
			was = "it already"
		default:
			was = "installation " + was
		}
		fmt.Fprintf(out, "%s belongs to installation %s; it belonged to %s.\n", what, k.ID(), was)
	}
	for _, name := range stores {
		was, err := k.JoinStore(ctx, name)
		if err != nil {
			return fmt.Errorf("joining image store %s: %w", name, err)
		}
		say("Image store "+name, was)
	}
	if !temporal {
		return nil
	}
	was, err := k.JoinEngine(ctx)
	if err != nil {
		return fmt.Errorf("joining Temporal: %w", err)
	}
	say(k.Engine().Name(), was)
	return nil
}

func adoptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt ID",
		Short: "Make this database that of another installation, whose database is lost",
		Long: `Gives this database the id of an installation that has lost its own, so that its image stores, hosts and namespace are this
database's. What they hold is unknown to it: that counts as a restore, and nothing of it is removed until an administrator
acknowledges it (slipway installation acknowledge).`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuid.Parse(args[0])
			if err != nil {
				return fmt.Errorf("%q is no installation's id: the error that named it, and `slipway installation show`, have it", args[0])
			}
			return withStore(cmd, func(ctx context.Context, _ config.Config, store *models.Store) error {
				was, err := store.Installation(ctx)
				if err != nil {
					return err
				}
				if err := store.AdoptInstallation(ctx, id.String()); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "The database is installation %s; it was %s.\n", id, was.ID)
				return nil
			})
		},
	}
	config.Flags(cmd.Flags(), "database", "log")
	return cmd
}

func withStore(cmd *cobra.Command, do func(context.Context, config.Config, *models.Store) error) error {
	c, err := config.Load(cmd.Flags())
	if err != nil {
		return err
	}
	store, err := openStore(cmd.Context(), c, slog.Default())
	if err != nil {
		return err
	}
	defer store.Close()
	return do(cmd.Context(), c, store)
}

func withKeeper(cmd *cobra.Command, temporal bool, do func(context.Context, *installation.Keeper) error) error {
	return withStore(cmd, func(ctx context.Context, c config.Config, store *models.Store) error {
		locks := store.Locks("image uploads")
		defer locks.Close()
		stores, err := imagestore.OpenStores(imageSettings(c.Images, imageLocks{locks}))
		if err != nil {
			return err
		}
		var engine installation.Engine
		if temporal {
			if err := refusePlaintext(c, c.Temporal.InClear(), slog.Default()); err != nil {
				return err
			}
			t, err := dialTemporal(ctx, c.Temporal, nil /* no payload is read or written */, tlsfile.New(slog.Default()), slog.Default())
			if err != nil {
				return err
			}
			defer t.Close()
			engine = workers.Namespace{Temporal: t, Namespace: c.Temporal.Namespace, ControlQueue: c.Temporal.ControlQueue}
		}
		k, err := installation.Load(ctx, store, stores, engine, slog.Default())
		if err != nil {
			return err
		}
		return do(ctx, k)
	})
}
