package cli

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Credentials that programs use in place of their user's password: application credentials, and access keys of the EC2 API. Both are
// below the user who is logged in.

var applicationKind = &kind{
	noun: "application credential", service: "identity", path: "users/" + ownUser + "/application_credentials", plural: "application_credentials",
	singular: "application_credential", byName: filterName, listHint: "slipway credential list",
	layout: show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("PROJECT ID", "project_id"), rolesColumn,
		show.Col("UNRESTRICTED", "unrestricted").OnlyWide(), show.Col("EXPIRES", "expires_at"), show.Col("DESCRIPTION", "description").OnlyWide(),
	}},
}

var accessKeyKind = &kind{
	noun: "access key", service: "identity", path: "users/" + ownUser + "/credentials/OS-EC2", plural: "credentials", singular: "credential",
	name: "access", listHint: "slipway credential key list",
	layout: show.Layout{ID: "access", Name: "access", List: []show.Column{show.Col("ACCESS KEY", "access"), show.Col("PROJECT ID", "tenant_id")}},
}

// rolesColumn are the names of the roles that something has.
var rolesColumn = show.Computed("ROLES", func(o show.Object) string {
	names := []any{}
	for _, r := range show.Objects(o["roles"]) {
		names = append(names, show.Text(r, "name"))
	}
	return show.TextOf(names)
})

func (c *client) credentialCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "credential", Aliases: []string{"credentials"}, Short: "Let programs in without your password: application credentials and access keys",
		Example: "  slipway credential create backup --role reader --expires 720h\n  slipway credential key create",
	}
	cmd.AddCommand(
		c.ownList(applicationKind, "slipway credential list"),
		c.showCommand(applicationKind, "  slipway credential show backup"),
		c.credentialCreate(),
		c.deleteCommand(applicationKind, "  slipway credential delete backup"),
		c.accessKeyCommand(),
	)
	return cmd
}

func (c *client) ownList(k *kind, example string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your " + k.noun + "s", Example: "  " + example, Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			found, err := k.list(ctx, s, nil)
			if err != nil {
				return session.Doing(err, "list your %ss", k.noun)
			}
			return c.output.Many(cmd.OutOrStdout(), &k.layout, found)
		}),
	}
}

func (c *client) credentialCreate() *cobra.Command {
	var (
		roles                []string
		description, expires string
		unrestricted         bool
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an application credential for the project that you are logged in to",
		Long: `Make an application credential: an id and a secret with which a program logs in as you, on the project that you are logged in to, with the
roles that you name. It ends when you delete it, lose one of its roles, or at --expires. Its secret is shown this once. OpenStack's
clients take it as OS_AUTH_TYPE=v3applicationcredential, OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET, or from clouds.yaml.`,
		Example: "  slipway credential create backup --role reader\n  slipway credential create ci --expires 720h -o json",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{"name": args[0]}
			if description != "" {
				fields["description"] = description
			}
			if unrestricted {
				fields["unrestricted"] = true
			}
			if expires != "" {
				at, err := instant(expires, time.Now())
				if err != nil {
					return err
				}
				fields["expires_at"] = at.UTC().Format("2006-01-02T15:04:05.000000")
			}
			if len(roles) > 0 {
				named := []any{}
				for _, role := range roles {
					named = append(named, show.Object{"name": role})
				}
				fields["roles"] = named
			}
			made, err := applicationKind.create(ctx, s, fields)
			if err != nil {
				return session.Doing(err, "create the application credential %q", args[0])
			}
			layout := applicationKind.layout
			layout.Show = append(layout.List[:len(layout.List):len(layout.List)], show.Col("SECRET", "secret"))
			return c.output.One(cmd.OutOrStdout(), &layout, made)
		}),
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&roles, "role", nil, "a role of yours that it has (repeat); none is all of them")
	flags.StringVar(&description, "description", "", "description")
	flags.StringVar(&expires, "expires", "", "when it ends: a time (2026-01-31T18:00:00Z), or how long it lives (720h)")
	flags.BoolVar(&unrestricted, "unrestricted", false, "let it make and delete credentials")
	return cmd
}

// instant is a time, or one that is as far away as a duration says.
func instant(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, strings.TrimSpace(text)); err == nil {
		return at, nil
	}
	life, err := time.ParseDuration(text)
	if err != nil || life <= 0 {
		return time.Time{}, show.UsageError("%q is neither a time as in 2026-01-31T18:00:00Z nor how long something lives, as in 720h", text)
	}
	return now.Add(life), nil
}

func (c *client) accessKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Aliases: []string{"keys"}, Short: "Make, list and delete access keys of the EC2 API",
		Example: "  slipway credential key create\n  slipway credential key list",
	}
	var project string
	create := &cobra.Command{
		Use: "create", Short: "Make an access key for a project", Example: "  slipway credential key create --project web", Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			token, err := s.Token()
			if err != nil {
				return err
			}
			id := show.Text(token, "project_id")
			if project != "" {
				if id, err = projectID(ctx, s, project); err != nil {
					return err
				}
			}
			if id == "" {
				return show.UsageError("an access key is for a project: name it with --project")
			}
			own, err := accessKeyKind.of(s)
			if err != nil {
				return err
			}
			answer, _, err := s.Call(ctx, session.Request{Service: own.service, Method: http.MethodPost, Path: own.path, Body: show.Object{"tenant_id": id}})
			if err != nil {
				return session.Doing(err, "create an access key")
			}
			layout := own.layout
			layout.Show = append(layout.List[:len(layout.List):len(layout.List)], show.Col("SECRET KEY", "secret"))
			return c.output.One(cmd.OutOrStdout(), &layout, own.unwrap(answer))
		}),
	}
	create.Flags().StringVar(&project, "project", "", "what it is for, by name or id (default: the project that you are logged in to)")
	show := c.showCommand(accessKeyKind, "  slipway credential key show 0123456789abcdef0123456789abcdef -o json")
	show.Long = "Show one access key. -o json shows its secret, too."
	cmd.AddCommand(create, c.ownList(accessKeyKind, "slipway credential key list"), show,
		c.deleteCommand(accessKeyKind, "  slipway credential key delete 0123456789abcdef0123456789abcdef"))
	return cmd
}
