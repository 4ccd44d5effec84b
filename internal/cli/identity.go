package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Who there is: kinds of the identity API, whose verbs differ in their flags alone.

func identityKind(noun string, columns ...show.Column) *kind {
	named := append([]show.Column{show.Col("ID", "id"), show.Col("NAME", "name")}, columns...)
	return &kind{
		noun: noun, service: "identity", path: noun + "s", plural: noun + "s", singular: noun, byName: filterName, listHint: "slipway " + noun + " list",
		layout: show.Layout{List: append(named, show.Col("DESCRIPTION", "description").OnlyWide())},
	}
}

var (
	domainKind  = identityKind("domain", show.Col("ENABLED", "enabled"))
	projectKind = identityKind("project", show.Col("ENABLED", "enabled"), show.Col("DOMAIN", "domain_id"), show.Col("TAGS", "tags").OnlyWide(),
		show.Col("PURGING SINCE", "purging_since").OnlyWide())
	userKind = identityKind("user", show.Col("ENABLED", "enabled"), show.Col("DOMAIN", "domain_id"), show.Col("EMAIL", "email").OnlyWide(),
		show.Col("DEFAULT PROJECT", "default_project_id").OnlyWide())
	groupKind = identityKind("group", show.Col("DOMAIN", "domain_id"))
	roleKind  = identityKind("role")
)

// exampleOf is what one of each kind is called in the examples.
var exampleOf = map[string]string{"domain": "acme", "project": "web", "user": "ann", "group": "devs", "role": "auditor"}

// identityFlags are the attributes that the verbs of a kind set; a kind has those whose flags it is given.
type identityFlags struct {
	name, description, domain, email, project string
	enable, disable, password                 bool
	tags                                      []string
}

// field is a flag of some kinds.
type field string

const (
	switching field = "enable"
	inDomain  field = "domain"
	tagging   field = "tag"
	personal  field = "password"
)

func (f *identityFlags) bind(cmd *cobra.Command, fields []field, making bool) {
	flags := cmd.Flags()
	flags.StringVar(&f.description, "description", "", "description")
	if !making {
		flags.StringVar(&f.name, "name", "", "new name")
	}
	for _, has := range fields {
		switch has {
		case switching:
			flags.BoolVar(&f.enable, "enable", false, "let in who is of it")
			flags.BoolVar(&f.disable, "disable", false, "let in nobody who is of it")
			cmd.MarkFlagsMutuallyExclusive("enable", "disable")
		case inDomain:
			if making {
				flags.StringVar(&f.domain, "domain", "", "domain, by name or id (default: the token's)")
			}
		case tagging:
			flags.StringArrayVar(&f.tags, "tag", nil, "tag (repeat); replaces those that are there")
		case personal:
			flags.StringVar(&f.email, "email", "", "e-mail address")
			flags.StringVar(&f.project, "project", "", "default project, by name or id")
			flags.BoolVar(&f.password, "password", false, "ask for a password, or read it as the first line of standard input")
		}
	}
}

// of are the attributes that were given, as the API takes them.
func (f *identityFlags) of(ctx context.Context, cmd *cobra.Command, s *session.Session) (show.Object, error) {
	fields := show.Object{}
	for flag, value := range map[string]any{"name": f.name, "description": f.description, "email": f.email, "tag": f.tags} {
		if cmd.Flags().Changed(flag) {
			fields[flag] = value
		}
	}
	if tags, given := fields["tag"]; given {
		delete(fields, "tag")
		fields["tags"] = tags
	}
	if f.enable || f.disable {
		fields["enabled"] = f.enable
	}
	if f.domain != "" {
		domain, err := domainKind.find(ctx, s, f.domain)
		if err != nil {
			return nil, err
		}
		fields["domain_id"] = show.Text(domain, "id")
	}
	if f.project != "" {
		project, err := projectKind.find(ctx, s, f.project)
		if err != nil {
			return nil, err
		}
		fields["default_project_id"] = show.Text(project, "id")
	}
	if f.password {
		password, err := newPassword(cmd)
		if err != nil {
			return nil, err
		}
		fields["password"] = password
	}
	return fields, nil
}

// identityCommand has the verbs that every kind has.
func (c *client) identityCommand(k *kind, short, example string, fields ...field) *cobra.Command {
	cmd := &cobra.Command{Use: k.noun, Aliases: []string{k.plural}, Short: short, Example: example}
	cmd.AddCommand(
		c.identityList(k, fields),
		c.showCommand(k, "  slipway "+k.noun+" show "+exampleOf[k.noun]),
		c.identityCreate(k, fields),
		c.identitySet(k, fields),
	)
	if k == projectKind {
		cmd.AddCommand(c.projectDelete())
	} else {
		cmd.AddCommand(c.deleteCommand(k, "  slipway "+k.noun+" delete "+exampleOf[k.noun]))
	}
	return cmd
}

// projectDelete is deleteCommand, and with --purge what a project owns goes too.
func (c *client) projectDelete() *cobra.Command {
	cmd := c.deleteCommand(projectKind, "  slipway project delete web\n  slipway project delete web --purge")
	cmd.Long += ` One that owns something is not
deleted, unless with --purge: then it is disabled at once, and its servers, images, ports and networks go, and it at last. That takes as
long as its servers' deletes; slipway project show tells since when. slipway project set --enable keeps what is left.`
	var purge bool
	cmd.Flags().BoolVar(&purge, "purge", false, "delete what the projects own, too")
	plain := cmd.RunE
	purging := c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
		if err := s.OwnIdentity(ctx, "delete what a project owns with it"); err != nil {
			return err
		}
		projects, err := projectKind.findAll(ctx, s, args)
		if err != nil {
			return err
		}
		for _, project := range projects {
			_, _, err := s.Call(ctx, session.Request{
				Service: "identity", Method: http.MethodDelete, Path: projectKind.item(show.Text(project, "id")), Query: url.Values{"purge": {"true"}},
			})
			if err != nil {
				return session.Doing(err, "purge the project %q", show.Text(project, "name"))
			}
			c.say(cmd, "disabled project %s; it is deleted with all that it owns", show.Text(project, "name"))
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if purge {
			return purging(cmd, args)
		}
		return plain(cmd, args)
	}
	return cmd
}

func (c *client) identityList(k *kind, fields []field) *cobra.Command {
	var name, domain string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List " + k.plural, Example: "  slipway " + k.noun + " list", Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			if name != "" {
				query.Set("name__contains", name)
			}
			if domain != "" {
				in, err := domainKind.find(ctx, s, domain)
				if err != nil {
					return err
				}
				query.Set("domain_id", show.Text(in, "id"))
			}
			found, err := k.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the %s", k.plural)
			}
			return c.output.Many(cmd.OutOrStdout(), &k.layout, found)
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "only those whose name holds this")
	for _, has := range fields {
		if has == inDomain {
			cmd.Flags().StringVar(&domain, "domain", "", "only those of this domain")
		}
	}
	return cmd
}

func (c *client) identityCreate(k *kind, fields []field) *cobra.Command {
	var given identityFlags
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a " + k.noun + " (admin)", Example: "  slipway " + k.noun + " create " + exampleOf[k.noun], Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			attributes, err := given.of(ctx, cmd, s)
			if err != nil {
				return err
			}
			attributes["name"] = args[0]
			made, err := k.create(ctx, s, attributes)
			if err != nil {
				return session.Doing(err, "create the %s %q", k.noun, args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &k.layout, made)
		}),
	}
	given.bind(cmd, fields, true)
	return cmd
}

func (c *client) identitySet(k *kind, fields []field) *cobra.Command {
	var given identityFlags
	cmd := &cobra.Command{
		Use: "set REF", Short: "Change a " + k.noun + " (admin)", Example: "  slipway " + k.noun + " set " + exampleOf[k.noun] + " --description 'until March'", Args: cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(k, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			attributes, err := given.of(ctx, cmd, s)
			if err != nil {
				return err
			}
			if len(attributes) == 0 {
				return show.UsageError("nothing to change: say what (slipway %s set --help)", k.noun)
			}
			found, err := k.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			answer, _, err := s.Call(ctx, session.Request{
				Service: k.service, Method: http.MethodPatch, Path: k.item(show.Text(found, "id")), Body: show.Object{k.singular: attributes},
			})
			if err != nil {
				return session.Doing(err, "change the %s %q", k.noun, args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &k.layout, k.unwrap(answer))
		}),
	}
	given.bind(cmd, fields, false)
	return cmd
}

func (c *client) domainCommand() *cobra.Command {
	return c.identityCommand(domainKind, "List, show, create, change and delete domains", "  slipway domain create acme\n  slipway domain set acme --disable", switching)
}

func (c *client) projectCommand() *cobra.Command {
	return c.identityCommand(projectKind, "List, show, create, change and delete projects",
		"  slipway project create web --domain acme\n  slipway role add member --user ann --project web", switching, inDomain, tagging)
}

func (c *client) userCommand() *cobra.Command {
	cmd := c.identityCommand(userKind, "List, show, create, change and delete users; change one's own password",
		"  slipway user create ann --password --email ann@example.org\n  slipway user set ann --disable\n  slipway user password", switching, inDomain, personal)
	cmd.AddCommand(c.userPassword())
	return cmd
}

func (c *client) userPassword() *cobra.Command {
	return &cobra.Command{
		Use:   "password",
		Short: "Change one's own password",
		Long: `Change the password of the user who is logged in, which ends all of its tokens. The new one is asked for twice, or is the first line of
standard input where that is no terminal; the old one is the one that was logged in with (OS_PASSWORD, or of clouds.yaml).`,
		Example: "  slipway user password",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			token, err := s.Token()
			if err != nil {
				return err
			}
			old := s.Password()
			if old == "" {
				return show.UsageError("there is no password that was logged in with: set OS_PASSWORD")
			}
			password, err := newPassword(cmd)
			if err != nil {
				return err
			}
			_, _, err = s.Call(ctx, session.Request{
				Service: "identity", Method: http.MethodPost, Path: userKind.item(show.Text(token, "user", "id"), "password"),
				Body: show.Object{"user": show.Object{"original_password": old, "password": password}},
			})
			if err != nil {
				return session.Doing(err, "change the password")
			}
			c.say(cmd, "changed the password of %s", show.Text(token, "user", "name"))
			return nil
		}),
	}
}

func (c *client) groupCommand() *cobra.Command {
	cmd := c.identityCommand(groupKind, "List, show, create, change and delete groups, and say who is in them",
		"  slipway group create devs\n  slipway group add devs ann", inDomain)
	cmd.AddCommand(
		c.membership("add", "Put users into a group (admin)", "put %s into group %s", http.MethodPut),
		c.membership("remove", "Take users out of a group (admin)", "took %s out of group %s", http.MethodDelete),
		c.members(),
	)
	return cmd
}

func (c *client) membership(use, short, done, method string) *cobra.Command {
	return &cobra.Command{
		Use: use + " GROUP USER...", Short: short, Example: "  slipway group " + use + " devs ann bob", Args: cobra.MinimumNArgs(2),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			group, err := groupKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			users, err := userKind.findAll(ctx, s, args[1:])
			if err != nil {
				return err
			}
			for _, user := range users {
				path := groupKind.item(show.Text(group, "id"), "users", url.PathEscape(show.Text(user, "id")))
				if _, _, err := s.Call(ctx, session.Request{Service: "identity", Method: method, Path: path}); err != nil {
					return session.Doing(err, "%s user %q", use, show.Text(user, "name"))
				}
				c.say(cmd, done, show.Text(user, "name"), show.Text(group, "name"))
			}
			return nil
		}),
	}
}

func (c *client) members() *cobra.Command {
	return &cobra.Command{
		Use: "users GROUP", Short: "List who is in a group", Example: "  slipway group users devs", Args: cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(groupKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			group, err := groupKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			users, err := s.Pages(ctx, session.Request{Service: "identity", Path: groupKind.item(show.Text(group, "id"), "users")}, "users")
			if err != nil {
				return session.Doing(err, "list who is in group %q", args[0])
			}
			return c.output.Many(cmd.OutOrStdout(), &userKind.layout, users)
		}),
	}
}
