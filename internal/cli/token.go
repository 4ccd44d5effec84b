package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var tokenLayout = show.Layout{Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("EXPIRES", "expires_at"), show.Col("USER", "user", "name"), show.Col("USER ID", "user", "id"),
	show.Col("PROJECT", "project", "name"), show.Col("PROJECT ID", "project", "id"),
	rolesColumn,
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
	cmd := &cobra.Command{Use: "token", Short: "Log in and print a token, or end a user's", Example: "  slipway token issue\n  slipway token revoke --user ann"}
	cmd.AddCommand(issue, c.tokenRevoke())
	return cmd
}

func (c *client) tokenRevoke() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use: "revoke", Short: "End all tokens of a user",
		Long: `End all tokens of a user, at once and everywhere: your own, or, as an admin, another's. Who is logged in has to log in again; passwords,
application credentials and access keys go on letting in.`,
		Example: "  slipway token revoke --user ann", Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			if err := s.OwnIdentity(ctx, "end all tokens of a user"); err != nil {
				return err
			}
			token, err := s.Token()
			if err != nil {
				return err
			}
			id, name := show.Text(token, "user_id"), show.Text(token, "user", "name")
			if user != id && user != name {
				found, err := userKind.find(ctx, s, user)
				if err != nil {
					return err
				}
				id, name = show.Text(found, "id"), show.Text(found, "name")
			}
			answer, _, err := s.Call(ctx, session.Request{Service: "identity", Method: http.MethodDelete, Path: userKind.item(id, "tokens")})
			if err != nil {
				return session.Doing(err, "end the tokens of user %q", user)
			}
			c.say(cmd, "ended %s tokens of %s", show.Text(answer, "revoked"), name)
			return nil
		}),
	}
	cmd.Flags().StringVar(&user, "user", "", "whose, by name or id")
	_ = cmd.MarkFlagRequired("user")
	return cmd
}
