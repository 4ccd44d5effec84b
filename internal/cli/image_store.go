package cli

import (
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var imageStoreLayout = show.Layout{Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Computed("DEFAULT", yesInText("default")), show.Computed("READ ONLY", yesInText("read-only")), show.Col("DESCRIPTION", "description"), show.Col("TYPE", "type"), show.Col("WEIGHT", "weight").OnlyWide(), show.Col("PROPERTIES", "properties").OnlyWide(),
}}

// yesInText is yes for what some versions of Glance write as true and some as "true".
func yesInText(field string) func(show.Object) string {
	return func(o show.Object) string {
		if strings.EqualFold(show.Text(o, field), "true") {
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			stores, err := imageStores(ctx, s, detail)
			if err != nil {
				return session.Doing(err, "list the stores")
			}
			return c.output.Many(cmd.OutOrStdout(), &imageStoreLayout, stores)
		}),
	}
	cmd.Flags().BoolVar(&detail, "detail", false, "with type, weight and properties (admin)")
	return cmd
}

// imageStores reads the stores. Glance answers 404 where it has only one, without a name.
func imageStores(ctx context.Context, s *session.Session, detail bool) ([]show.Object, error) {
	path := "info/stores"
	if detail {
		path += "/detail"
	}
	answer, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodGet, Path: path})
	if session.IsStatus(err, http.StatusNotFound) {
		return nil, &show.Error{Code: show.ExitNotFound, What: "the API has no named stores", Reason: "all images lie in one", Cause: err}
	}
	return show.Objects(answer["stores"]), err
}

// bindStore adds --store of the verbs that put bytes into one store.
func (c *client) bindStore(cmd *cobra.Command, store *string) {
	cmd.Flags().StringVar(store, "store", "", "store to put the bytes in (default: the API's default)")
	c.completeStores(cmd, "store")
}

func (c *client) completeStores(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			stores, err := imageStores(ctx, s, false)
			return completionsOf(&kind{layout: imageStoreLayout}, stores, nil, prefix), err
		})
	})
}
