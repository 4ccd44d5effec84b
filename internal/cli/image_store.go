package cli

import (
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

var imageStoreLayout = layout{name: "id", list: []column{
	col("ID", "id"), computed("DEFAULT", yesInText("default")), computed("READ ONLY", yesInText("read-only")), col("DESCRIPTION", "description"), col("TYPE", "type"), col("WEIGHT", "weight").onlyWide(), col("PROPERTIES", "properties").onlyWide(),
}}

// yesInText is yes for what some versions of Glance write as true and some as "true".
func yesInText(field string) func(object) string {
	return func(o object) string {
		if strings.EqualFold(text(o, field), "true") {
			return "yes"
		}
		return ""
	}
}

func (c *client) imageStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "store",
		Aliases: []string{"stores"},
		Short:   "List where images can be stored",
		Example: "  slipway image store list",
	}
	cmd.AddCommand(c.imageStoreList())
	return cmd
}

func (c *client) imageStoreList() *cobra.Command {
	var detail bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the stores",
		Long:    "List the stores that images can be put in, with --store of create, upload and import. --detail shows an admin what they are.",
		Example: "  slipway image store list\n  slipway image store list --detail -o wide",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			stores, err := s.imageStores(ctx, detail)
			if err != nil {
				return doing(err, "list the stores")
			}
			return c.output.many(cmd.OutOrStdout(), &imageStoreLayout, stores)
		}),
	}
	cmd.Flags().BoolVar(&detail, "detail", false, "with type, weight and properties (admin)")
	return cmd
}

// imageStores reads the stores. Glance answers 404 where it has only one, without a name.
func (s *session) imageStores(ctx context.Context, detail bool) ([]object, error) {
	path := "info/stores"
	if detail {
		path += "/detail"
	}
	answer, _, err := s.call(ctx, request{service: "image", method: http.MethodGet, path: path})
	if isStatus(err, http.StatusNotFound) {
		return nil, &Error{Code: ExitNotFound, What: "the API has no named stores", Reason: "all images lie in one", Cause: err}
	}
	return objects(answer["stores"]), err
}

// bindStore adds --store of the verbs that put bytes into one store.
func (c *client) bindStore(cmd *cobra.Command, store *string) {
	cmd.Flags().StringVar(store, "store", "", "store to put the bytes in (default: the API's default)")
	c.completeStores(cmd, "store")
}

func (c *client) completeStores(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.completing(cmd, func(ctx context.Context, s *session) ([]cobra.Completion, error) {
			stores, err := s.imageStores(ctx, false)
			return offers(&kind{layout: imageStoreLayout}, stores, nil, prefix), err
		})
	})
}
