package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) roleCommand() *cobra.Command {
	cmd := c.identityCommand(roleKind, "List, show, create, change and delete roles, and give them",
		"  slipway role add member --user ann --project web\n  slipway role assignments --project web --effective")
	cmd.AddCommand(
		c.roleGive("add", "Give a role to a user or group (admin)", "gave the role %s", http.MethodPut),
		c.roleGive("remove", "Take a role from a user or group (admin)", "took the role %s away", http.MethodDelete),
		c.roleAssignments(),
	)
	return cmd
}

// place is to whom and on what a role is given.
type place struct {
	user, group, project, domain string
	system, inherited            bool
}

func (p *place) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&p.user, "user", "", "the user, by name or id")
	flags.StringVar(&p.group, "group", "", "the group, by name or id")
	flags.StringVar(&p.project, "project", "", "on this project")
	flags.StringVar(&p.domain, "domain", "", "on this domain")
	flags.BoolVar(&p.system, "system", false, "on the system")
	cmd.MarkFlagsMutuallyExclusive("user", "group")
	cmd.MarkFlagsMutuallyExclusive("project", "domain", "system")
}

// ids are the ids of what the place names.
func (p *place) ids(ctx context.Context, s *session.Session) (map[string]string, error) {
	ids := map[string]string{}
	for _, of := range []struct {
		kind *kind
		ref  string
	}{{userKind, p.user}, {groupKind, p.group}, {projectKind, p.project}, {domainKind, p.domain}} {
		if of.ref == "" {
			continue
		}
		found, err := of.kind.find(ctx, s, of.ref)
		if err != nil {
			return nil, err
		}
		ids[of.kind.noun] = show.Text(found, "id")
	}
	return ids, nil
}

// path is where the API has a role at the place.
func (p *place) path(ids map[string]string, role string) string {
	path := "system"
	for _, k := range []*kind{projectKind, domainKind} {
		if ids[k.noun] != "" {
			path = k.item(ids[k.noun])
		}
	}
	for _, k := range []*kind{userKind, groupKind} {
		if ids[k.noun] != "" {
			path += "/" + k.item(ids[k.noun])
		}
	}
	path += "/" + roleKind.item(role)
	if p.inherited {
		return "OS-INHERIT/" + path + "/inherited_to_projects"
	}
	return path
}

func (c *client) roleGive(use, short, done, method string) *cobra.Command {
	var at place
	cmd := &cobra.Command{
		Use:   use + " ROLE (--user REF | --group REF) (--project REF | --domain REF | --system)",
		Short: short,
		Example: "  slipway role " + use + " member --user ann --project web\n  slipway role " + use + " reader --group devs --domain acme --inherited\n" +
			"  slipway role " + use + " admin --user ann --system",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(roleKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			if at.inherited && at.domain == "" {
				return show.UsageError("--inherited is of a role on a domain: name it with --domain")
			}
			role, err := roleKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			ids, err := at.ids(ctx, s)
			if err != nil {
				return err
			}
			_, _, err = s.Call(ctx, session.Request{Service: "identity", Method: method, Path: at.path(ids, show.Text(role, "id"))})
			if err != nil {
				return session.Doing(err, "%s the role %q", use, args[0])
			}
			c.say(cmd, done, show.Text(role, "name"))
			return nil
		}),
	}
	at.bind(cmd)
	cmd.Flags().BoolVar(&at.inherited, "inherited", false, "on each of the domain's projects, and not on the domain itself")
	cmd.MarkFlagsOneRequired("user", "group")
	cmd.MarkFlagsOneRequired("project", "domain", "system")
	return cmd
}

var assignmentLayout = show.Layout{List: []show.Column{
	show.Col("ROLE", "role", "name"), show.Col("USER", "user", "name"), show.Col("GROUP", "group", "name"),
	show.Col("PROJECT", "scope", "project", "name"), show.Col("DOMAIN", "scope", "domain", "name"), show.Col("SYSTEM", "scope", "system", "all"),
	show.Col("INHERITED", "scope", "OS-INHERIT:inherited_to"),
}}

func (c *client) roleAssignments() *cobra.Command {
	var at place
	var role string
	var effective bool
	cmd := &cobra.Command{
		Use:     "assignments",
		Short:   "List who has which role on what",
		Long:    "List who has which role on what. --effective shows what users come to have, with what their groups and domains give them.",
		Example: "  slipway role assignments --project web --effective\n  slipway role assignments --user ann",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			ids, err := at.ids(ctx, s)
			if err != nil {
				return err
			}
			query := url.Values{"include_names": {"true"}}
			for noun, key := range map[string]string{"user": "user.id", "group": "group.id", "project": "scope.project.id", "domain": "scope.domain.id"} {
				if ids[noun] != "" {
					query.Set(key, ids[noun])
				}
			}
			if at.system {
				query.Set("scope.system", "all")
			}
			if effective {
				query.Set("effective", "true")
			}
			if role != "" {
				found, err := roleKind.find(ctx, s, role)
				if err != nil {
					return err
				}
				query.Set("role.id", show.Text(found, "id"))
			}
			all, err := s.Pages(ctx, session.Request{Service: "identity", Path: "role_assignments", Query: query}, "role_assignments")
			if err != nil {
				return session.Doing(err, "list the role assignments")
			}
			return c.output.Many(cmd.OutOrStdout(), &assignmentLayout, all)
		}),
	}
	at.bind(cmd)
	cmd.Flags().StringVar(&role, "role", "", "only this role")
	cmd.Flags().BoolVar(&effective, "effective", false, "what users come to have")
	return cmd
}
