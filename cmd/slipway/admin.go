package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func adminCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Get back in as an admin (where the settings of the api are)"}
	cmd.AddCommand(recoverCommand())
	return cmd
}

func recoverCommand() *cobra.Command {
	name := "admin"
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Give an admin another password, and the role admin where it was lost",
		Long: `Gives a user of the default domain a new random password, prints it, and makes sure that it is enabled and has the role admin
on the project admin and on the system; what of that is not there is made. All of the user's tokens end. It asks no API, only the database.
With identity.mode: keystone users are Keystone's, and so is the way back in: keystone-manage bootstrap.`,
		Example: "  slipway admin recover\n  slipway admin recover --user alice",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd, func(ctx context.Context, c config.Config, store *models.Store) error {
				if c.Identity.External() {
					return fmt.Errorf("users are Keystone's (identity.mode: keystone): run `keystone-manage bootstrap` where %s runs", c.Identity.Keystone.URL)
				}
				password := rand.Text()
				if err := identity.New(store, nil).Recover(ctx, name, password); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is an admin of the project admin and of the system. Its password is %s: log in, and change it.\n", name, password)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&name, "user", name, "the user's name")
	config.Flags(cmd.Flags(), "database", "log")
	return cmd
}
