package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/show"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// openKeys reads the payload keys, and refuses to go on without one that something in the database is sealed with.
func openKeys(ctx context.Context, c config.Temporal, store *models.Store) (*payload.Keys, error) {
	keys, err := payload.LoadKeys(c.PayloadKeys)
	if err != nil {
		return nil, err
	}
	specs, credentials, err := sealedWith(ctx, store)
	if err != nil {
		return nil, err
	}
	for _, needed := range []struct {
		what string
		by   map[string]int
	}{{"the specs of %d servers", specs}, {"%d credentials of users", credentials}} {
		for _, id := range slices.Sorted(maps.Keys(needed.by)) {
			if !keys.Has(id) {
				return nil, fmt.Errorf("payload keys: %s has no key %s any more, and "+needed.what+" are sealed with it: put its line back, run `slipway keys reseal`, and remove it then",
					c.PayloadKeys, id, needed.by[id])
			}
		}
	}
	return keys, nil
}

// sealedWith says how many of what the database keeps sealed each key opens.
func sealedWith(ctx context.Context, store *models.Store) (specs, credentials map[string]int, err error) {
	if specs, err = store.SpecKeys(ctx); err != nil {
		return nil, nil, err
	}
	credentials, err = store.CredentialKeys(ctx)
	return specs, credentials, err
}

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Rotate the payload keys (where the settings of the api are)"}
	cmd.AddCommand(listKeysCommand(), addKeyCommand(), useKeyCommand(), resealCommand())
	return cmd
}

func listKeysCommand() *cobra.Command {
	var output show.Output
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Show the payload keys, and how many servers' specs and users' credentials each seals", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return show.UsageError("%v", err)
			}
			return withStore(cmd, func(ctx context.Context, c config.Config, store *models.Store) error {
				keys, err := openKeys(ctx, c.Temporal, store)
				if err != nil {
					return err
				}
				specs, credentials, err := sealedWith(ctx, store)
				if err != nil {
					return err
				}
				var items []show.Object
				for i, id := range keys.IDs() {
					items = append(items, show.Object{"id": id, "encrypts": i == 0, "servers": specs[id], "credentials": credentials[id]})
				}
				return output.Many(cmd.OutOrStdout(), &keyLayout, items)
			})
		},
	}
	config.Flags(cmd.Flags(), "database", "temporal", "log")
	output.Bind(cmd.Flags())
	return cmd
}

var keyLayout = show.Layout{ID: "id", Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("ENCRYPTS", "encrypts"), show.Col("SERVERS", "servers"), show.Col("CREDENTIALS", "credentials"),
}}

func addKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add", Short: "Put a new payload key behind the others",
		Long: `Puts a new random key behind the others in the file that temporal.payload_keys names. It encrypts nothing until
` + "`slipway keys use`" + `: first every api and worker has to have it, so that what one encrypts the others can read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			id, err := payload.AddKey(c.Temporal.PayloadKeys)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%[1]s is in %[2]s. Next: bring the file to every api and worker, start each again, and then: slipway keys use %[1]s\n", id, c.Temporal.PayloadKeys)
			return nil
		},
	}
	config.Flags(cmd.Flags(), "temporal", "log")
	return cmd
}

func useKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "use ID", Short: "Encrypt with another of the payload keys from now on",
		Long: `Puts a key first in the file that temporal.payload_keys names: it encrypts as soon as an api or a worker has been started
again. Hosts get their own key of it by themselves. The keys behind it go on opening what they have sealed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			if err := payload.UseKey(c.Temporal.PayloadKeys, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is the first in %s. Next: bring the file to every api and worker, start each api again, then each worker, and then: slipway keys reseal\n",
				args[0], c.Temporal.PayloadKeys)
			return nil
		},
	}
	config.Flags(cmd.Flags(), "temporal", "log")
	return cmd
}

func resealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Seal the specs of servers and the credentials of users anew, with the first payload key",
		Long: `Seals what the database keeps of servers and for users with the first key of temporal.payload_keys, so that keys behind it can go. Everything
goes on meanwhile; it may be ended and run again at any time. An api or a worker does not start without a key that is needed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd, func(ctx context.Context, c config.Config, store *models.Store) error {
				keys, err := openKeys(ctx, c.Temporal, store)
				if err != nil {
					return err
				}
				specs, err := untilNone(func() (int, error) { return resealSpecs(ctx, store, keys) })
				if err != nil {
					return err
				}
				credentials, err := untilNone(func() (int, error) { return identity.New(store, keys).Reseal(ctx, resealAtOnce) })
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Sealed the specs of %d servers and %d credentials anew, with key %s.\n", specs, credentials, keys.First())
				return nil
			})
		},
	}
	config.Flags(cmd.Flags(), "database", "temporal", "log")
	return cmd
}

// resealAtOnce is how many of them one transaction seals anew: at most 100 KiB each.
const resealAtOnce = 100

func resealSpecs(ctx context.Context, store *models.Store, keys *payload.Keys) (int, error) {
	return store.ResealSpecs(ctx, keys.First(), resealAtOnce, func(s models.ServerSpec) (models.ServerSpec, error) {
		fresh, err := serverspec.Spec.Reseal(keys, s.ServerID, payload.Sealed{KeyID: s.KeyID, Bytes: s.Sealed})
		s.KeyID, s.Sealed = fresh.KeyID, fresh.Bytes
		return s, err
	})
}

// untilNone does something some at a time until none is left, and says how many there were.
func untilNone(some func() (int, error)) (total int, err error) {
	for {
		n, err := some()
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}
