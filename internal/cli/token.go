package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var tokenLayout = show.Layout{Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("EXPIRES", "expires_at"), show.Col("USER", "user", "name"), show.Col("USER ID", "user", "id"),
	show.Col("PROJECT", "project", "name"), show.Col("PROJECT ID", "project", "id"),
	show.Computed("ROLES", func(o show.Object) string {
		names := []any{}
		for _, r := range show.Objects(o["roles"]) {
			names = append(names, show.Text(r, "name"))
		}
		return show.TextOf(names)
	}),
}}

func (c *client) tokenCommand() *cobra.Command {
	issue := &cobra.Command{
		Use:   "issue",
		Short: "Log in and print a token",
		Long: `Log in and print a token, for curl and for programs without a login of their own. It is a credential until it expires.

Who logs in where is set by the usual variables (OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME,
OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME, OS_REGION_NAME, OS_CACERT, …), by a cloud of clouds.yaml (--os-cloud or
OS_CLOUD), or by the flags below, which win.`,
		Example: "  slipway token issue\n  curl -H \"X-Auth-Token: $(slipway token issue --quiet)\" \"$API/compute/v2.1/servers\"",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(_ context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			token, err := s.Token()
			if err != nil {
				return err
			}
			return c.output.One(cmd.OutOrStdout(), &tokenLayout, token)
		}),
	}
	cmd := &cobra.Command{Use: "token", Short: "Log in and print a token", Example: "  slipway token issue"}
	cmd.AddCommand(issue)
	return cmd
}
