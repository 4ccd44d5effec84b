package cli

import (
	"context"
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/spf13/cobra"
)

var tokenLayout = layout{name: "id", list: []column{
	col("ID", "id"), col("EXPIRES", "expires_at"), col("USER", "user", "name"), col("USER ID", "user", "id"),
	col("PROJECT", "project", "name"), col("PROJECT ID", "project", "id"),
	computed("ROLES", func(o object) string {
		names := []any{}
		for _, r := range objects(o["roles"]) {
			names = append(names, text(r, "name"))
		}
		return textOf(names)
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
		RunE: c.verb(func(_ context.Context, cmd *cobra.Command, s *session, _ []string) error {
			token, err := s.token()
			if err != nil {
				return err
			}
			return c.output.one(cmd.OutOrStdout(), &tokenLayout, token)
		}),
	}
	cmd := &cobra.Command{Use: "token", Short: "Log in and print a token", Example: "  slipway token issue"}
	cmd.AddCommand(issue)
	return cmd
}

// token is what the identity API said at login, without the catalog: Keystone's fields, and id, project_id and user_id as
// the OpenStack client prints them.
func (s *session) token() (object, error) {
	var body any
	switch result := s.provider.GetAuthResult().(type) {
	case tokens.CreateResult:
		body = result.Body
	case tokens.GetResult:
		body = result.Body
	default:
		return nil, &Error{Code: ExitFailed, What: "the identity API gave no token of version 3"}
	}
	whole, _ := body.(object)
	inner, ok := whole["token"].(object)
	if !ok {
		return nil, &Error{Code: ExitFailed, What: "the identity API answered without a token"}
	}
	token := object{}
	for key, value := range inner {
		if key != "catalog" {
			token[key] = value
		}
	}
	token["id"] = s.provider.Token()
	token["user_id"] = fmt.Sprint(at(inner, "user", "id"))
	if id := text(inner, "project", "id"); id != "" {
		token["project_id"] = id
	}
	return token, nil
}
